"""Find what the reranker has to tell apart: the fused list of every training question, by the trained encoder."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hybrid_core import BgeM3Encoder

from .directions import load_directions
from .retrieval import weighted

_BLOCK = 512


def main() -> None:
    """Write mined.npz: for each direction the numbers and scores of each question's best candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="the exported encoder")
    parser.add_argument("--weight", type=float, default=0.6, help="of dense in the fusion")
    parser.add_argument("--depth", type=int, default=40)
    arguments = parser.parse_args()
    encoder = BgeM3Encoder(arguments.model, device="cpu", max_length=192)
    found: dict[str, np.ndarray] = {}
    pools: dict[str, tuple[np.ndarray, object]] = {}
    for d in load_directions(arguments.work, "train"):
        language = d.name.partition("-")[2]
        if language not in pools:
            encoding = encoder.encode_documents(d.documents)
            pools[language] = (encoding.dense.T.copy(), encoding.sparse.T.tocsr())
        dense, sparse = pools[language]
        queries = encoder.encode_queries(d.queries)
        numbers, scores = [], []
        for at in range(0, len(d.queries), _BLOCK):
            part = queries.rows(list(range(at, min(at + _BLOCK, len(d.queries)))))
            lexical = np.asarray((part.sparse @ sparse).todense(), dtype=np.float32)  # type: ignore[operator]
            fused = weighted(part.dense @ dense, lexical, arguments.weight)
            top = np.argpartition(-fused, arguments.depth, axis=1)[:, : arguments.depth]
            numbers.append(top.astype(np.int32))
            scores.append(np.take_along_axis(fused, top, axis=1))
            own = d.targets[at : at + _BLOCK]
            scores[-1] = np.concatenate([scores[-1], fused[np.arange(len(own)), own][:, None]], axis=1)
        found[f"{d.name}.numbers"] = np.concatenate(numbers)
        found[f"{d.name}.scores"] = np.concatenate(scores)
        print(f"{d.name}: {len(d.queries)} questions over {len(d.documents)} sections", flush=True)
    np.savez(arguments.work / "mined.npz", allow_pickle=False, **found)


if __name__ == "__main__":
    main()
