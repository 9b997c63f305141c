"""Several encoders in processes of their own, one a device, that look like one encoder."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np

from ..checks import check_texts
from ..errors import HybridError, InvalidInputError, ModelError
from ..types import Encoding, Fingerprint
from .pool_chunks import Call, deal, in_the_whole
from .pool_worker import Spec, Worker

logger = logging.getLogger(__name__)


class WorkerPool:
    """Encodes on several devices at once; an encoder to all who take one.

    Each device has a process with a model of its own; texts are dealt out by length, and the answers are put back in
    order. Pays off for documents by the thousand: a lone query is one trip to a process (under a millisecond) slower
    than in this one. May be used from several threads; who asks first is served first. Close it, or use it as a
    context manager. The processes end with it, with the interpreter, and with the death of this process.

    A process that dies fails the call that it worked for, and is started again by the next one.

    Scripts make a pool under `if __name__ == "__main__":` only, because each process imports the script first.

    Args:
        spec: what each process builds: an `EncoderSpec`, or plain data with `build(device)` of a class of yours.
        devices: torch devices, one a process: ["cuda:0", "cuda:1"], or ["cpu", "cpu"]. Those on the CPU share its
            cores evenly.

    Raises:
        InvalidInputError: no devices, or not a list.
        ModelLoadError, MissingDependencyError, InvalidInputError: a process could not build its encoder.
        ModelError: a process could not be started, or died.

    Example:
        >>> with WorkerPool(EncoderSpec.tiny(), devices=["cpu", "cpu"]) as pool:
        ...     pool.encode_documents(["A worker pulls tasks.", "工作节点拉取任务。"]).dense.shape
        (2, 256)
    """

    def __init__(self, spec: Spec, *, devices: Sequence[str]) -> None:
        if isinstance(devices, str) or not devices or not all(isinstance(device, str) for device in devices):
            raise InvalidInputError(f'devices={devices!r} must be a list of torch devices such as ["cuda:0", "cuda:1"]')
        self.devices = tuple(devices)
        on_cpu = sum(device.startswith("cpu") for device in devices)
        threads = max(1, _cores() // max(1, on_cpu))
        self._workers = [
            Worker(i, spec, device, threads if device.startswith("cpu") else None) for i, device in enumerate(devices)
        ]
        self._pid = os.getpid()
        self._closed = False
        self._changed = threading.Condition()
        self._line: deque[object] = deque()  # who waits for a worker, first come first
        self._end = weakref.finalize(self, _end_all, self._workers, self._pid)
        try:
            for worker in self._workers:
                worker.start()
            fingerprints: list[Fingerprint] = [worker.first_word() for worker in self._workers]
        except BaseException:  # Ctrl-C too: no process is left behind
            self.close()
            raise
        self._fingerprint = fingerprints[0]
        if any(self._fingerprint.differences(other) for other in fingerprints):
            self.close()
            raise ModelError(f"the workers loaded different models: {fingerprints}; was one replaced while loading?")

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"WorkerPool({self._fingerprint.model!r}, devices={list(self.devices)})"

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides which vector a passage gets: that of the encoders."""
        return self._fingerprint

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        """Encode passages on all devices.

        Args:
            texts: strings, the empty one included.
            multi: also return multi-vectors.
            show_progress: draw a progress bar over the texts.

        Returns:
            An Encoding with one row a text, in the order given.

        Raises:
            InvalidTextError, EmbeddingError: as the encoder's, naming the position of the text among those given.
            ModelError: the pool is closed, or a process died.
        """
        texts = check_texts(texts)
        longest = 4 * self._fingerprint.max_length  # characters that the model sees, roughly
        chunks = deal([min(len(text), longest) + 16 for text in texts], len(self._workers))
        calls = [Call("encode_documents", [texts[i] for i in chunk], {"multi": multi}, chunk) for chunk in chunks]
        parts = self._do(calls, show_progress=show_progress)
        places = np.argsort([i for chunk in chunks for i in chunk])
        return Encoding.join(parts, multi=multi).rows(places.tolist())

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """Encode queries on the first device that is free; arguments, result and errors as in `encode_documents`."""
        texts = check_texts(texts, "query")
        encoding: Encoding
        [encoding] = self._do([Call("encode_queries", texts, {"multi": multi})])
        return encoding

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the vocabulary's strings for sparse ids."""
        strings: list[str]
        [strings] = self._do([Call("tokens", [int(i) for i in ids], {})])
        return strings

    def close(self) -> None:
        """End the processes; calls that are still at work fail. May be called twice."""
        if os.getpid() == self._pid:  # in a forked child there is nothing to end, and the lock may never come free
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            self._end()

    def _do(self, calls: list[Call], *, show_progress: bool = False) -> list[Any]:
        """Have calls made by whatever workers come free, and return the answers in the order of the calls."""
        if os.getpid() != self._pid:
            raise ModelError(f"this WorkerPool belongs to process {self._pid}; make one in this process, {os.getpid()}")
        left = deque(enumerate(calls))
        answers: SimpleQueue[tuple[int, Any]] = SimpleQueue()

        def work() -> None:
            with suppress(IndexError):  # none is left
                while True:
                    i, call = left.popleft()
                    answers.put((i, self._answer(call)))

        for _ in range(min(len(calls), len(self._workers))):
            threading.Thread(target=work, name="pool-call", daemon=True).start()
        results: dict[int, Any] = {}
        try:
            with _bar(sum(len(call.argument) for call in calls), show_progress) as advance:
                while len(results) < len(calls):
                    i, answer = answers.get()
                    if isinstance(answer, BaseException):
                        raise answer
                    results[i] = answer
                    advance(len(calls[i].argument))
        finally:
            left.clear()  # after an error or Ctrl-C: the calls that are being made are finished, and thrown away
        return [results[i] for i in range(len(calls))]

    def _answer(self, call: Call) -> Any:
        """Make one call; what it raises is returned."""
        try:
            worker = self._lease()
            try:
                if not worker.alive():
                    self._restart(worker)
                return worker.ask(call.method, call.argument, call.options)
            except ModelError:
                if self._closed:
                    raise ModelError("the WorkerPool was closed during this call") from None
                raise
            finally:
                with self._changed:
                    worker.busy = False
                    self._changed.notify_all()
        except HybridError as error:
            if call.positions:
                error.args = (in_the_whole(str(error), call.positions),)
            return error
        except BaseException as error:  # raised by the caller, in the caller's thread
            return error

    def _restart(self, worker: Worker) -> None:
        logger.warning("%s is not running; it is started again", worker.name)
        worker.start()
        if self._closed:  # in this moment, so that close() did not see the new process
            worker.end()
        worker.first_word()

    def _lease(self) -> Worker:
        """Wait in line for a worker."""
        place = object()
        with self._changed:
            self._line.append(place)
            try:
                while True:
                    if self._closed:
                        raise ModelError("this WorkerPool is closed")
                    free = [worker for worker in self._workers if not worker.busy]
                    if free and self._line[0] is place:
                        break
                    self._changed.wait()
                worker = free[0]
                worker.busy = True
            finally:
                self._line.remove(place)
                self._changed.notify_all()
        return worker


@contextmanager
def _bar(texts: int, show: bool) -> Iterator[Callable[[int], object]]:
    """Yield what is told of each number of texts that is done."""
    if not show:
        yield lambda done: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=texts, desc="Encoding", unit="text") as bar:
        yield bar.update


def _end_all(workers: list[Worker], pid: int) -> None:
    """End the processes, all at once; in a forked child they are not ours."""
    if os.getpid() != pid:
        return
    for worker in workers:
        worker.end()
    for worker in workers:
        worker.join()


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
