"""monoT5, held to transformers' own T5 with the whole prompt as one string, pair by pair."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llm_checkpoints import QUERY, TEXTS, token_of, write_gemma, write_t5

from hybrid_core import (
    EmbeddingError,
    InvalidInputError,
    InvalidTextError,
    MissingDependencyError,
    ModelLoadError,
    Reranker,
)
from hybrid_core.rerankers.llm.mono_t5 import MonoT5Reranker
from hybrid_core.types import FloatArray

KINDS = {"t5": ("▁true", "▁false"), "mt5": ("▁yes", "▁no"), "t5-spiece": ("▁true", "▁false")}
SPACES = ["  spaces  around  ", "a line\nand another\n"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A T5, an mT5, and a T5 whose tokenizer is sentencepiece's own file."""
    at = tmp_path_factory.mktemp("models")
    return {kind: write_t5(at / kind, kind.partition("-")[0], fast=kind != "t5-spiece") for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def reranker(folders: dict[str, Path], kind: str) -> MonoT5Reranker:
    return MonoT5Reranker(folders[kind], device="cpu")


def plain_scores(
    folder: Path, query: str, texts: Sequence[str], answers: tuple[str, str], *, length: int = 512
) -> FloatArray:
    """P(true) of true and false as the first word of the answer; a long document is cut ahead of "Relevant:"."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    end = tokenizer("Relevant:")["input_ids"]
    scores = []
    for text in texts:
        ids = tokenizer(f"Query: {query} Document: {text} Relevant:")["input_ids"]
        if len(ids) > length:
            ids = ids[: length - len(end)] + end
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
        scores.append(logits[tokenizer.convert_tokens_to_ids(list(answers))].softmax(0)[0].item())
    return np.array(scores, dtype=np.float32)


def test_scores_are_those_of_transformers_pair_by_pair(
    folders: dict[str, Path], kind: str, reranker: MonoT5Reranker
) -> None:
    texts = TEXTS + SPACES
    expected = plain_scores(folders[kind], QUERY, texts, KINDS[kind])
    np.testing.assert_allclose(reranker.score(QUERY, texts), expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.05  # the random model tells the texts apart


def test_first_pooling_cuts_a_long_document_and_not_the_end_of_the_prompt(
    folders: dict[str, Path], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = MonoT5Reranker(folders[kind], device="cpu", max_length=80, pooling="first")
    texts = ["short", "queue task " * 100]
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        scores = reranker.score(QUERY, texts)
        reranker.score(QUERY, texts)
    np.testing.assert_allclose(
        scores, plain_scores(folders[kind], QUERY, texts, KINDS[kind], length=80), rtol=0, atol=1e-5
    )
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("hybrid_core")]
    assert [message[:43] for message in messages] == ["1 of 2 texts are cut to fit max_length=80; "]


def test_a_long_query_leaves_room_for_the_text(reranker: MonoT5Reranker) -> None:
    scores = reranker.score("why " * 2_000, ["a task", "网关限流"])
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]


def test_answers_may_be_other_words(folders: dict[str, Path]) -> None:
    reranker = MonoT5Reranker(folders["mt5"], device="cpu", answers=("true", "false"))
    expected = plain_scores(folders["mt5"], QUERY, TEXTS, ("▁true", "▁false"))
    np.testing.assert_allclose(reranker.score(QUERY, TEXTS), expected, rtol=0, atol=1e-5)


def test_the_head_of_an_mt5_is_its_own(folders: dict[str, Path], tmp_path: Path) -> None:
    """mT5 does not use its embeddings as a head, whatever transformers takes for granted."""
    other = Path(shutil.copytree(folders["mt5"], tmp_path / "other"))
    state = torch.load(other / "pytorch_model.bin", weights_only=True)
    state["lm_head.weight"] = -state["lm_head.weight"]
    torch.save(state, other / "pytorch_model.bin")
    as_it_is = MonoT5Reranker(folders["mt5"], device="cpu").score(QUERY, TEXTS)
    np.testing.assert_allclose(MonoT5Reranker(other, device="cpu").score(QUERY, TEXTS), 1 - as_it_is, atol=1e-5)


def test_a_score_does_not_depend_on_the_batch(folders: dict[str, Path], kind: str, reranker: MonoT5Reranker) -> None:
    small = MonoT5Reranker(folders[kind], device="cpu", batch_tokens=1)
    np.testing.assert_allclose(small.score(QUERY, TEXTS), reranker.score(QUERY, TEXTS), rtol=0, atol=1e-5)


def test_it_is_a_reranker_with_a_name(folders: dict[str, Path], kind: str, reranker: MonoT5Reranker) -> None:
    assert isinstance(reranker, Reranker)
    assert reranker.name == str(folders[kind])
    assert repr(reranker) == f"MonoT5Reranker('{folders[kind]}', max_length=512, precision='fp32', device='cpu')"


def test_no_texts_have_no_scores(reranker: MonoT5Reranker) -> None:
    assert reranker.score(QUERY, []).shape == (0,)
    assert reranker.score(QUERY, []).dtype == np.float32


def test_an_empty_query_is_a_query_like_any_other(
    folders: dict[str, Path], kind: str, reranker: MonoT5Reranker
) -> None:
    expected = plain_scores(folders[kind], "", TEXTS, KINDS[kind])
    np.testing.assert_allclose(reranker.score("", TEXTS), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bad", ["\ud800", None, 5])
def test_a_text_that_is_none_is_named_by_its_position(folders: dict[str, Path], bad: Any) -> None:
    reranker = MonoT5Reranker(folders["t5"], device="cpu")
    texts = ["fine", bad]
    with pytest.raises(InvalidTextError, match="text 1"):
        reranker.score(QUERY, texts)
    assert texts == ["fine", bad]
    with pytest.raises(InvalidTextError, match="query"):
        reranker.score(bad, ["fine"])
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        reranker.score(QUERY, "a text")


def test_a_model_that_is_not_there_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="nowhere"):
        MonoT5Reranker(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ModelLoadError, match="castorini/monot5-base-msmarco-10k"):
        MonoT5Reranker(cache_dir=tmp_path, local_files_only=True, device="cpu")


def test_another_architecture_is_refused(tmp_path: Path, random_reranker: Path) -> None:
    with pytest.raises(ModelLoadError, match="'xlm-roberta' model; MonoT5Reranker runs"):
        MonoT5Reranker(random_reranker, device="cpu")
    with pytest.raises(ModelLoadError, match="'gemma' model; MonoT5Reranker runs"):
        MonoT5Reranker(write_gemma(tmp_path / "gemma"), device="cpu")


def test_an_encoder_without_a_decoder_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    """Sentence-T5 and its kin are the encoder alone; the rest would be random."""
    encoder = Path(shutil.copytree(folders["t5"], tmp_path / "encoder"))
    state = torch.load(encoder / "pytorch_model.bin", weights_only=True)
    kept = {name: tensor for name, tensor in state.items() if name.startswith(("shared.", "encoder."))}
    torch.save(kept, encoder / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match=r"decoder\."):
        MonoT5Reranker(encoder, device="cpu")


def test_a_missing_package_for_the_tokenizer_is_named(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"bge-hybrid\[torch\]\""):
        MonoT5Reranker(folders["t5-spiece"], device="cpu")


def test_a_tokenizer_that_cannot_be_read_is_a_load_error(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folders["t5"], tmp_path / "broken"))
    (broken / "tokenizer.json").write_text(json.dumps({"model": {}}), encoding="utf-8")
    with pytest.raises(ModelLoadError, match="tokenizer"):
        MonoT5Reranker(broken, device="cpu")


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_length": 31},
        {"batch_tokens": 0},
        {"pooling": "mean"},
        {"precision": "int8"},
        {"answers": ("true", "true")},
        {"answers": ("true",)},
        {"answers": "no"},
        {"answers": 5},
    ],
)
def test_a_bad_argument_is_named(folders: dict[str, Path], arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(arguments))):
        MonoT5Reranker(folders["t5"], device="cpu", **arguments)


def test_half_precision_scores_nearly_the_same(folders: dict[str, Path], kind: str, reranker: MonoT5Reranker) -> None:
    half = MonoT5Reranker(folders[kind], device="cpu", precision="bf16")
    assert half.precision == "bf16"
    np.testing.assert_allclose(half.score(QUERY, TEXTS), reranker.score(QUERY, TEXTS), rtol=0, atol=0.1)


def test_nan_names_the_position(folders: dict[str, Path], tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(folders["t5"], tmp_path / "nan"))
    state = torch.load(spoiled / "pytorch_model.bin", weights_only=True)
    gateway = token_of(spoiled, "网关限流", "a task")
    for name in ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        state[name][gateway] = float("nan")
    torch.save(state, spoiled / "pytorch_model.bin")
    reranker = MonoT5Reranker(spoiled, device="cpu")
    assert np.isfinite(reranker.score(QUERY, ["a task"])).all()
    with pytest.raises(EmbeddingError, match=r"text 1$"):
        reranker.score(QUERY, ["a task", "网关限流", "another task"])


def test_four_threads_get_what_one_gets(reranker: MonoT5Reranker) -> None:
    queries = [f"question {i} about tasks" for i in range(4)]
    expected = [reranker.score(query, TEXTS) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda query: reranker.score(query, TEXTS), queries))
    np.testing.assert_array_equal(results, expected)
