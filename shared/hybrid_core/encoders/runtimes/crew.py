"""How many threads a forward pass on the CPU takes: all of torch's, or half of them while others want the cores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...costs import CostModel
from ...errors import require

_SLOW = 1.3  # times what was to be expected, on average: from there on half the threads are tried
_LATEST, _MOST = 0.1, 4.0  # weight of the latest pass in that average, and what one may count; one stall is no crowd
_TRIALS = 3  # passes in a row that must do better; one or two may have met a pause of the others
_FASTER = 0.9  # of the seconds with half the threads: what all must stay below, or there is nothing in it
_WAIT_ALL, _WAIT_HALF, _LONGEST = 0.25, 2.0, 20.0  # seconds of passes until the next trial; twice as many after each


class Crew:
    """Keeps the forward passes of one model off cores that are not free.

    The threads of a pass wait for each other many times a layer, so one of them whose core does other work as well
    stops them all until the system gives it its turn: on two cores with one of them busy, passes of 15 ms took 20 ms or
    200 ms, while one thread took 20 ms every time. So where passes with all threads become unsteady, half as many are
    tried, and kept if that does better; from time to time all are tried again. The calls themselves are measured,
    because in a container the system's own counts say little. Only the calling thread is limited; many may share it.

    Args:
        device: of the model; on one that is no CPU there is nothing to do.
        clock: seconds that pass, from any beginning.
    """

    def __init__(self, device: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._torch = require("torch", "torch")
        self._idle = not device.startswith("cpu")
        # of OpenMP alone: giving a BLAS its threads back changes those of torch where both run on one OpenMP
        self._pools = require("threadpoolctl", "torch").ThreadpoolController().select(user_api="openmp")
        self._clock = clock
        self._lock = threading.Lock()
        self._halved = False
        self._pace = CostModel()  # of passes with as many threads as are taken now
        self._slow = 1.0  # seconds over what was to be expected
        self._better = 0  # trials in a row that were
        self._wait, self._patience = 0.0, _WAIT_ALL

    @contextmanager
    def at_work(self, tokens: int) -> Iterator[None]:
        """Run one pass over so many tokens inside."""
        threads = 1 if self._idle else self._torch.get_num_threads()
        if threads == 1:
            yield
            return
        with self._lock:
            trial = self._wait <= 0 and (self._halved or self._slow > _SLOW)
            halved = self._halved != trial
        began = self._clock()
        if halved:
            with self._pools.limit(limits=threads // 2):
                yield
        else:
            yield
        with self._lock:
            self._learn(tokens, self._clock() - began, halved)

    def _learn(self, tokens: int, seconds: float, halved: bool) -> None:
        """Take in what a pass took, and change sides after trials that did better."""
        self._wait -= seconds
        forecast = self._pace.forecast()
        expected = seconds if forecast is None else forecast.seconds(tokens)
        if halved == self._halved:
            self._slow += _LATEST * (min(seconds / expected, _MOST) - self._slow)
            self._pace.learn(tokens, seconds)
        elif seconds >= expected * (_FASTER if self._halved else self._slow):
            self._better, self._wait = 0, self._patience
            self._patience = min(2 * self._patience, _LONGEST)
        elif self._better < _TRIALS - 1:
            self._better += 1
        else:
            self._halved, self._pace, self._slow, self._better = halved, CostModel(), 1.0, 0
            self._wait, self._patience = (_WAIT_HALF, _WAIT_HALF) if halved else (0.0, _WAIT_ALL)
