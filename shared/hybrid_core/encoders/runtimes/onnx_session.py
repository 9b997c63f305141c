"""Running exported models with ONNX Runtime: texts laid end to end, in passes that a processor's cache can hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import check_count
from ...errors import InvalidInputError, MissingDependencyError, ModelLoadError, require
from ...types import FloatArray
from .base import Precision
from .onnx_folder import OnnxFolder
from .packing import Pack

_OLDEST = (1, 21)
_ALONE = 128  # tokens: a text of as many runs alone, its attention without padding and in blocks
_PASS = 256  # tokens of a pass of shorter texts; with more, the states no longer fit the cache
_LARGE = 1024  # tokens: a pass of more gives its memory back instead of keeping it for the next


class OnnxSession:
    """One loaded model.

    Args:
        export: the folder it is in.
        kind: what the caller expects, "encoder" or "reranker".
        device: "cpu", "cuda" or "cuda:1"; None is the CPU.
        precision: "auto", or what the export is.
        threads: of the CPU; None takes one for each core.

    Raises:
        ModelLoadError: the files are damaged, or are those of the other kind.
        InvalidInputError: there is no such device here, the model does not run on it, or it has another precision.
        MissingDependencyError: onnxruntime is not installed, or too old.
    """

    def __init__(
        self, export: OnnxFolder, *, kind: str, device: str | None, precision: Precision, threads: int | None
    ) -> None:
        runtime = _runtime()
        if precision not in ("auto", export.precision):
            raise InvalidInputError(
                f"precision={precision!r}: the export in {export.folder} is {export.precision}; leave precision out, "
                "or export again"
            )
        if threads is not None:
            check_count(threads, "threads", least=1)
        if export.kind != kind:
            raise ModelLoadError(f"{export.folder} is an exported {export.kind}; an exported {kind} is needed")
        self.device = device or "cpu"
        providers = _providers(runtime, self.device, export.precision)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or _cores()
        options.log_severity_level = 3
        # higher levels fuse what the graph has on purpose: addition and layer norm apart are four times as fast
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.enable_mem_pattern = False  # it plans memory anew for each shape, and every batch has its own
        # a thread that waits leaves its core to others: to the program around this, and to a busy machine's other work
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(str(export.path), options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for every status
            raise ModelLoadError(f"{export.path} cannot be loaded: {error}") from error
        self._inputs = [item.name for item in self._session.get_inputs()]
        self._give_back = runtime.RunOptions()
        self._give_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, pack: Pack, *, multi: bool = False) -> list[FloatArray]:
        """Return the outputs, rows in the pack's order; without `multi` its rows are left out."""
        parts = []
        for begin, end in _cuts(pack.lengths):
            feeds = _feeds(pack, begin, end, multi=multi)
            options = self._give_back if len(feeds["ids"]) > _LARGE else None
            parts.append(self._session.run(None, {name: feeds[name] for name in self._inputs}, options))
        if len(parts) == 1:
            out: list[FloatArray] = parts[0]
            return out
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _cores() -> int:
    """Return how many threads to use where that is less than one a core; else 0, which lets onnxruntime choose.

    Left to itself it starts a thread for every core of the machine and ties it to that core, whatever the process may
    use, and whatever OMP_NUM_THREADS says, which torch heeds and a `WorkerPool` sets for its workers.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return allowed if allowed != os.cpu_count() else 0


def _cuts(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut texts, longest first, into passes; yields where each begins and ends among the texts."""
    begin = 0
    while begin < len(lengths):
        end, tokens = begin + 1, int(lengths[begin])
        while tokens < _PASS and end < len(lengths) and lengths[begin] < _ALONE:
            tokens += int(lengths[end])
            end += 1
        yield begin, end
        begin = end


def _feeds(pack: Pack, begin: int, end: int, *, multi: bool) -> dict[str, NDArray[np.int64] | NDArray[np.int32]]:
    """Return the graph's inputs for some texts of a pack.

    "grid" says for (texts, longest) which token of the pass stands there (the first where none does), "mask" whether
    one does, "places" for each token where it stands in the flattened grid, "others" which tokens get a multi-vector.
    """
    lengths = pack.lengths[begin:end]
    count, longest, tokens = end - begin, int(lengths[0]), int(lengths.sum())
    start = int(pack.lengths[:begin].sum())
    part = slice(start, start + tokens)
    first = np.cumsum(lengths) - lengths
    places = np.arange(tokens) + np.repeat(np.arange(count) * longest - first, lengths)
    grid, mask = np.zeros(count * longest, dtype=np.int64), np.zeros(count * longest, dtype=np.int32)
    grid[places], mask[places] = np.arange(tokens), 1
    return {
        "ids": pack.ids[part],
        "positions": pack.positions[part],
        "types": pack.types[part],
        "first": first,
        "grid": grid.reshape(count, longest),
        "mask": mask.reshape(count, longest),
        "places": places,
        "others": np.delete(np.arange(tokens), first) if multi else np.empty(0, dtype=np.int64),
    }


def _runtime() -> ModuleType:
    """Return onnxruntime; before 1.21 attention of one query a text, which scorers end with, ignores the mask."""
    runtime = require("onnxruntime", "onnx")
    if tuple(map(int, runtime.__version__.split(".")[:2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise MissingDependencyError(
            f"onnxruntime {runtime.__version__} computes exported models wrongly; {oldest} or later is needed. "
            'Run: pip install --upgrade "bge-hybrid[onnx]"',
            name="onnxruntime",
        )
    return runtime


def _providers(runtime: Any, device: str, precision: str) -> list[Any]:
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return ["CPUExecutionProvider"]
    if kind != "cuda" or not (number.isdecimal() or not number):
        raise InvalidInputError(f"device={device!r}: an export runs on 'cpu', 'cuda' or 'cuda:<number>'")
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise InvalidInputError(f"device={device!r} needs onnxruntime-gpu and a GPU; leave it out to run on the CPU")
    if precision == "int8":
        raise InvalidInputError(f"device={device!r}: an int8 export runs on the CPU; export with precision='fp32'")
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
