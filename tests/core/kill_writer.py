"""A process that writes, replaces and deletes until it is killed; run by test_kill.py.

It prints a line after each call that returned: "upsert FIRST ROUND" or "delete FIRST".
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vectors import FINGERPRINT, encoding_of

from hybrid_core import Passage
from hybrid_core.stores.embedded import EmbeddedStore

BATCH = 20
BATCHES = 12


def batch(first: int, round_: int) -> list[Passage]:
    """The passages of one batch as they are in one round."""
    return [Passage(f"p{i}", f"passage {i} in round {round_}", {"round": round_}) for i in range(first, first + BATCH)]


def main() -> None:
    """Write for ever, each batch once a round; every fifth batch is deleted again."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))  # a runaway file must not fill the disk
    store = EmbeddedStore(sys.argv[1], FINGERPRINT)
    round_ = int(sys.argv[2])
    while True:
        for first in range(0, BATCHES * BATCH, BATCH):
            passages = batch(first, round_)
            store.upsert(passages, encoding_of([passage.text for passage in passages]))
            print("upsert", first, round_, flush=True)
            if first // BATCH % 5 == 4:
                store.delete([passage.id for passage in passages])
                print("delete", first, flush=True)
        round_ += 1


if __name__ == "__main__":
    main()
