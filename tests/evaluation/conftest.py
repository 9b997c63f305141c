"""The small set, an index of it, and a run that is made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from evaluation_files import CORPUS, QRELS, QUERIES

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridIndex
from hybrid_core.evaluation import EvaluationSet


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Texts this small are encoded faster by one thread than by several that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_set() -> EvaluationSet:
    """Twelve passages, six questions."""
    return EvaluationSet("small", tuple(CORPUS), QUERIES, QRELS)


@pytest.fixture(scope="session")
def small_index(tmp_path_factory: pytest.TempPathFactory, encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    """The index of the small set; searches do not change it."""
    folder: Path = tmp_path_factory.mktemp("evaluation") / "index"
    with HybridIndex.open(folder, encoder=encoder) as index:
        index.add(CORPUS)
        yield index


@pytest.fixture(scope="session")
def reranker() -> CrossEncoderReranker:
    """The small reranker that comes with the package."""
    return CrossEncoderReranker.tiny()
