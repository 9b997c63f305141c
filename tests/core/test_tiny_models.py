"""The two small models in the package: what they load as, elsewhere too, and that they are worth loading."""

from __future__ import annotations

import json
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from checkpoints import flag_reranker

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridIndex, Passage

MODELS = Path(str(files("hybrid_core") / "models"))
RERANKER = MODELS / "tiny_reranker"
QUERY = "how long does a failed job wait before it is tried again?"


def read(name: str) -> list[dict[str, object]]:
    text = (files("hybrid_core") / "demo" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def reranker() -> CrossEncoderReranker:
    return CrossEncoderReranker.tiny()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [str(row["text"]) for row in read("corpus.jsonl")]


@pytest.mark.parametrize(("folder", "most"), [("tiny_m3", 8_000_000), ("tiny_reranker", 6_000_000)])
def test_a_model_is_as_small_as_promised(folder: str, most: int) -> None:
    assert sum(path.stat().st_size for path in (MODELS / folder).rglob("*") if path.is_file()) <= most


def test_the_reranker_scores_as_flagreranker_does(reranker: CrossEncoderReranker, texts: list[str]) -> None:
    expected = flag_reranker(RERANKER, length=256).compute_score([(QUERY, text) for text in texts], max_length=256)
    np.testing.assert_allclose(reranker.score(QUERY, texts), expected, rtol=0, atol=1e-5)


def test_the_reranker_scores_as_crossencoder_does(reranker: CrossEncoderReranker, texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import CrossEncoder

        library = CrossEncoder(str(RERANKER), device="cpu")
    expected = library.predict([(QUERY, text) for text in texts], show_progress_bar=False)
    np.testing.assert_allclose(reranker.score(QUERY, texts), expected, rtol=0, atol=1e-5)


def test_the_reranker_lifts_answers_that_fusion_left_behind(reranker: CrossEncoderReranker) -> None:
    """Over the demo's questions as a whole; single ones may fall."""
    questions = read("questions.jsonl")
    encoder = BgeM3Encoder.tiny()
    places: dict[str, list[float]] = {"fused": [], "reranked": []}
    with HybridIndex.open(None, encoder=encoder, reranker=reranker) as index:
        index.add(Passage(**row) for row in read("corpus.jsonl"))  # type: ignore[arg-type]
        for question in questions:
            hits = index.search(str(question["question"]), k=25, candidates=25)
            for stage, found in places.items():
                right = [h.stages[stage].rank for h in hits if h.passage.id in question["relevant"]]  # type: ignore[operator]
                found.append(1 / min(right) if right else 0.0)
    assert np.mean(places["reranked"]) > np.mean(places["fused"]) + 0.02


def test_the_reranker_names_itself(reranker: CrossEncoderReranker) -> None:
    assert reranker.name == "tiny"
    assert (
        repr(reranker) == "CrossEncoderReranker('tiny', max_length=256, pooling='max', precision='fp32', device='cpu')"
    )
