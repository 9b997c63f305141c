"""Texts beyond the length of rerankers that are language models: read in windows, of which the best is named."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from llm_checkpoints import QUERY, write_gemma, write_layerwise, write_lightweight, write_qwen3, write_t5

from hybrid_core import (
    BgeLlmReranker,
    CalibratedReranker,
    Calibration,
    InvalidInputError,
    MonoT5Reranker,
    Qwen3Reranker,
    RerankStage,
)
from hybrid_core.rerankers.base import InstructedReranker, WindowedReranker

Model: TypeAlias = BgeLlmReranker | MonoT5Reranker | Qwen3Reranker
Load: TypeAlias = Callable[..., Model]

ENGLISH = " ".join(
    f"Worker {i} pulls task {i * 7 % 13} from the queue,\n\nand retries it {i % 5} times (no more)." for i in range(40)
)
CHINESE = "".join(f"网关限流：每分钟{i}次，任务{i * 3 % 11}重试。" for i in range(40))
TEXTS = ["short", ENGLISH, "", CHINESE, "  " + ENGLISH[300:] + "  \n"]
LENGTHS = {"gemma": 64, "layerwise": 64, "lightweight": 64, "qwen3": 220, "t5": 96, "mt5": 96, "spiece": 96}


@pytest.fixture(scope="module", params=LENGTHS)
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Load a model of a kind, of a length that its kind's prompt leaves some room in."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp("models") / kind
    writers: dict[str, tuple[Callable[[], Path], type[Model]]] = {
        "gemma": (lambda: write_gemma(folder), BgeLlmReranker),
        "layerwise": (lambda: write_layerwise(folder), BgeLlmReranker),
        "lightweight": (lambda: write_lightweight(folder), BgeLlmReranker),
        "qwen3": (lambda: write_qwen3(folder), Qwen3Reranker),
        "t5": (lambda: write_t5(folder), MonoT5Reranker),
        "mt5": (lambda: write_t5(folder, "mt5"), MonoT5Reranker),
        "spiece": (lambda: write_t5(folder, fast=False), MonoT5Reranker),
    }
    write, cls = writers[kind]
    written = write()
    return lambda **options: cls(written, **{"device": "cpu", "max_length": LENGTHS[kind], **options})


def prompts(reranker: Model, texts: list[str]) -> Any:
    if isinstance(reranker, MonoT5Reranker):
        return reranker._prompts(QUERY, texts)
    return reranker._prompts(QUERY, texts, reranker.instruction)


def test_a_long_text_is_read_from_its_beginning_to_its_end(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    reranker = load()
    assert isinstance(reranker, WindowedReranker)
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        found = reranker.score_windows(QUERY, TEXTS)
    assert caplog.messages == []
    assert [window is None for window in found.windows] == [True, False, True, False, False]
    for text, spans in zip(TEXTS, prompts(reranker, TEXTS).windows, strict=True):
        if spans == (None,):
            continue
        assert len(spans) > 2
        kept = text.rstrip()
        assert spans[0][0] == len(text) - len(text.lstrip())
        assert spans[-1][1] == len(kept)
        for (_, end), (start, _) in pairwise(spans):
            assert start <= end  # they overlap


def test_no_window_begins_or_ends_inside_an_english_word(load: Load) -> None:
    for start, end in prompts(load(), [ENGLISH]).windows[0]:
        assert start == 0 or ENGLISH[start - 1].isspace()
        assert end == len(ENGLISH) or ENGLISH[end].isspace()


@pytest.mark.parametrize("pooling", ["max", "top3"])
def test_each_window_scores_as_its_own_text_does(load: Load, pooling: str) -> None:
    reranker = load(pooling=pooling)
    found = reranker.score_windows(QUERY, [ENGLISH, TEXTS[4]])
    for text, score, best, spans in zip(
        [ENGLISH, TEXTS[4]], found.scores, found.windows, prompts(reranker, [ENGLISH, TEXTS[4]]).windows, strict=True
    ):
        alone = reranker.score(QUERY, [text[start:end] for start, end in spans])
        expected = alone.max() if pooling == "max" else np.sort(alone)[-3:].mean()
        assert score == pytest.approx(expected, abs=1e-5)
        assert alone[spans.index(best)] == pytest.approx(alone.max(), abs=1e-5)  # two may be as good
        assert np.ptp(alone) > 1e-3


def test_no_window_is_cut_and_a_batch_is_as_large_as_it_is_told(load: Load) -> None:
    """So that memory does not grow with a text, and nothing of it is lost."""
    reranker = load()
    texts = [ENGLISH, CHINESE, "x" * 3_000, "(" * 300, "🎉" * 200]
    uncut, few = load(max_length=reranker._max_length + 20), prompts(reranker, texts)
    limit = max(map(len, few.rows))
    pieces = [
        text if span is None else text[slice(*span)]
        for text, spans in zip(texts, few.windows, strict=True)
        for span in spans
    ]
    assert [len(row) for row in prompts(uncut, pieces).rows] == [len(row) for row in few.rows]
    assert limit - min(len(row) for row in prompts(reranker, [""]).rows) > 20
    small, large = load(batch_tokens=1), load(batch_tokens=100_000)
    np.testing.assert_allclose(small.score(QUERY, TEXTS), large.score(QUERY, TEXTS), rtol=0, atol=1e-5)


def test_beyond_the_most_windows_nothing_is_read_and_that_is_reported_once(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = load()
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        for _ in range(2):
            built = prompts(reranker, ["short", "x " * 40_000])
            reranker._scorer._report(built, reranker._max_length)
    assert [len(spans) for spans in built.windows] == [1, 256]
    assert [message[:35] for message in caplog.messages] == ["1 of 2 texts have over 256 windows;"]


def test_a_query_that_is_cut_is_reported_once(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    reranker = load()
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        reranker.score("why " * 2_000, ["a task"])
        reranker.score("why " * 2_000, ["a task"])
    said = f"the query has more tokens than max_length={reranker._max_length} leaves it, "
    assert [message[: len(said)] for message in caplog.messages] == [said]


def test_an_instruction_goes_with_windows(load: Load) -> None:
    reranker = load()
    if not isinstance(reranker, InstructedReranker):
        return
    assert not isinstance(reranker, MonoT5Reranker)
    told = reranker.score_windows(QUERY, TEXTS, instruction="Find texts on queues")
    np.testing.assert_array_equal(told.scores, reranker.score(QUERY, TEXTS, instruction="Find texts on queues"))
    assert np.abs(told.scores - reranker.score(QUERY, TEXTS)).max() > 1e-4
    assert told.windows[1] is not None


def test_a_stage_names_the_window(load: Load) -> None:
    reranker = load()
    expected = reranker.score_windows(QUERY, TEXTS).windows
    for item in RerankStage(reranker).rank(QUERY, TEXTS):
        assert item.window == expected[item.position]


def test_a_calibrated_one_names_the_window_and_takes_the_instruction(load: Load) -> None:
    reranker = load()
    scores = np.linspace(0.1, 0.9, 10)
    calibration = Calibration.fit(scores, scores > 0.5, reranker=reranker.name, method="isotonic")
    calibrated = CalibratedReranker(reranker, calibration)
    assert calibrated.score_windows(QUERY, TEXTS).windows == reranker.score_windows(QUERY, TEXTS).windows
    if not isinstance(reranker, MonoT5Reranker):
        told = calibrated.score_windows(QUERY, TEXTS, instruction="Find texts on queues")
        assert told.windows == reranker.score_windows(QUERY, TEXTS, instruction="Find texts on queues").windows


def test_an_instruction_that_leaves_no_room_is_refused(tmp_path: Path) -> None:
    reranker = Qwen3Reranker(write_qwen3(tmp_path / "qwen3"), device="cpu", max_length=220)
    with pytest.raises(InvalidInputError, match="leaves it no room: shorten the instruction, or raise max_length"):
        reranker.score(QUERY, ["a task"], instruction="Find what helps. " * 60)
    assert len(reranker.score(QUERY, ["a task"])) == 1
