"""The program that reads vectors out of a copy of a Chroma folder, in a process of its own; see `vectors`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from .snapshot import open_client

PAGE = 1_000  # entries read at a time, here and by `ChromaCollection.pages`


def main(folder: str, name: str, out: str) -> None:
    """Write each page as a matrix (n, d) float32 and the list of its ids.

    Args:
        folder: the copy.
        name: of the collection.
        out: where the pages go: 000000.npy and 000000.json, and so on.
    """
    client = open_client(Path(folder))
    collection = client.get_collection(name, embedding_function=None)
    for number, offset in enumerate(range(0, collection.count(), PAGE)):
        found = collection.get(limit=PAGE, offset=offset, include=["embeddings"])
        path = Path(out, f"{number:06}.npy")
        path.with_suffix(".json").write_text(json.dumps(found["ids"]), encoding="utf-8")
        np.save(path, np.asarray(found["embeddings"], dtype=np.float32))  # float32 is what Chroma keeps
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
