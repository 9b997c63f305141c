"""What both training runs share: a clock that the schedule follows, averaged weights, checkpoints to resume from.

The clock counts the processor time of a thread, not that of the wall: a busy machine takes longer and learns no less.
"""

from __future__ import annotations

import ctypes
import math
import time
from pathlib import Path

import torch
from torch import nn

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class Run:
    """Counts time over restarts, sets the learning rate, averages weights, saves.

    Args:
        model: what is trained.
        path: the checkpoint: tensors only.
        minutes: the time of the run, restarts added up, on an idle machine; the learning rate ends where it ends.
        rate: the highest learning rate.
    """

    def __init__(self, model: nn.Module, path: Path, minutes: float, rate: float) -> None:
        self.model, self.path, self.seconds, self.rate = model, path, minutes * 60, rate
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.step, self.before, self.sampler = 0, 0.0, ""
        self._since, self._saved = _clock(), time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds trained so far, as on an idle machine."""
        return self.before + _clock() - self._since

    @property
    def done(self) -> float:
        """The part of the run that is over, 0 to 1."""
        return min(1.0, self.elapsed / self.seconds)

    def update(self, loss: torch.Tensor) -> None:
        """Take one step down the loss: warm up over 3 % of the run, then a cosine to a hundredth."""
        done = self.done
        rate = self.rate * min(1.0, done / 0.03 + 0.02) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimiser.step()
        self.step += 1
        keep = min(0.998, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)

    def save(self, *, least_seconds: float = 0.0) -> bool:
        """Save if that long has passed since the last time."""
        if time.monotonic() - self._saved < least_seconds:
            return False
        state = {
            "model": self.model.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict(),
            "step": self.step, "elapsed": self.elapsed, "sampler": self.sampler,
        }  # fmt: skip
        torch.save(state, self.path.with_suffix(".part"))
        self.path.with_suffix(".part").replace(self.path)
        self._saved = time.monotonic()
        return True

    def resume(self) -> bool:
        """Go on from the checkpoint if there is one."""
        if not self.path.exists():
            return False
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], int(state["step"])
        self.before, self.sampler = float(state["elapsed"]), str(state["sampler"])
        self._since, self._saved = _clock(), time.monotonic()
        return True


def _clock() -> float:
    return time.process_time() / torch.get_num_threads()


def prepare_machine(threads: int, seed: int) -> None:
    """Set threads and seeds, and have glibc keep freed memory, to spare large steps on a CPU the page faults."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    except (OSError, AttributeError):  # another C library: slower, not wrong
        pass
