"""Fault 35: any sequence of calls leaves an index in the state of a dictionary that was written to alongside.

Hypothesis chooses the calls and their arguments, the same ones in every run.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from killed_calls import KilledCalls
from oracle_machine import IDS, PASSAGES, OracleMachine, ReopenedMachine, exactly
from vectors import FINGERPRINT

from hybrid_core import Passage
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore

# most of them about the commit
UPSERT_STEPS = st.sampled_from([0, 10, 20, *range(26, 44)])
DELETE_STEPS = st.sampled_from([0, 5, *range(9, 18)])


class FolderMachine(ReopenedMachine):
    """What an index in a folder of ours does besides: it is looked after, copied, read beside the writer, and killed.

    Args:
        root: where its folders go; what is there is deleted.
        killed: makes the calls that do not come to their end.
    """

    def __init__(self, root: Path, killed: KilledCalls) -> None:
        self.root, self.folder, self.folders = root, root / "0", 0
        self.killed = killed
        shutil.rmtree(root, ignore_errors=True)
        super().__init__(lambda: EmbeddedStore(self.folder, FINGERPRINT))
        self.reader = EmbeddedStore(self.folder, FINGERPRINT)

    def next_folder(self) -> Path:
        self.folders += 1
        return self.root / str(self.folders)

    def go_on_in(self, folder: Path) -> None:
        self.reader.close()
        self.folder = folder
        self.reopen()
        self.reader = EmbeddedStore(folder, FINGERPRINT)

    @rule()
    def optimize(self) -> None:
        self.index.optimize()

    @rule()
    def compact(self) -> None:
        assert self.index.compact() == self.written - len(self.held)
        self.written = len(self.held)

    @rule()
    def go_on_with_a_backup(self) -> None:
        folder = self.next_folder()
        assert self.index.backup(folder) == len(self.held)
        self.go_on_in(folder)

    @precondition(lambda self: self.written)
    @rule()
    def go_on_with_what_a_killed_process_leaves(self) -> None:
        """That is what is on disk before anything is closed, whatever was done before."""
        folder = self.next_folder()
        shutil.copytree(self.folder, folder)
        self.go_on_in(folder)

    @rule(passages=PASSAGES, step=UPSERT_STEPS)
    def upsert_and_be_killed(self, passages: list[Passage], step: int) -> None:
        self.index.close()
        acknowledged = self.killed.upsert(self.folder, passages, step=step)
        before, written = dict(self.held), self.written
        self.note(passages)
        self.go_on_after_death(acknowledged, before, written)

    @rule(ids=st.lists(IDS, min_size=1, max_size=6), step=DELETE_STEPS)
    def delete_and_be_killed(self, ids: list[str], step: int) -> None:
        self.index.close()
        acknowledged = self.killed.delete(self.folder, ids, step=step)
        before, written = dict(self.held), self.written
        self.held = {id_: passage for id_, passage in before.items() if id_ not in ids}
        self.go_on_after_death(acknowledged, before, written)

    def go_on_after_death(self, acknowledged: bool, before: dict[str, Passage], written: int) -> None:
        """The call is wholly there, or, if it had not returned, wholly absent."""
        self.index.store = self.open()
        found = [exactly(passage) for passage in self.index.get(self.index.ids())]
        if found != [exactly(passage) for passage in self.held.values()]:
            assert not acknowledged
            assert found == [exactly(passage) for passage in before.values()]
            self.held, self.written = before, written
        for mode in ("dense", "sparse", "hybrid"):
            self.search("text 1", 50, mode, None)

    @invariant()
    def is_seen_by_readers(self) -> None:
        assert self.reader.ids() == list(self.held)

    def teardown(self) -> None:
        super().teardown()
        self.reader.close()


def play(machine: Any, examples: int, steps: int) -> None:
    """Let Hypothesis play, with nothing written to a database of its own."""
    checks = list(HealthCheck)
    how = settings(
        max_examples=examples, stateful_step_count=steps, derandomize=True, database=None, deadline=None,
        suppress_health_check=checks, print_blob=False,
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=how)


def test_in_memory() -> None:
    """Fault 35: in memory, where nothing is reopened."""
    play(lambda: OracleMachine(MemoryStore()), 40, 20)


def test_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 35: with a dense view that is asked and a sparse one in files, however few passages there are."""
    monkeypatch.setattr("hybrid_core.stores.embedded.snapshot._EXACT", 0)
    monkeypatch.setattr("hybrid_core.stores.embedded.store._UNSAVED", 1)
    with KilledCalls() as killed:
        play(lambda: FolderMachine(tmp_path / "index", killed), 20, 20)


def test_in_qdrant(tmp_path: Path) -> None:
    """Fault 35: in a folder of qdrant-client's."""
    play(lambda: ReopenedMachine(lambda: QdrantStore(tmp_path / "qdrant", FINGERPRINT)), 12, 20)


def test_in_milvus(tmp_path: Path) -> None:
    """Fault 35: in Milvus Lite; fewer sequences, for a reopening takes longer than all else."""
    play(lambda: ReopenedMachine(lambda: MilvusStore(tmp_path / "milvus", FINGERPRINT, timeout=120)), 8, 15)
