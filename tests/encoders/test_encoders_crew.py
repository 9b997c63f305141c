"""How many threads passes take, with torch's own count and a clock that says what each pass took."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from hybrid_core.encoders.runtimes.crew import Crew

FREE = {4: 1.0, 2: 1.6}  # by threads; in units of 20 ms for 100 tokens
CROWDED = {4: 5.0, 2: 1.6}  # every third pass with all threads; the others are as on a free machine


class Machine:
    """Runs passes of a crew, each as long as its number of threads takes on a machine that is free or crowded."""

    def __init__(self, device: str = "cpu") -> None:
        self.now, self.crowded, self.passes = 0.0, False, 0
        self.crew = Crew(device, clock=lambda: self.now)

    def run(self, passes: int, tokens: int = 100) -> list[int]:
        """Return the threads that passes took."""
        taken = []
        for _ in range(passes):
            with self.crew.at_work(tokens):
                threads = torch.get_num_threads()
                self.passes += 1
                seconds = CROWDED if self.crowded and self.passes % 3 == 0 else FREE
                self.now += seconds[threads] * tokens / 5e3
            taken.append(threads)
        return taken

    def fail(self) -> None:
        """Run a pass that ends in an error after a long time."""
        with self.crew.at_work(100):
            self.now += 1e6
            raise ZeroDivisionError


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_on_a_free_machine_every_pass_takes_all_threads() -> None:
    assert Machine().run(2_000) == [4] * 2_000


def test_on_a_crowded_machine_passes_soon_take_half_the_threads_and_only_trials_take_all() -> None:
    machine = Machine()
    machine.run(20)
    machine.crowded = True
    taken = machine.run(20_000)
    assert taken[:100].count(2) > 50
    assert taken[100:].count(4) < 200


def test_after_the_crowd_passes_take_all_threads_again() -> None:
    machine = Machine()
    machine.crowded = True
    machine.run(1_000)
    machine.crowded = False
    machine.run(2_000)  # half a minute of passes; the longest patience is twenty seconds
    assert machine.run(1_000) == [4] * 1_000


def test_one_stall_among_many_passes_changes_nothing() -> None:
    machine = Machine()
    machine.run(50)
    with machine.crew.at_work(100):
        machine.now += 1.0
    assert machine.run(50) == [4] * 50


def test_half_the_threads_are_given_up_where_they_are_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FREE, 2, 12.0)
    monkeypatch.setitem(CROWDED, 2, 12.0)
    machine = Machine()
    machine.crowded = True
    assert machine.run(5_000).count(2) < 20


def test_passes_of_all_sizes_are_compared_by_their_size() -> None:
    machine = Machine()
    taken = [machine.run(1, tokens)[0] for tokens in [10, 4_000, 300, 25] * 200]
    assert taken == [4] * 800


def test_no_other_thread_is_limited_while_a_pass_runs_and_nobody_is_after_it() -> None:
    machine = Machine()
    machine.crowded = True
    while machine.run(1) == [4]:
        pass
    seen: list[int] = []
    with machine.crew.at_work(100):
        inside = torch.get_num_threads()
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert (inside, seen, torch.get_num_threads()) == (2, [4], 4)


def test_torch_gets_its_threads_back_with_other_libraries_of_threads_in_the_process() -> None:
    """These two bring two more copies of OpenMP, and an OpenBLAS that runs on one of them."""
    import faiss  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    machine = Machine()
    machine.crowded = True
    while machine.run(1) == [4]:
        assert torch.get_num_threads() == 4
    assert torch.get_num_threads() == 4


def test_a_pass_that_fails_is_not_learned_from_and_takes_its_limit_with_it() -> None:
    machine = Machine()
    machine.crowded = True
    while machine.run(1) == [4]:
        pass
    with pytest.raises(ZeroDivisionError):
        machine.fail()
    assert torch.get_num_threads() == 4
    assert machine.run(1) == [2]


@pytest.mark.parametrize(("device", "threads"), [("cuda:0", 4), ("mps", 4), ("cpu", 1)])
def test_a_graphics_card_and_a_single_thread_are_left_as_they_are(device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    crew = Crew(device, clock=_never)
    with crew.at_work(100):
        assert torch.get_num_threads() == threads


def _never() -> float:
    raise AssertionError("nothing is to be measured here")
