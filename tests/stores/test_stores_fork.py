"""A fork of a process that has a store open: a clear error at once, and no harm to the process that goes on with it.

(The embedded store's forks are in tests/core/test_embedded_processes.py.)
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_qdrant import FakeQdrant
from forked_calls import FORKS, MANY, calls
from lite_server import LiteServer

from hybrid_core.stores.memory import MemoryStore

if sys.platform == "win32":
    pytest.skip("forks are POSIX's", allow_module_level=True)


def played(*words: object) -> Any:
    command = [sys.executable, Path(__file__).with_name("forked_calls.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Exception ignored" not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["qdrant-memory", "qdrant-folder", "qdrant-http", "milvus-lite", "milvus-http"])
def test_a_fork_is_told_to_open_the_store_again_and_its_end_touches_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Fault 5: fork after open. A shared connection would mix answers, a shared lock be let go for both."""
    location: object = ":memory:" if kind == "qdrant-memory" else tmp_path / "database"
    if kind == "qdrant-http":
        fake: FakeQdrant = request.getfixturevalue("fake_qdrant")
        location = fake.url
    elif kind == "milvus-http":
        lite: LiteServer = request.getfixturevalue("lite_server")
        location = lite.url
    said = played(kind.partition("-")[0], location)
    code, tried = said["child"]
    assert code == 0
    assert tried.keys() == calls(MemoryStore()).keys()
    for name, text in tried.items():
        assert text.startswith("StorageError: "), name
        assert "was opened before a fork; open it again in the new process" in text
    assert said["leaves"][0] == said["forgets"][0] == 0
    assert said["second"] == ("locked" if kind in ("qdrant-folder", "milvus-lite") else "opened")
    assert said["count"] == said["found"] == 2 * MANY


def test_a_fork_of_a_store_in_memory_has_a_copy_and_waits_for_nobody() -> None:
    """Fault 5: other threads are in the middle of writes and searches; the fork has not got them."""
    said = played("memory")
    assert said["children"] == [[0, [MANY, MANY, 2 * MANY]]] * FORKS
    assert said["count"] == MANY
