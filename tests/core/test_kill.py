"""Fault 1: kill -9 in the middle of writes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kill_writer import BATCH, BATCHES, batch
from vectors import FINGERPRINT, dense_of, sparse_of

from hybrid_core.stores.embedded import EmbeddedStore

WRITER = Path(__file__).with_name("kill_writer.py")


def write_until_killed(folder: Path, first_round: int, lines: int, delay: float) -> list[list[str]]:
    """Return the calls that were acknowledged before the process died."""
    command = [sys.executable, WRITER, folder, str(first_round)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        seen = [writer.stdout.readline().split() for _ in range(lines)]
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=delay)
        writer.send_signal(signal.SIGKILL)
        seen += [line.split() for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return seen


def test_killed_at_any_moment_it_reopens_with_every_acknowledged_batch_whole(tmp_path: Path) -> None:
    """Acknowledged batches are there, an unacknowledged one wholly or not at all, and both sides hold the same ids."""
    chance = random.Random(7)  # noqa: S311  # moments of death, not secrets
    rounds: dict[int, int | None] = dict.fromkeys(range(0, BATCHES * BATCH, BATCH))
    first_round = 0
    for _ in range(8):
        seen = write_until_killed(tmp_path / "index", first_round, chance.randint(1, 40), chance.random() / 20)
        for call, first, *round_ in seen:
            rounds[int(first)] = int(round_[0]) if call == "upsert" else None
        call, first, *_ = seen[-1]
        following = int(first) if call == "upsert" and int(first) // BATCH % 5 == 4 else (int(first) + BATCH)
        following %= BATCHES * BATCH  # the call that may or may not have been committed when it died
        store = EmbeddedStore(tmp_path / "index", FINGERPRINT)
        everything = set(store.ids())
        for start in rounds:
            found = store.get([passage.id for passage in batch(start, 0)])
            held = {passage.metadata["round"] for passage in found.values()}
            assert len(found) in (0, BATCH), f"batch {start} is half there"
            assert len(held) <= 1, f"batch {start} holds rows of two rounds"
            if start != following:
                assert held == (set() if rounds[start] is None else {rounds[start]})
            rounds[start] = next(iter(held), None)
            for passage in found.values():
                assert passage in batch(start, passage.metadata["round"])
        dense = store.search_dense(dense_of("passage 1 in round 0"), 10 * BATCH * BATCHES)
        assert {item.id for item in dense} == everything
        for id_ in sorted(everything)[:5]:
            text = store.get([id_])[id_].text
            assert store.search_sparse(sparse_of(text), len(everything))
            assert set(store.sparse_vectors([id_])[id_].as_dict()) == set(sparse_of(text).as_dict())
        store.close()
        first_round = max([held for held in rounds.values() if held is not None], default=0) + 1
