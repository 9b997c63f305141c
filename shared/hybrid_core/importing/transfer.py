"""From a Chroma collection into an index: everything is checked before anything is written."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..checks import check_passages, encode_metadata
from ..encoders.base import Encoder
from ..errors import InvalidInputError, ModelMismatchError
from ..pipeline import HybridIndex
from ..types import FloatArray, Passage
from .chroma import ChromaCollection

logger = logging.getLogger(__name__)

_STEP = 256  # passages encoded and committed together: what a crash costs, and a step of the progress bar
_SAMPLE = 8  # documents whose vectors are compared with the encoder's before anything is written
_AGREEMENT = 0.99  # least cosine of two vectors of one text by one model, whatever their precision
_UNIT = 1e-3  # by how much a length may differ from 1: twice the rounding of float16, in which many models work
_REMEDY = "import with same_model=False (command line: without --same-model) to have them computed anew"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the entries of a collection.

    Attributes:
        written: new here, or changed.
        present: were here already, with equal text and metadata.
        skipped: hold no document, so there is no text to encode.
        replaced: of those written, how many got the encoder's dense vector because their own is not their text's.
    """

    written: int
    present: int
    skipped: int
    replaced: int


def import_chroma(
    path: str | Path, collection: str, index: HybridIndex, *, same_model: bool = False, show_progress: bool = False
) -> ImportReport:
    """Take over documents, ids and metadata of a Chroma collection, and its vectors where the same model made them.

    Plain chromadb's, LangChain's and LlamaIndex's collections are read; a LlamaIndex node comes back from our
    retriever with its relationships. The Chroma folder is not changed. Run again after an interruption: what is here
    already is not encoded again.

    Args:
        path: the folder that Chroma wrote; nothing may be writing to it.
        collection: its name; LangChain calls it "langchain" unless told otherwise.
        index: where the passages go.
        same_model: keep the stored dense vectors, byte for byte; only the sparse side is then new.
        show_progress: draw a progress bar.

    Raises:
        InvalidInputError: no such folder or collection, or nothing in it that could be imported.
        ModelMismatchError: with `same_model`: the vectors are not what the index's encoder makes of the documents.
        StorageError: the folder is damaged or being written to, or the index cannot be written.

    Example:
        >>> with HybridIndex.open("index", encoder=encoder) as index:
        ...     report = import_chroma("chroma", "docs", index)
    """
    with ChromaCollection(path, collection, vectors=same_model) as source:
        check(source, index.encoder)
        return write(source, index, show_progress=show_progress)


def check(source: ChromaCollection, encoder: Encoder) -> None:
    """Read everything once: raise if something in it cannot be imported, warn of what will be left out.

    Raises:
        InvalidInputError: no entry has a document, or an id or metadata cannot be stored.
        ModelMismatchError: `source` has vectors that another model made, judged by their dimension, their length, and
            eight of the documents.
    """
    skipped, first_skipped = 0, ""
    sample = _Sample()
    for page in source.pages():
        check_passages(page.passages)
        if page.without_text:
            first_skipped = first_skipped or page.without_text[0]
            skipped += len(page.without_text)
        if page.dense is not None:
            _check_rows(page.dense, page.passages, encoder)
            sample.offer(page.passages, page.dense)
    if skipped == len(source):
        raise InvalidInputError(
            f"no entry of collection {source.name!r} in {source.path} has a document, they are vectors only; there is "
            "no text to make sparse weights of"
        )
    if skipped:
        logger.warning(
            "%d of %d entries have no document, only a vector (first id: %r); they are left out: there is no "
            "text to make sparse weights of",
            skipped,
            len(source),
            first_skipped,
        )
    sample.check(encoder)


def write(source: ChromaCollection, index: HybridIndex, *, show_progress: bool = False) -> ImportReport:
    """Write the passages of a collection that `check` has passed; arguments and errors as in `import_chroma`."""
    from tqdm.auto import tqdm

    written = present = skipped = 0
    replaced: list[str] = []
    with tqdm(total=len(source), desc="Importing", unit="entry", unit_scale=True, disable=not show_progress) as bar:
        for page in source.pages():
            skipped += len(page.without_text)
            bar.update(len(page.without_text))
            for start in range(0, len(page.passages), _STEP):
                part = slice(start, start + _STEP)
                passages = page.passages[part]
                new = _changed(index, passages)
                if page.dense is None:
                    index.upsert([passages[i] for i in new])
                elif new:
                    replaced += _write_with(index, [passages[i] for i in new], page.dense[part][new])
                written += len(new)
                present += len(passages) - len(new)
                bar.update(len(passages))
    if replaced:
        logger.warning(
            "%d stored vectors are not what the encoder makes of their text (first id: %r), which may have been "
            "changed or cut since; they were computed anew",
            len(replaced),
            replaced[0],
        )
    return ImportReport(written, present, skipped, len(replaced))


class _Sample:
    """A few documents, each as likely as any other to be among them, the same ones each time (algorithm R)."""

    def __init__(self) -> None:
        self._random = random.Random(0)  # noqa: S311 - nothing to be kept secret
        self._seen = 0
        self._chosen: list[tuple[Passage, FloatArray]] = []

    def offer(self, passages: Sequence[Passage], dense: FloatArray) -> None:
        """Look at more documents; blank ones say nothing of a model."""
        for passage, row in zip(passages, dense, strict=True):
            if not passage.text.strip():
                continue
            self._seen += 1
            if len(self._chosen) < _SAMPLE:
                self._chosen.append((passage, row.copy()))
            elif (place := self._random.randrange(self._seen)) < _SAMPLE:
                self._chosen[place] = passage, row.copy()

    def check(self, encoder: Encoder) -> None:
        """Raise ModelMismatchError unless the encoder agrees with the vectors."""
        if not self._chosen:
            return
        computed = encoder.encode_documents([passage.text for passage, _ in self._chosen]).dense
        cosines = _cosines(np.stack([row for _, row in self._chosen]), computed)
        worst = int(np.argmin(cosines))
        if cosines[worst] <= _AGREEMENT:
            raise ModelMismatchError(
                f"the stored vectors are not those of {encoder.fingerprint.model!r}: of {len(cosines)} documents, "
                f"{int((cosines <= _AGREEMENT).sum())} have another (lowest cosine {cosines[worst]:.3f}, id "
                f"{self._chosen[worst][0].id!r}). Another model made them, or of other text, as LlamaIndex does, which "
                f"embeds a node's metadata with its text; {_REMEDY}"
            )


def _check_rows(dense: FloatArray, passages: Sequence[Passage], encoder: Encoder) -> None:
    """Raise ModelMismatchError unless the vectors have the encoder's dimension and unit length."""
    needed = encoder.fingerprint.dimension
    if dense.shape[1] != needed:
        raise ModelMismatchError(
            f"the stored vectors have {dense.shape[1]} dimensions, {encoder.fingerprint.model!r} makes {needed}: "
            f"another model made them; {_REMEDY}"
        )
    lengths = np.linalg.norm(dense, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT))  # a NaN too
    if len(wrong):
        raise ModelMismatchError(
            f"the stored vector of id {passages[wrong[0]].id!r} has length {lengths[wrong[0]]:.4g}, not 1, as those of "
            f"{encoder.fingerprint.model!r} have; {_REMEDY}"
        )


def _changed(index: HybridIndex, passages: Sequence[Passage]) -> list[int]:
    """Return the positions of passages that the index does not have as they are."""
    stored = index.get([passage.id for passage in passages])
    return [
        i
        for i, (new, old) in enumerate(zip(passages, stored, strict=True))
        if old is None
        or old.text != new.text
        or encode_metadata(old.metadata, "a stored passage") != encode_metadata(new.metadata, f"id {new.id!r:.80}")
    ]


def _write_with(index: HybridIndex, passages: Sequence[Passage], dense: FloatArray) -> list[str]:
    """Write passages with dense vectors of their own; return the ids of those whose vector is not their text's.

    One forward pass gives both sides, so that the dense one, which is not needed, at least checks what is kept.
    """
    distinct = list(dict.fromkeys(passage.text for passage in passages))
    row_of = {text: row for row, text in enumerate(distinct)}
    encoding = index.encoder.encode_documents(distinct).rows([row_of[passage.text] for passage in passages])
    agree = _cosines(dense, encoding.dense) > _AGREEMENT
    kept = np.where(agree[:, None], dense, encoding.dense)
    index.upsert(passages, encoding=replace(encoding, dense=kept))
    return [passage.id for passage, good in zip(passages, agree.tolist(), strict=True) if not good]


def _cosines(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the inner product of each row of a with the same row of b, all of unit length."""
    products: FloatArray = np.einsum("ij,ij->i", a, b)
    return products
