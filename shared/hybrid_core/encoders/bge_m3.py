"""BGE-M3: dense, sparse and multi-vectors of a text in one forward pass."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..checks import check_count, check_text, check_texts
from ..errors import EmbeddingError
from ..types import Encoding, Fingerprint, FloatArray, IntArray
from .batching import run_batches, token_batches
from .checkpoint import TINY, find_checkpoint
from .csr import to_csr
from .query_cache import QueryCache, QueryKey, encoding_bytes, one_row
from .queue import BatchingQueue
from .runtimes.base import Backend, Outputs, Precision
from .runtimes.choose import open_runtime
from .tokenizing import load_tokenizer, special_ids

logger = logging.getLogger(__name__)

_CHUNK = 2_048  # texts that are tokenised and sorted by length together
_QUERY_CACHE = 128  # encoded queries kept, so that classes sharing an encoder share the pass over one question
_WAITING = 64  # full passes of queries that may wait; callers beyond them wait for room

# positions of texts, their token ids, what came out
_Pass: TypeAlias = tuple[NDArray[np.int64], list[IntArray], Outputs]


class BgeM3Encoder:
    """Loads a checkpoint in BGE-M3's layout and encodes texts with it.

    BGE-M3 is described in arXiv 2402.03216. Loading takes the model into memory once; the object may be shared by any
    number of threads, indexes and framework classes.

    Args:
        model: a hub name such as "BAAI/bge-m3", or a folder.
        precision: "auto" (float16 on a GPU, float32 on the CPU), "fp32", "fp16", "bf16", or "int8" (CPU; vectors differ
            a little from the others', and with what else is in the batch).
        device: a torch device such as "cuda:1"; None takes CUDA, then MPS, then the CPU.
        backend: "torch", "onnx" (for what `bge-hybrid export` wrote), or "auto": whichever the folder is for.
        max_length: tokens of a passage that the model sees; the checkpoint's own limit where that is less.
        query_max_length: the same for queries.
        passage_instruction, query_instruction: text put before every passage or query. BGE-M3 needs none.
        batch_tokens: the most tokens in a pass; None takes 2,048 on the CPU, 65,536 on a GPU.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, or a part of it is missing; a missing head is never filled with random numbers.
        MissingDependencyError: torch, or for an export onnxruntime, is not installed.
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
        backend: Backend = "auto",
        max_length: int = 8192,
        query_max_length: int = 512,
        passage_instruction: str = "",
        query_instruction: str = "",
        batch_tokens: int | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        check_text(passage_instruction, "passage_instruction")
        check_text(query_instruction, "query_instruction")
        check_count(max_length, "max_length", least=3)
        check_count(query_max_length, "query_max_length", least=3)
        if batch_tokens is not None:
            check_count(batch_tokens, "batch_tokens", least=1)
        checkpoint = find_checkpoint(model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
        self._runtime = open_runtime(checkpoint, backend=backend, device=device, precision=precision)
        self._tokenizer = load_tokenizer(checkpoint.folder, checkpoint.name)
        self._special_ids = special_ids(self._tokenizer)
        self._passage = _Role(passage_instruction, min(max_length, checkpoint.max_length))
        self._query = _Role(query_instruction, min(query_max_length, checkpoint.max_length))
        self._batch_tokens = batch_tokens or (2_048 if self.device.startswith("cpu") else 65_536)
        self._lock = threading.Lock()
        self._cache = QueryCache(encoding_bytes, entries=_QUERY_CACHE)
        self._queue = BatchingQueue(
            self._answer,
            weight=attrgetter("tokens"),
            most_weight=self._batch_tokens,
            most_waiting=_WAITING * self._batch_tokens,
            name=checkpoint.name,
        )
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
        """The precision in use: "fp32", "fp16", "bf16" or "int8"."""
        return self._runtime.precision

    def __repr__(self) -> str:
        query = f"query_max_length={self._query.max_length}"
        if self._query.instruction:
            query += f", query_instruction={self._query.instruction!r}"
        name, precision = self._fingerprint.model, self.precision
        return f"BgeM3Encoder({name!r}, {query}, precision={precision!r}, device={self.device!r})"

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        """Encode passages.

        Args:
            texts: strings, the empty one included.
            multi: also return multi-vectors.
            show_progress: draw a progress bar over the texts.

        Returns:
            An Encoding with one row a text, in the order given.

        Raises:
            InvalidTextError: naming the position of what is not a string or holds a lone surrogate.
            EmbeddingError: naming the position of a text for which the model returned NaN or infinity.
        """
        return self._encode(check_texts(texts), self._passage, multi, show_progress)

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """Encode queries; arguments, result and errors as in `encode_documents`.

        Calls from several threads share forward passes; a lone one waits for no one. The last queries are remembered,
        so that one question asked through several classes costs one pass.
        """
        texts, known, missing = self._recall(texts, multi)
        if not missing or len(missing) > _QUERY_CACHE:
            fresh = self._encode(missing, self._query, multi, False)
        else:
            fresh = self._queue.call(self._job(missing, multi))
        return self._gather(texts, known, missing, fresh, multi)

    async def aencode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """As `encode_queries`, for an event loop: tasks share forward passes, and the loop is never blocked."""
        texts, known, missing = self._recall(texts, multi)
        parts = [self._encode([], self._query, multi, False)]
        for at in range(0, len(missing), _QUERY_CACHE):
            parts.append(await self._queue.acall(self._job(missing[at : at + _QUERY_CACHE], multi)))
        return self._gather(texts, known, missing, Encoding.join(parts, multi=multi), multi)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the tokenizer's strings for vocabulary ids; "▁" marks the start of a word."""
        return [str(self._tokenizer.id_to_token(int(i))) for i in ids]

    def token_count(self, text: str) -> int:
        """Return how many tokens a text has, special tokens left out and before any truncation."""
        return len(self._tokenizer.encode(check_text(text, "text"), add_special_tokens=False).ids)

    def _recall(self, texts: Sequence[str], multi: bool) -> tuple[list[str], dict[str, Encoding], list[str]]:
        """Return the checked texts, what is remembered of them, and the distinct ones that are not."""
        checked = check_texts(texts, "query")
        known: dict[str, Encoding] = {}
        missing = []
        for text in dict.fromkeys(checked):
            kept = self._cache.get(self._cache_key(text))
            if kept is None or (multi and kept.multi is None):
                missing.append(text)
            else:
                known[text] = kept
        return checked, known, missing

    def _gather(
        self, texts: list[str], known: dict[str, Encoding], missing: list[str], fresh: Encoding, multi: bool
    ) -> Encoding:
        """Remember the last of what is fresh, and put it and what was known into the order of the texts."""
        for i in range(max(0, len(missing) - _QUERY_CACHE), len(missing)):
            self._cache.put(self._cache_key(missing[i]), one_row(fresh, i))
        if len(missing) == len(texts):  # no repeats and nothing known: row by row would cost as much as the model
            return fresh if multi else replace(fresh, multi=None)
        known |= {text: fresh.rows([i]) for i, text in enumerate(missing)}
        return Encoding.join([known[text] for text in texts], multi=multi)

    def _cache_key(self, text: str) -> QueryKey:
        return QueryKey(self._fingerprint.digest, "query", self._query.max_length, text)

    def _job(self, texts: list[str], multi: bool) -> _Job:
        return _Job(self._tokenize(texts, self._query), multi)

    def _answer(self, jobs: list[_Job]) -> list[Encoding]:
        """Do the jobs of several callers in one pass."""
        multi = any(job.multi for job in jobs)
        rows = [row for job in jobs for row in job.rows]
        encoding = self._collect(len(rows), self._batches(rows, multi), multi)
        ends = np.cumsum([len(job.rows) for job in jobs]).tolist()
        return [encoding.rows(range(end - len(job.rows), end)) for job, end in zip(jobs, ends, strict=True)]

    def _encode(self, texts: Sequence[str], role: _Role, multi: bool, show_progress: bool) -> Encoding:
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        if len(distinct) < len(texts):  # a text that repeats is encoded once
            return self._encode(list(distinct), role, multi, show_progress).rows([distinct[text] for text in texts])
        return self._collect(len(texts), self._passes(texts, role, multi, show_progress), multi)

    def _collect(self, count: int, passes: Iterator[_Pass], multi: bool) -> Encoding:
        """Put what the passes give into the order of the texts."""
        dimension, vocabulary = self._fingerprint.dimension, self._fingerprint.vocabulary
        dense = np.empty((count, dimension), dtype=np.float32)
        vectors: list[FloatArray] = [np.empty((0, dimension), dtype=np.float32)] * count
        entries: list[NDArray[np.int64]] = []
        weights: list[FloatArray] = []
        for batch, rows, out in passes:
            lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
            owner, ids = np.repeat(batch, lengths), np.concatenate(rows)
            _check_finite(out, batch, lengths)
            dense[batch] = out.dense
            keep = (out.weights > 0) & ~np.isin(ids, self._special_ids)
            entries.append(owner[keep] * vocabulary + ids[keep])
            weights.append(out.weights[keep])
            if out.multi is not None:
                for position, part in zip(batch, np.split(out.multi, np.cumsum(lengths - 1)[:-1]), strict=True):
                    vectors[position] = part
        sparse = to_csr(entries, weights, (count, vocabulary))
        return Encoding(dense, sparse, tuple(vectors) if multi else None)

    def _passes(self, texts: Sequence[str], role: _Role, multi: bool, show_progress: bool) -> Iterator[_Pass]:
        """Run the model over any number of texts, some thousand at a time."""
        with _progress(len(texts), show_progress) as done:
            for start, rows in self._tokenized(texts, role):
                for batch, some, out in self._batches(rows, multi):
                    yield batch + start, some, out
                    done(len(batch))

    def _batches(self, rows: list[IntArray], multi: bool) -> Iterator[_Pass]:
        """Run the model over texts of like length at a time; yield their positions, their ids, and what came out."""
        batches = token_batches([len(row) for row in rows], self._batch_tokens)
        for batch, out in run_batches(batches, partial(self._run, rows, multi)):
            yield batch.astype(np.int64), [rows[i] for i in batch], out

    def _run(self, rows: list[IntArray], multi: bool, batch: IntArray) -> Outputs:
        with self._lock:  # one pass at a time: two would share the cores and each take twice as long
            return self._runtime.run([rows[i] for i in batch], multi=multi)

    def _tokenized(self, texts: Sequence[str], role: _Role) -> Iterator[tuple[int, list[IntArray]]]:
        """Yield token ids of some thousand texts and where they begin; the next ones are tokenised meanwhile."""
        starts = range(0, len(texts), _CHUNK)
        if len(starts) <= 1:
            yield from ((start, self._tokenize(texts, role)) for start in starts)
            return
        with ThreadPoolExecutor(1) as ahead:
            coming = [ahead.submit(self._tokenize, texts[start : start + _CHUNK], role) for start in starts[:1]]
            for start in starts:
                rows = coming.pop().result()
                if start + _CHUNK < len(texts):
                    following = texts[start + _CHUNK : start + 2 * _CHUNK]
                    coming.append(ahead.submit(self._tokenize, following, role))
                yield start, rows

    def _tokenize(self, texts: Sequence[str], role: _Role) -> list[IntArray]:
        """Return token ids with special tokens, cut to the role's length with the closing token kept."""
        prefixed = [role.instruction + text for text in texts] if role.instruction else list(texts)
        rows = [np.array(item.ids, dtype=np.int32) for item in self._tokenizer.encode_batch_fast(prefixed)]
        long = [i for i, row in enumerate(rows) if len(row) > role.max_length]
        for i in long:
            rows[i] = np.concatenate([rows[i][: role.max_length - 1], rows[i][-1:]])
        if long and not self._reported_truncation:
            self._reported_truncation = True
            logger.warning(
                "%d of %d texts are longer than %d tokens; the model sees their beginning only (the text itself is "
                "kept whole). Split such texts, or raise max_length. Reported once.",
                len(long), len(texts), role.max_length,
            )  # fmt: skip
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One caller's queries as token ids, and whether multi-vectors are wanted."""

    rows: list[IntArray]
    multi: bool

    @property
    def tokens(self) -> int:
        return sum(map(len, self.rows))


@dataclass(frozen=True, slots=True)
class _Role:
    """How one kind of text is prepared."""

    instruction: str
    max_length: int


def _check_finite(out: Outputs, batch: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    bad = [batch[~np.isfinite(out.dense).all(axis=1)], np.repeat(batch, lengths)[~np.isfinite(out.weights)]]
    if out.multi is not None:
        bad.append(np.repeat(batch, lengths - 1)[~np.isfinite(out.multi).all(axis=1)])
    positions = np.concatenate(bad)
    if len(positions):
        raise EmbeddingError(
            f"the model returned NaN or infinity for text {int(positions.min())}; "
            'in half precision try precision="fp32", otherwise the checkpoint is damaged'
        )


@contextmanager
def _progress(total: int, show: bool) -> Iterator[Callable[[int], object]]:
    if not show:
        yield lambda count: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="Encoding", unit="text", unit_scale=True) as bar:
        yield bar.update
