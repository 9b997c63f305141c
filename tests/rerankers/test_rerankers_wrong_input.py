"""What is wrong with a call is said in our own errors, by every reranker alike, before anything is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import TINY, write_reranker
from llm_checkpoints import write_gemma, write_layerwise, write_lightweight, write_qwen3, write_t5

from hybrid_core import (
    BgeLlmReranker,
    BgeM3Encoder,
    Budget,
    CalibratedReranker,
    Calibration,
    Cascade,
    CrossEncoderReranker,
    HybridError,
    InstructedReranker,
    InvalidInputError,
    InvalidTextError,
    LateInteractionReranker,
    ModelLoadError,
    MonoT5Reranker,
    Qwen3Reranker,
    RemoteReranker,
    Reranker,
    RerankStage,
)

CROSS = Path(str(files("hybrid_core") / "models" / "tiny_reranker"))
APIS = ("tei", "vllm", "infinity", "cohere", "jina", "voyage")
LOCAL = ("cross", "late", "combined", "gemma", "layerwise", "lightweight", "qwen3", "t5", "cascade", "calibrated")


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each architecture."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "gemma": write_gemma(folder / "gemma"),
        "layerwise": write_layerwise(folder / "layerwise"),
        "lightweight": write_lightweight(folder / "lightweight"),
        "qwen3": write_qwen3(folder / "qwen3"),
        "t5": write_t5(folder / "t5"),
        "cross": CROSS,
        "encoder": TINY,
        "two labels": write_reranker(folder / "two", labels=2),
        "nowhere": folder / "nowhere",
        "nothing in it": folder,
    }


@pytest.fixture(scope="module", params=[*LOCAL, *APIS])
def reranker(request: pytest.FixtureRequest, at: dict[str, Path], encoder: BgeM3Encoder) -> Iterator[Reranker]:
    """Each reranker there is; the hosted ones at an address where nobody listens."""
    kind: str = request.param
    cross = CrossEncoderReranker.tiny()
    share = np.linspace(0.1, 0.9, 10)
    make: dict[str, Callable[[], Reranker]] = {
        "cross": lambda: cross,
        "late": lambda: LateInteractionReranker(encoder),
        "combined": lambda: LateInteractionReranker(encoder, weights=(1, 0.3, 1)),
        "qwen3": lambda: Qwen3Reranker(at["qwen3"], device="cpu"),
        "t5": lambda: MonoT5Reranker(at["t5"], device="cpu"),
        "cascade": lambda: Cascade([(cross, None), (LateInteractionReranker(encoder), 2)]),
        "calibrated": lambda: CalibratedReranker(cross, Calibration.fit(share, share > 0.5, reranker=cross.name)),
    }
    with ExitStack() as stack:
        if kind in APIS:
            remote = RemoteReranker("http://127.0.0.1:9", api=kind, model="m", max_retries=0)  # type: ignore[arg-type]
            yield stack.enter_context(remote)
        else:
            yield make.get(kind, lambda: BgeLlmReranker(at[kind], device="cpu"))()


def is_hosted(reranker: Reranker) -> bool:
    return isinstance(reranker, RemoteReranker)


@pytest.mark.parametrize(
    ("query", "texts", "words"),
    [
        (None, ["a"], "query is None"),
        (5, ["a"], "query is 5"),
        (b"a", ["a"], "query is b'a'"),
        ("\ud800", ["a"], "query has a lone surrogate"),
        ("q", ["a", None], "text 1 is None"),
        ("q", ["a", b"b"], "text 1 is b'b'"),
        ("q", ["a", "\ud800"], "text 1 has a lone surrogate"),
        (None, [], "query is None"),
    ],
)
def test_what_is_no_text_is_named(reranker: Reranker, query: Any, texts: list[Any], words: str) -> None:
    before = list(texts)
    for ask in (reranker.score, RerankStage(reranker).rank):
        with pytest.raises(InvalidTextError, match=words):
            ask(query, texts)
    assert texts == before


def test_one_text_in_place_of_a_list_is_refused(reranker: Reranker) -> None:
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        reranker.score("q", "a text")


def test_no_candidates_are_no_scores(reranker: Reranker) -> None:
    """Of a hosted one nothing is asked: nobody would answer."""
    scores = reranker.score("q", [])
    assert (scores.shape, scores.dtype) == ((0,), np.float32)
    assert RerankStage(reranker).rank("q", [], budget=Budget()) == []


@pytest.mark.parametrize("query", ["", " ", "\x00"])
def test_empty_and_odd_texts_have_scores(reranker: Reranker, query: str) -> None:
    if is_hosted(reranker):
        return  # tests/remote has servers for these
    texts = ["a", "", " ", "\x00", "\n\n", "🎉" * 9]
    before = list(texts)
    scores = reranker.score(query, texts)
    assert (scores.shape, scores.dtype) == ((6,), np.float32)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert texts == before
    assert len(RerankStage(reranker).rank(query, texts, budget=Budget(milliseconds=60_000))) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": 100}, "budget=100"),
        ({"min_score": 1.5}, "min_score=1.5"),
        ({"top_n": -1}, "top_n=-1"),
        ({"instruction": 5}, "instruction is 5"),
    ],
)
def test_a_stage_refuses_what_makes_no_sense(reranker: Reranker, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        RerankStage(reranker).rank("q", ["a"], **options)


def test_an_instruction_to_one_that_takes_none_is_refused(reranker: Reranker) -> None:
    if isinstance(reranker, InstructedReranker):
        return
    with pytest.raises(InvalidInputError, match="takes none; leave it out"):
        RerankStage(reranker).rank("q", ["a"], instruction="find it")


CLASSES = {
    CrossEncoderReranker: ("cross",),
    BgeLlmReranker: ("gemma", "layerwise", "lightweight", "qwen3"),
    Qwen3Reranker: ("qwen3",),
    MonoT5Reranker: ("t5",),
}


@pytest.mark.parametrize("cls", CLASSES)
def test_a_model_of_another_architecture_or_none_is_refused(cls: Any, at: dict[str, Path]) -> None:
    for kind, folder in at.items():
        if kind not in CLASSES[cls]:
            with pytest.raises(ModelLoadError):
                cls(folder, device="cpu")


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "options",
    [
        {"device": "tpu9"},
        {"precision": "fp64"},
        {"max_length": -1},
        {"max_length": "a"},
        {"pooling": None},
        {"batch_tokens": -5},
    ],
    ids=repr,
)
def test_an_argument_out_of_range_is_our_own_error(cls: Any, options: dict[str, Any], at: dict[str, Path]) -> None:
    with pytest.raises(HybridError):
        cls(at[CLASSES[cls][0]], **{"device": "cpu", **options})


@pytest.mark.parametrize("steps", [None, 5, "late"])
def test_a_cascade_of_no_list_is_refused(steps: Any) -> None:
    with pytest.raises(InvalidInputError, match="no list of"):
        Cascade(steps)
