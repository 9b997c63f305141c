"""Texts longer than the model: windows, pooling, and the window that earned the score."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import write_reranker
from stage_helpers import TINY_RERANKER, corpus, row_lengths, sigmoid, tokenizer_of, write_classifier

from hybrid_core import CrossEncoderReranker, InvalidInputError, ModelLoadError
from hybrid_core.rerankers.base import WindowedReranker
from hybrid_core.rerankers.pairs import PairBuilder
from hybrid_core.rerankers.windows import cut_windows, pool

torch.set_num_threads(1)

QUERY = "how long does a failed job wait before it is tried again?"
SHORT = ["A task is retried five times.", "网关限流", "", "queue " * 30, "A worker pulls tasks."]
CHANGES: dict[str, dict[str, int]] = {
    "Bert": {"type_vocab_size": 2},
    "Electra": {"embedding_size": 48},
    "XLMRoberta": {"pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 130},
}


@pytest.fixture(scope="module")
def tiny() -> CrossEncoderReranker:
    return CrossEncoderReranker.tiny()


def in_words(count: int, size: int) -> list[int | None]:
    """The word of each of `count` tokens, `size` tokens a word."""
    return [i // size for i in range(count)]


# cutting


def test_a_text_that_fits_is_one_window() -> None:
    assert cut_windows(in_words(4, 1), 4) == [(0, 4)]
    assert cut_windows([], 4) == [(0, 0)]


def test_windows_share_a_quarter_of_the_room() -> None:
    assert cut_windows(in_words(10, 1), 4) == [(0, 4), (3, 7), (6, 10)]


def test_the_last_window_is_as_short_as_what_is_left() -> None:
    """One token too many costs a window of a quarter and one, not a second whole one."""
    assert cut_windows(in_words(17, 1), 16) == [(0, 16), (12, 17)]


def test_windows_begin_and_end_where_words_do() -> None:
    """Room 16: 4 are shared, and 2 may be given up for a word; words begin at 0, 3, 6, 9, ..."""
    assert cut_windows(in_words(40, 3), 16) == [(0, 15), (12, 27), (24, 40)]


def test_a_word_longer_than_that_is_cut() -> None:
    assert cut_windows(in_words(40, 40), 16) == [(0, 16), (12, 28), (24, 40)]


def test_every_token_is_in_a_window_and_no_window_is_too_long() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        room, count = int(random.integers(1, 60)), int(random.integers(0, 400))
        words = np.cumsum(random.random(count) < random.random()).tolist()
        windows = cut_windows(words, room, most=10_000)
        assert windows[0][0] == 0
        assert windows[-1][1] == count
        assert all(end - start <= room for start, end in windows)
        for (a, b), (c, d) in pairwise(windows):
            assert a < c <= b < d


def test_windows_beyond_the_most_are_left_out() -> None:
    windows = cut_windows(in_words(100, 1), 4)
    assert cut_windows(in_words(100, 1), 4, most=3) == windows[:3]


# pooling


@pytest.mark.parametrize(
    ("pooling", "score", "best"),
    [("max", 0.8, 2), ("first", 0.1, 0), ("top3", (0.8 + 0.6 + 0.4) / 3, 2)],
)
def test_pooling_by_hand(pooling: str, score: float, best: int) -> None:
    scores = np.array([0.1, 0.4, 0.8, 0.2, 0.6], dtype=np.float32)
    found = pool(scores, pooling)  # type: ignore[arg-type]
    assert found == (pytest.approx(score), best)


def test_of_two_windows_the_mean_of_the_top_three_is_that_of_both() -> None:
    assert pool(np.array([0.2, 0.4], dtype=np.float32), "top3") == (pytest.approx(0.3), 1)


def test_of_equal_windows_the_first_is_the_best() -> None:
    assert pool(np.array([0.2, 0.4, 0.4], dtype=np.float32), "max") == (pytest.approx(0.4), 1)


def test_another_pooling_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="pooling='mean' must be one of 'max', 'first', 'top3'"):
        CrossEncoderReranker(TINY_RERANKER, device="cpu", pooling="mean")  # type: ignore[arg-type]


# what fits


@pytest.mark.parametrize("kind", ["tiny", "XLMRoberta", "Bert", "Electra"])
def test_a_text_that_fits_is_read_as_the_tokenizer_reads_pairs(kind: str, tmp_path: Path) -> None:
    """Electra runs in sentence-transformers, the others on our own engine; all but XLM-R are told which text is which."""
    folder = TINY_RERANKER
    if kind != "tiny":
        folder = write_classifier(tmp_path / kind, kind, **CHANGES[kind])
    reranker = CrossEncoderReranker(folder, device="cpu")
    tokenizer = tokenizer_of(folder)
    expected = [tokenizer.encode(QUERY, text) for text in SHORT]
    pairs = reranker._pairs.build(QUERY, SHORT)
    assert [row.tolist() for row in pairs.rows] == [pair.ids for pair in expected]
    if pairs.types:
        assert [kinds.tolist() for kinds in pairs.types] == [pair.type_ids for pair in expected]
    assert bool(pairs.types) == (kind != "XLMRoberta")
    rows = [np.array(pair.ids, dtype=np.int32) for pair in expected]
    types = [np.array(pair.type_ids, dtype=np.int32) for pair in expected]
    found = reranker.score_windows(QUERY, SHORT)
    order = np.argsort([-len(row) for row in rows], kind="stable")  # one pass, as it is batched
    logits = np.empty(len(rows))
    logits[order] = reranker._runtime.run([rows[i] for i in order], [types[i] for i in order] if pairs.types else None)
    assert found.scores.tolist() == sigmoid(logits).tolist()  # to the last bit
    assert found.windows == [None] * len(SHORT)


def test_a_text_that_just_fits_is_not_cut_and_one_token_more_is(tiny: CrossEncoderReranker) -> None:
    tokenizer = tokenizer_of(TINY_RERANKER)
    text = "retry " * 200
    while len(tokenizer.encode(QUERY, text).ids) < 256:
        text += "retry "
    assert len(tokenizer.encode(QUERY, text).ids) == 256
    assert tiny.score_windows(QUERY, [text]).windows == [None]
    assert tiny.score_windows(QUERY, [text + "retry"]).windows != [None]


def test_it_is_a_windowed_reranker(tiny: CrossEncoderReranker) -> None:
    assert isinstance(tiny, WindowedReranker)
    assert tiny.score_windows(QUERY, []).windows == []


# what does not fit


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_window_scores_as_its_own_text_does(tiny: CrossEncoderReranker, language: str) -> None:
    text = "\n".join(corpus(language)[:20])
    pairs = tiny._pairs.build(QUERY, [text])
    [spans] = pairs.windows
    assert len(spans) > 5
    tokenizer = tokenizer_of(TINY_RERANKER)
    cut = [text[start:end] for start, end in spans]  # type: ignore[misc]
    assert [row.tolist() for row in pairs.rows] == [tokenizer.encode(QUERY, part).ids for part in cut]
    alone = tiny.score(QUERY, cut)
    found = tiny.score_windows(QUERY, [text])
    assert found.scores[0] == pytest.approx(alone.max(), abs=1e-6)
    assert found.windows == [spans[int(alone.argmax())]]


@pytest.mark.parametrize(
    ("pooling", "expected"), [("max", lambda s: s.max()), ("top3", lambda s: np.sort(s)[-3:].mean())]
)
def test_a_long_text_gets_the_pooled_score_of_its_windows(pooling: str, expected: object) -> None:
    reranker = CrossEncoderReranker(TINY_RERANKER, device="cpu", pooling=pooling)  # type: ignore[arg-type]
    long = ["\n".join(corpus()[at : at + 9]) for at in (0, 9, 18)]
    texts = [long[0], SHORT[0], long[1], "", long[2]]
    found = reranker.score_windows(QUERY, texts)
    assert [window is None for window in found.windows] == [False, True, False, True, False]
    for text, score, spans in zip(texts, found.scores, reranker._pairs.build(QUERY, texts).windows, strict=True):
        alone = reranker.score(QUERY, [text if span is None else text[span[0] : span[1]] for span in spans])
        assert score == pytest.approx(expected(alone), abs=1e-6)  # type: ignore[operator]


def test_of_thirty_thousand_tokens_the_window_with_the_answer_is_named(tiny: CrossEncoderReranker) -> None:
    """The model is a real one: nothing but the passage on deadlines of jobs says what the query asks."""
    passages = corpus()
    answer = passages[int(tiny.score(QUERY, passages).argmax())]
    off_topic = [text for text in passages if not {"job", "task", "retried", "retry"} & set(text.lower().split())]
    filler = (off_topic * 40)[:400]
    text = "\n\n".join([*filler[:222], answer, *filler[222:]])
    assert len(tokenizer_of(TINY_RERANKER).encode(text).ids) > 30_000
    with row_lengths(tiny) as passes:
        [window] = tiny.score_windows(QUERY, [text]).windows
    assert window is not None
    start, end = window
    assert answer in text[start:end]
    assert end - start < len(text) / 50
    assert len(passes) > 5
    assert max(map(sum, passes)) <= 2_048  # tokens: memory is that of a pass


def test_windows_of_all_candidates_share_passes(tiny: CrossEncoderReranker) -> None:
    texts = ["\n".join(corpus()[at : at + 4]) for at in range(0, 12, 4)]
    with row_lengths(tiny) as passes:
        found = tiny.score_windows(QUERY, texts)
    assert len(passes) == 1
    assert len(passes[0]) == sum(map(len, tiny._pairs.build(QUERY, texts).windows)) > 3
    assert None not in found.windows


def test_first_pooling_is_what_truncation_gives_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    reranker = CrossEncoderReranker(TINY_RERANKER, device="cpu", pooling="first")
    texts = ["\n".join(corpus()[:6]), "short", "\n".join(corpus("zh")[:6])]
    tokenizer = tokenizer_of(TINY_RERANKER, max_length=256)
    with caplog.at_level(logging.WARNING, logger="hybrid_core"), row_lengths(reranker) as passes:
        found = reranker.score_windows(QUERY, texts)
        reranker.score(QUERY, texts)
    assert [len(lengths) for lengths in passes] == [3, 3]
    cut = [tokenizer.encode(QUERY, text) for text in texts]
    logits = [
        reranker._runtime.run([np.array(pair.ids, dtype=np.int32)], [np.array(pair.type_ids, dtype=np.int32)])[0]
        for pair in cut
    ]
    np.testing.assert_allclose(found.scores, sigmoid(logits), rtol=0, atol=1e-6)
    assert [window and window[0] for window in found.windows] == [0, None, 0]
    assert [message[:34] for message in caplog.messages] == ["2 of 3 texts are longer than the f"]


def test_a_query_over_half_the_room_is_cut_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Beside a text that fits, it is read whole: 160 words of 252 tokens that both share."""
    reranker = CrossEncoderReranker(TINY_RERANKER, device="cpu")
    tokenizer = tokenizer_of(TINY_RERANKER)
    query, long = "why " * 160, "\n".join(corpus()[:6])
    count = len(tokenizer.encode(query, add_special_tokens=False).ids)
    assert 126 < count < 240
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        pairs = reranker._pairs.build(query, ["a task", long])
        reranker.score(query, [long])
    assert pairs.rows[0].tolist() == tokenizer.encode(query, "a task").ids
    whole = tokenizer.encode(query, add_special_tokens=False).ids
    for row in pairs.rows[1:]:
        assert row[1:127].tolist() == whole[:126]
        assert row[127:129].tolist() == [2, 2]
        assert len(row) <= 256
    assert [message[:24] for message in caplog.messages] == [f"the query has {count} tokens"]


def test_a_text_that_fits_beside_the_cut_query_is_read_as_a_whole(tiny: CrossEncoderReranker) -> None:
    found = tiny.score_windows("why " * 2_000, ["a task", corpus()[0]])
    assert found.windows == [None, None]
    assert found.scores[0] != found.scores[1]


def test_the_onnx_runtime_reads_the_same_windows(tmp_path: Path) -> None:
    from hybrid_core.export import export_model

    folder = write_reranker(tmp_path / "model")
    ours = CrossEncoderReranker(folder, device="cpu", max_length=96)
    exported = CrossEncoderReranker(export_model(folder, tmp_path / "onnx").folder, max_length=96)
    texts = ["\n".join(corpus()[:5]), "short"]
    found, expected = exported.score_windows(QUERY, texts), ours.score_windows(QUERY, texts)
    assert found.windows == expected.windows
    assert found.windows[0] is not None
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-5)


def test_an_architecture_of_sentence_transformers_is_read_in_windows_too(tmp_path: Path) -> None:
    reranker = CrossEncoderReranker(
        write_classifier(tmp_path / "electra", "Electra", **CHANGES["Electra"]), device="cpu"
    )
    text = "\n".join(corpus()[:5])
    found = reranker.score_windows(QUERY, [text])
    [spans] = reranker._pairs.build(QUERY, [text]).windows
    alone = reranker.score(QUERY, [text[start:end] for start, end in spans])  # type: ignore[misc]
    assert found.scores[0] == pytest.approx(alone.max(), abs=1e-5)
    assert found.windows == [spans[int(alone.argmax())]]


def test_threads_get_the_windows_that_one_gets(tiny: CrossEncoderReranker) -> None:
    texts = ["\n".join(corpus()[at : at + 3]) for at in range(0, 12, 3)]
    queries = [f"question {i} about tasks" for i in range(8)]
    expected = [tiny.score_windows(query, texts) for query in queries]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda query: tiny.score_windows(query, texts), queries))
    assert [item.windows for item in found] == [item.windows for item in expected]
    np.testing.assert_allclose([i.scores for i in found], [i.scores for i in expected], rtol=0, atol=1e-6)


def test_a_length_without_room_for_both_is_refused(random_reranker: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"max_length=5 leaves no room .* 4 special tokens; 6 is the least"):
        CrossEncoderReranker(random_reranker, device="cpu", max_length=5)


def test_a_tokenizer_that_drops_the_query_is_refused() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_of(TINY_RERANKER)
    tokenizer.post_processor = TemplateProcessing(single="$A", pair="$B:1 $A:0", special_tokens=[])
    with pytest.raises(ModelLoadError, match="'wrong' does not put a query before a text"):
        PairBuilder(tokenizer, "wrong", max_length=64, typed=False, pooling="max")
