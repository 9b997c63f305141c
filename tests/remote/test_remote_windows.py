"""Texts that may be longer than what the served model reads: sent in windows, never cut without a word."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_server import LONGEST, ModelServer

from hybrid_core import EmbeddingError, RerankStage, WindowedReranker
from hybrid_core.rerankers.remote import RemoteReranker
from hybrid_core.rerankers.windows import cut_text

RerankerOn = Callable[..., RemoteReranker]
APIS = ["tei", "vllm", "infinity", "cohere", "jina", "voyage"]
QUERY = "retried task"
FILLER = "The gateway limits what a client may ask. "
LATE = FILLER * 60 + "A task is retried five times. " + FILLER * 40
TEXTS = ["a task", LATE, "nothing of it", ""]
WORDS = 40  # tokens, so 120 bytes: fewer words than the server reads


class Cutting(ModelServer):
    """Reads the first words of a text and says nothing of the others."""

    def ranked(self, query: str, texts: list[str], name: str) -> list[dict[str, Any]]:
        return super().ranked(query, [" ".join(text.split()[:LONGEST]) for text in texts], name)


@pytest.fixture
def cutting(cleanup: ExitStack) -> Callable[[str], ModelServer]:
    return lambda api: cleanup.enter_context(Cutting(api, pooling="reranker").running())


def sent(server: ModelServer) -> list[str]:
    return [text for request in server.posts for text in request.body.get("texts", request.body.get("documents"))]


@pytest.mark.parametrize("api", APIS)
def test_a_long_text_is_scored_by_its_best_window(
    cutting: Callable[[str], ModelServer], reranker_on: RerankerOn, api: str
) -> None:
    server = cutting(api)
    reranker = reranker_on(server, max_length=WORDS)
    assert isinstance(reranker, WindowedReranker)
    found = reranker.score_windows(QUERY, TEXTS)
    assert found.scores.tolist() == [0.5, 1.0, 0.0, 0.0]
    assert [window is None for window in found.windows] == [True, False, True, True]
    start, end = found.windows[1] or (0, 0)
    assert "task is retried" in LATE[start:end]
    assert all(len(text.encode()) <= 3 * WORDS - len(QUERY) for text in sent(server))
    assert reranker.score(QUERY, TEXTS).tolist() == found.scores.tolist()


def test_the_mean_of_the_three_best_windows(cutting: Callable[[str], ModelServer], reranker_on: RerankerOn) -> None:
    [score] = reranker_on(cutting("vllm"), max_length=WORDS, pooling="top3").score(QUERY, [LATE])
    assert score in (np.float32(1 / 3), np.float32(2 / 3))  # one window has both words, or two overlapping ones


def test_first_sends_a_text_whole_and_says_so_once(
    cutting: Callable[[str], ModelServer], reranker_on: RerankerOn, caplog: pytest.LogCaptureFixture
) -> None:
    server = cutting("cohere")
    reranker = reranker_on(server, max_length=WORDS, pooling="first")
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        assert reranker.score(QUERY, TEXTS).tolist() == [0.5, 0.0, 0.0, 0.0]
        reranker.score(QUERY, TEXTS)
    assert LATE in sent(server)
    assert [message[:36] for message in caplog.messages] == ["1 of 4 texts are probably cut by the"]


@pytest.mark.parametrize(
    ("api", "tokens"), [("tei", 512), ("cohere", 4_096), ("jina", 8_192), ("voyage", 8_000), ("vllm", 8_192)]
)
def test_without_a_length_it_is_the_servers_or_the_documented_one(
    cutting: Callable[[str], ModelServer], reranker_on: RerankerOn, api: str, tokens: int
) -> None:
    server = cutting(api)
    fits = "x" * (3 * tokens - len(QUERY))
    found = reranker_on(server).score_windows(QUERY, [fits, fits + "x"])
    assert [window is None for window in found.windows] == [True, False]


@pytest.mark.parametrize("api", APIS)
def test_where_nobody_says_how_much_is_read_that_is_told_once(
    cutting: Callable[[str], ModelServer], reranker_on: RerankerOn, caplog: pytest.LogCaptureFixture, api: str
) -> None:
    server = cutting(api)
    unknown = [f"texts of up to {len(LATE)} bytes are sent, and "] if api in ("vllm", "infinity") else []
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        reranker = reranker_on(server)
        reranker.score(QUERY, ["a short text"])
        assert caplog.messages == []
        reranker.score(QUERY, [LATE])
        reranker.score(QUERY, [LATE])
        assert [
            message[: len(f"texts of up to {len(LATE)} bytes are sent, and ")] for message in caplog.messages
        ] == unknown
        caplog.clear()
        reranker_on(server, max_length=512).score(QUERY, [LATE])
        assert caplog.messages == []


def test_a_query_that_may_be_cut_is_told_once(
    cutting: Callable[[str], ModelServer], reranker_on: RerankerOn, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = reranker_on(cutting("cohere"), max_length=WORDS)
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        for _ in range(2):
            reranker.score("why " * 20, ["a task"])
    assert [message[:30] for message in caplog.messages] == ["the query has 80 bytes, over h"]


def test_beyond_the_most_windows_nothing_is_sent_and_that_is_told(
    cutting: Callable[[str], ModelServer], reranker_on: RerankerOn, caplog: pytest.LogCaptureFixture
) -> None:
    server = cutting("cohere")
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        reranker_on(server, max_length=WORDS).score(QUERY, ["a task", "word " * 10_000])
    assert len(sent(server)) == 257
    assert [message[:35] for message in caplog.messages] == ["1 of 2 texts have 256 windows or mo"]


def test_the_text_at_fault_is_named_by_its_position_not_its_windows(
    cutting: Callable[[str], ModelServer], reranker_on: RerankerOn
) -> None:
    server = cutting("vllm")

    def spoil(answer: Any) -> Any:
        last = len(answer["results"]) - 1
        return {"results": [{**i, "relevance_score": 7 if i["index"] == last else 0.5} for i in answer["results"]]}

    server.edit = spoil
    with pytest.raises(EmbeddingError, match="score 7 for text 2, outside"):
        reranker_on(server, max_length=WORDS).score(QUERY, [LATE, "a", "b"])


def test_a_stage_names_the_window(cutting: Callable[[str], ModelServer], reranker_on: RerankerOn) -> None:
    first, *_ = RerankStage(reranker_on(cutting("infinity"), max_length=WORDS)).rank(QUERY, TEXTS)
    assert first.position == 1
    assert first.window is not None
    assert "task is retried" in LATE[slice(*first.window)]


@given(st.text(alphabet=st.sampled_from("ab \n网é🎉"), min_size=1, max_size=400), st.integers(4, 60))
def test_every_character_that_is_not_blank_is_in_a_window(text: str, room: int) -> None:
    spans = cut_text(text, room)
    held = "".join(
        text[a:b] if a >= b_before else text[b_before:b] for (_, b_before), (a, b) in pairwise([(0, 0), *spans])
    )
    assert "".join(held.split()) == "".join(text.split())
    assert all(start < end for start, end in spans)


def test_infinity_gets_no_text_over_its_documented_characters(
    cutting: Callable[[str], ModelServer], reranker_on: RerankerOn
) -> None:
    server = cutting("infinity")
    found = reranker_on(server, max_length=1_000_000).score_windows("q", ["x" * 200_000])
    assert max(map(len, sent(server))) <= 122_880
    assert found.windows != [None]
