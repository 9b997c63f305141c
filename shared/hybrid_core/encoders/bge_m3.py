"""BGE-M3: dense, sparse and multi-vectors of a text in one forward pass."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..checks import check_count, check_text, check_texts
from ..errors import EmbeddingError, InvalidInputError
from ..types import Encoding, Fingerprint, FloatArray
from .batching import pad, token_batches
from .checkpoint import TINY, find_checkpoint
from .csr import to_csr
from .runtimes.torch_m3 import Outputs, Precision, TorchM3
from .tokenizing import load_tokenizer, special_ids

logger = logging.getLogger(__name__)

_QUERY_CACHE = 128  # encoded queries kept, so that classes sharing an encoder share the pass over one question


class BgeM3Encoder:
    """Loads a checkpoint in BGE-M3's layout and encodes texts with it.

    BGE-M3 is described in arXiv 2402.03216. Loading takes the model into memory once; the object may be shared by any
    number of threads, indexes and framework classes.

    Args:
        model: a hub name such as "BAAI/bge-m3", or a folder.
        precision: "auto" (float16 on a GPU, float32 on the CPU), "fp32", "fp16" or "bf16".
        device: a torch device such as "cuda:1"; None takes CUDA, then MPS, then the CPU.
        backend: "auto" or "torch".
        max_length: tokens of a passage that the model sees; the checkpoint's own limit where that is less.
        query_max_length: the same for queries.
        passage_instruction, query_instruction: text put before every passage or query. BGE-M3 needs none.
        batch_tokens: the most tokens in a batch, padding counted; None takes 4,096 on the CPU, 65,536 on a GPU.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, or a part of it is missing; a missing head is never filled with random numbers.
        MissingDependencyError: torch or transformers is not installed.
        InvalidInputError: an argument is out of range.

    Example:
        >>> encoder = BgeM3Encoder.tiny()
        >>> encoding = encoder.encode_documents(["A worker pulls tasks.", "工作节点拉取任务。"])
        >>> encoding.dense.shape
        (2, 256)
    """

    def __init__(
        self,
        model: str | Path = "BAAI/bge-m3",
        *,
        precision: Precision = "auto",
        device: str | None = None,
        backend: Literal["auto", "torch"] = "auto",
        max_length: int = 8192,
        query_max_length: int = 512,
        passage_instruction: str = "",
        query_instruction: str = "",
        batch_tokens: int | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        if backend not in ("auto", "torch"):
            raise InvalidInputError(f"backend={backend!r} must be 'auto' or 'torch'")
        check_text(passage_instruction, "passage_instruction")
        check_text(query_instruction, "query_instruction")
        check_count(max_length, "max_length", least=3)
        check_count(query_max_length, "query_max_length", least=3)
        if batch_tokens is not None:
            check_count(batch_tokens, "batch_tokens", least=1)
        checkpoint = find_checkpoint(model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
        self._runtime = TorchM3(checkpoint, device=device, precision=precision)
        self._tokenizer = load_tokenizer(checkpoint.folder, checkpoint.name)
        self._pad_id = int(checkpoint.config.get("pad_token_id", 1))
        self._special_ids = special_ids(self._tokenizer)
        self._passage = _Role(passage_instruction, min(max_length, checkpoint.max_length))
        self._query = _Role(query_instruction, min(query_max_length, checkpoint.max_length))
        self._batch_tokens = batch_tokens or (4_096 if self.device.startswith("cpu") else 65_536)
        self._lock = threading.Lock()
        self._queries: OrderedDict[str, Encoding] = OrderedDict()
        self._reported_truncation = False
        self._fingerprint = Fingerprint(
            model=checkpoint.name,
            digest=checkpoint.digest(),
            dimension=int(checkpoint.config["hidden_size"]),
            vocabulary=int(checkpoint.config["vocab_size"]),
            pooling="cls",
            max_length=self._passage.max_length,
            instruction=passage_instruction,
        )

    @classmethod
    def tiny(cls, *, device: str | None = "cpu", max_length: int = 8192, query_max_length: int = 512) -> BgeM3Encoder:
        """Load the small English and Chinese model that comes with the package (7 MB, 256 dimensions, offline).

        Trained on technical documentation; a real model for first contact, demos and tests, weak outside its domain.
        """
        folder = Path(str(files("hybrid_core") / "models" / "tiny_m3"))
        encoder = cls(folder, device=device, max_length=max_length, query_max_length=query_max_length)
        encoder._fingerprint = replace(encoder._fingerprint, model=TINY)
        return encoder

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides which vector a passage gets."""
        return self._fingerprint

    @property
    def device(self) -> str:
        """The torch device in use."""
        return self._runtime.device

    @property
    def precision(self) -> str:
        """The precision in use: "fp32", "fp16" or "bf16"."""
        return self._runtime.precision

    def __repr__(self) -> str:
        return f"BgeM3Encoder({self._fingerprint.model!r}, precision={self.precision!r}, device={self.device!r})"

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        """Encode passages.

        Args:
            texts: strings, the empty one included.
            multi: also return multi-vectors.
            show_progress: draw a progress bar over the tokens.

        Returns:
            An Encoding with one row a text, in the order given.

        Raises:
            InvalidTextError: naming the position of what is not a string or holds a lone surrogate.
            EmbeddingError: naming the position of a text for which the model returned NaN or infinity.
        """
        with self._lock:  # tokenizer and model are not for two threads at once
            return self._encode(check_texts(texts), self._passage, multi, show_progress)

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """Encode queries; arguments, result and errors as in `encode_documents`.

        The last queries are remembered, so that one question asked through several classes costs one forward pass.
        """
        texts = check_texts(texts, "query")
        with self._lock:
            missing = [t for t in dict.fromkeys(texts) if not self._remembers(t, multi)]
            if len(missing) == len(texts):  # nothing to reuse and no repeats: the batch is the answer
                encoding = self._encode(texts, self._query, multi, False)
                self._remember(missing, encoding)
                return encoding
            fresh = self._encode(missing, self._query, multi, False)
            known = {t: self._queries[t] for t in texts if t not in missing}
            self._remember(missing, fresh)
            known.update({t: fresh.rows([i]) for i, t in enumerate(missing)})
            return Encoding.join([known[t] for t in texts], multi=multi)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the tokenizer's strings for vocabulary ids; "▁" marks the start of a word."""
        return [str(self._tokenizer.id_to_token(int(i))) for i in ids]

    def token_count(self, text: str) -> int:
        """Return how many tokens a text has, special tokens left out and before any truncation."""
        with self._lock:
            return len(self._tokenizer.encode(check_text(text, "text"), add_special_tokens=False).ids)

    def _remembers(self, text: str, multi: bool) -> bool:
        encoding = self._queries.get(text)
        return encoding is not None and (not multi or encoding.multi is not None)

    def _remember(self, texts: Sequence[str], encoding: Encoding) -> None:
        for i, text in enumerate(texts[-_QUERY_CACHE:], start=max(0, len(texts) - _QUERY_CACHE)):
            self._queries[text] = Encoding.join([encoding.rows([i])], multi=encoding.multi is not None)
            self._queries.move_to_end(text)
        while len(self._queries) > _QUERY_CACHE:
            self._queries.popitem(last=False)

    def _encode(self, texts: Sequence[str], role: _Role, multi: bool, show_progress: bool) -> Encoding:
        dimension, vocabulary = self._fingerprint.dimension, self._fingerprint.vocabulary
        dense = np.empty((len(texts), dimension), dtype=np.float32)
        vectors: list[FloatArray] = [np.empty((0, dimension), dtype=np.float32)] * len(texts)
        entries: list[NDArray[np.int64]] = []
        weights: list[FloatArray] = []
        rows = self._tokenize(texts, role)
        batches = token_batches([len(row) for row in rows], self._batch_tokens)
        for batch in _progress(batches, rows, show_progress):
            ids, mask = pad([rows[i] for i in batch], self._pad_id)
            out = self._runtime.run(ids, mask, multi=multi)
            _check_finite(out, mask, batch)
            dense[batch] = out.dense
            keep = (mask == 1) & (out.weights > 0) & ~np.isin(ids, self._special_ids)
            row, column = np.nonzero(keep)
            entries.append(batch[row].astype(np.int64) * vocabulary + ids[row, column])
            weights.append(out.weights[row, column])
            if out.multi is not None:
                for i, position in enumerate(batch):
                    vectors[position] = out.multi[i, : len(rows[position]) - 1].copy()
        sparse = to_csr(entries, weights, (len(texts), vocabulary))
        return Encoding(dense, sparse, tuple(vectors) if multi else None)

    def _tokenize(self, texts: Sequence[str], role: _Role) -> list[list[int]]:
        """Return token ids with special tokens, cut to the role's length with the closing token kept."""
        prefixed = [role.instruction + text for text in texts] if role.instruction else list(texts)
        rows: list[list[int]] = [item.ids for item in self._tokenizer.encode_batch_fast(prefixed)]
        long = [i for i, row in enumerate(rows) if len(row) > role.max_length]
        for i in long:
            rows[i] = rows[i][: role.max_length - 1] + rows[i][-1:]
        if long and not self._reported_truncation:
            self._reported_truncation = True
            logger.warning(
                "%d of %d texts are longer than %d tokens; the model sees their beginning only (the text itself is "
                "kept whole). Split such texts, or raise max_length. Reported once.",
                len(long), len(texts), role.max_length,
            )  # fmt: skip
        return rows


@dataclass(frozen=True, slots=True)
class _Role:
    """How one kind of text is prepared."""

    instruction: str
    max_length: int


def _check_finite(out: Outputs, mask: NDArray[np.int64], batch: Any) -> None:
    good = np.isfinite(out.dense).all(axis=1) & np.isfinite(np.where(mask, out.weights, 0)).all(axis=1)
    if out.multi is not None:
        good &= np.isfinite(np.where(mask[:, 1:, None], out.multi, 0)).all(axis=(1, 2))
    bad = ~good
    if bad.any():
        raise EmbeddingError(
            f"the model returned NaN or infinity for text {int(batch[bad].min())}; "
            'in half precision try precision="fp32", otherwise the checkpoint is damaged'
        )


def _progress(batches: list[Any], rows: list[list[int]], show: bool) -> Iterable[Any]:
    if not show:
        yield from batches
        return
    from tqdm.auto import tqdm

    with tqdm(total=sum(map(len, rows)), desc="Encoding", unit="token", unit_scale=True) as bar:
        for batch in batches:
            yield batch
            bar.update(sum(len(rows[i]) for i in batch))
