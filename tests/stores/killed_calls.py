"""Makes one call on an index in a folder and is killed within it, again and again.

`KilledCalls` runs this file as a process, which imports everything once and forks a child for each call. The child ends
itself by SIGKILL before a call of SQLite or of the file system, or, if there are not so many, after its own has
returned. A store that is opened in a child has no thread of its parent's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

from kill_steps import _kill_before
from oracle_machine import ByHand
from vectors import FINGERPRINT

import hybrid_core.stores.embedded.store
from hybrid_core import HybridIndex, Passage
from hybrid_core.stores.embedded import EmbeddedStore

RETURNED = 7


class KilledCalls:
    """A process that makes calls and does not survive them."""

    def __enter__(self) -> KilledCalls:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def upsert(self, folder: Path, passages: list[Passage], *, step: int) -> bool:
        """Upsert until so many steps were made; return whether the call had returned before the end."""
        return self._call(folder, step, [[item.id, item.text, item.metadata] for item in passages], [])

    def delete(self, folder: Path, ids: list[str], *, step: int) -> bool:
        """Delete until so many steps were made; return whether the call had returned before the end."""
        return self._call(folder, step, [], ids)

    def _call(self, folder: Path, step: int, passages: list[list[object]], ids: list[str]) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(folder), step, passages, ids]), file=self._process.stdin, flush=True)
        return bool(json.loads(self._process.stdout.readline()))


def make(folder: str, step: int, passages: list[list[object]], ids: list[str]) -> None:
    """Make a call, and be killed within it; or say in `RETURNED` that it came to its end, with nothing closed."""
    index = HybridIndex(EmbeddedStore(folder, FINGERPRINT), encoder=ByHand())
    batch = [Passage(*item) for item in passages]  # type: ignore[arg-type]
    _kill_before(step)
    if batch:
        index.upsert(batch)
    else:
        index.delete(ids)
    sys.setprofile(None)
    os._exit(RETURNED)


def main() -> None:
    """Fork a child for each line of input."""
    hybrid_core.stores.embedded.store._UNSAVED = 1
    for line in sys.stdin:
        if not (child := os.fork()):
            make(*json.loads(line))
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (RETURNED, -signal.SIGKILL)
        print(json.dumps(ended == RETURNED), flush=True)


if __name__ == "__main__":
    main()
