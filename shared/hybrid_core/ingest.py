"""Bulk writing: passages are checked, told from what is there, encoded, and committed chunk by chunk.

The caller's thread reads, looks up and encodes; meanwhile another commits the chunk before:

    caller   read 1, look up 1, encode 1, read 2, look up 2, encode 2, read 3, look up 3, encode 3, ...
    writer                                                   commit 1                     commit 2

A chunk is looked up in the store and in the one chunk that is encoded but not committed, and no look-up begins before
the last commit has ended. So the store ends as it would with one chunk after the other. The last chunk is committed by
the caller's thread, so a call with a single one starts no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from .checks import check_passages, encode_metadata
from .encoders.base import Encoder
from .stores.base import Store
from .types import Encoding, Fingerprint, Passage
from .vector_checks import check_encoding

logger = logging.getLogger(__name__)

CHUNK = 1_000  # passages committed together; a crash costs at most the encoding of two chunks
_STEP = 256  # texts between two steps of a progress bar

Checked: TypeAlias = list[tuple[Passage, str]]  # passages with their metadata as JSON
Progress: TypeAlias = Callable[[int], object]


def ingest(store: Store, encoder: Encoder, passages: Iterable[Passage], *, show_progress: bool = False) -> list[str]:
    """Encode and commit those passages that the store does not hold as they are.

    Args:
        store: where they go.
        encoder: makes the vectors that the store does not have.
        passages: a list is checked as a whole first; anything else is read as it is needed, in this thread, at most
            three chunks ahead of what is committed.
        show_progress: draw one progress bar over all of them.

    Returns:
        The ids, one a passage given.

    Raises:
        Exception: whatever reading, checking, encoding or committing a chunk raises. The chunks before it are then
            committed, nothing of it is, and no thread is left running.
    """
    ids: list[str] = []
    if isinstance(passages, Sequence):
        checked = check_passages(passages)
        ids += [passage.id for passage in passages]
        total, chunks = len(checked), _slices(checked)
    else:
        total, chunks = None, _read(passages, ids)
    with _progress(total, show_progress) as progress:
        _Ingestion(store, encoder, progress).run(chunks)
    return ids


def ingest_encoded(
    store: Store, fingerprint: Fingerprint, passages: Iterable[Passage], encoding: Encoding
) -> list[str]:
    """Commit passages with the vectors given, whatever the store holds under their ids.

    Args:
        store: where they go.
        fingerprint: what the vectors must fit.
        passages: checked as a whole first.
        encoding: row i belongs to passage i.

    Returns:
        The ids, one a passage given.
    """
    given = list(passages)
    checked = check_passages(given)
    encoding = check_encoding(encoding, len(given), fingerprint)
    row_of = {passage.id: row for row, passage in reversed(list(enumerate(given)))}  # of repeats the first
    for chunk in _slices(checked):
        _commit(store, _Ready(chunk, encoding.rows([row_of[passage.id] for passage, _ in chunk])))
    return [passage.id for passage in given]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What a look-up leaves to do.

    Attributes:
        new: passages that the store does not hold as they are.
        known: those of their texts that have vectors already, each once,
        vectors: and these, in that order, in parts.
        fresh: the other texts, each once.
    """

    new: Checked
    known: list[str]
    vectors: list[Encoding]
    fresh: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A chunk to commit: row i of the encoding belongs to passage i."""

    new: Checked
    encoding: Encoding


class _Ingestion:
    """One call: chunks of checked passages into a store."""

    def __init__(self, store: Store, encoder: Encoder, progress: Progress | None) -> None:
        self._store = store
        self._encoder = encoder
        self._progress = progress

    def run(self, chunks: Iterable[Checked]) -> None:
        """Commit every chunk, in order; on an error all those before the one at fault."""
        ready: _Ready | None = None
        writing: Future[None] | None = None
        with ThreadPoolExecutor(1, "bge-hybrid-writer") as writer:  # its end waits for the commit that is under way
            try:
                for chunk in chunks:
                    if writing:
                        writing.result()
                    found = self._look_up(chunk, ready)
                    if ready:
                        writing, ready = writer.submit(_commit, self._store, ready), None
                    ready = self._encode(found)
            finally:  # after an error or Ctrl-C too: what is encoded comes before the chunk at fault
                if writing:
                    writing.result()  # raises if that chunk could not be committed: then no later one is
                if ready:
                    _commit(self._store, ready)

    def _look_up(self, chunk: Checked, ahead: _Ready | None) -> _Found:
        """Tell what is new in a chunk from what the store holds, and will hold once `ahead` is committed."""
        stored = self._store.get([passage.id for passage, _ in chunk])
        held = {id_: (old.text, encode_metadata(old.metadata, "a stored passage")) for id_, old in stored.items()}
        rows: dict[str, int] = {}
        if ahead:
            held |= {passage.id: (passage.text, metadata) for passage, metadata in ahead.new}
            rows = {passage.text: row for row, (passage, _) in enumerate(ahead.new)}
        new = [(passage, metadata) for passage, metadata in chunk if held.get(passage.id) != (passage.text, metadata)]
        texts = list(dict.fromkeys(passage.text for passage, _ in new))
        known = [text for text in texts if text in rows]
        vectors = [ahead.encoding.rows([rows[text] for text in known])] if ahead and known else []
        others = [text for text in texts if text not in rows]
        places, found = self._store.encodings(others) if others else ([], None)
        if found is not None:
            known += [others[place] for place in places]
            vectors.append(found)
        fresh = [others[place] for place in sorted(set(range(len(others))) - set(places))]
        if self._progress:
            self._progress(len(chunk) - len(fresh))
        return _Found(new, known, vectors, fresh)

    def _encode(self, found: _Found) -> _Ready | None:
        """Give each new passage its vectors; None if there is no such passage."""
        if not found.new:
            return None
        parts = list(found.vectors)
        step = _STEP if self._progress else CHUNK
        for start in range(0, len(found.fresh), step):
            texts = found.fresh[start : start + step]
            parts.append(self._encoder.encode_documents(texts))
            if self._progress:
                self._progress(len(texts))
        row_of = {text: row for row, text in enumerate(found.known + found.fresh)}
        return _Ready(found.new, Encoding.join(parts).rows([row_of[passage.text] for passage, _ in found.new]))


def _commit(store: Store, ready: _Ready) -> None:
    blank = [passage.id for passage, _ in ready.new if not passage.text.strip()]
    if blank:
        logger.warning("%d passages hold no text (first id: %r); stored, but hardly to be found", len(blank), blank[0])
    store.upsert([passage for passage, _ in ready.new], ready.encoding)


def _slices(checked: Checked) -> Iterator[Checked]:
    return (checked[start : start + CHUNK] for start in range(0, len(checked), CHUNK))


def _read(passages: Iterable[Passage], ids: list[str]) -> Iterator[Checked]:
    """Read, check and yield a chunk at a time, and note the ids."""
    stream = iter(passages)
    while chunk := list(islice(stream, CHUNK)):
        yield check_passages(chunk)
        ids += [passage.id for passage in chunk]


@contextmanager
def _progress(total: int | None, show: bool) -> Iterator[Progress | None]:
    if not show:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="Indexing", unit="passage", unit_scale=True) as bar:
        yield bar.update
