"""Qwen3-Reranker, held to the code of its model card, pair by pair."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llm_checkpoints import QUERY, TEXTS, token_of, write_qwen3
from safetensors.torch import load_file, save_file

from hybrid_core import EmbeddingError, InvalidInputError, InvalidTextError, ModelLoadError, Reranker
from hybrid_core.rerankers.llm.qwen3 import Qwen3Reranker
from hybrid_core.rerankers.llm.scoring import padded_batches
from hybrid_core.types import FloatArray

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen3(tmp_path_factory.mktemp("models") / "qwen3")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> Qwen3Reranker:
    return Qwen3Reranker(folder, device="cpu")


def card_scores(
    folder: Path, query: str, texts: Sequence[str], *, instruction: str = INSTRUCTION, length: int = 8192
) -> FloatArray:
    """What the model card does, without its batches: P(yes) of yes and no behind each prompt."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    system = (
        "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
        'Note that the answer can only be "yes" or "no".'
    )
    head = tokenizer.encode(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n", add_special_tokens=False)
    tail = tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", add_special_tokens=False)
    answers = tokenizer.convert_tokens_to_ids(["no", "yes"])
    scores = []
    for text in texts:
        pair = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {text}"
        ids = tokenizer(pair, truncation=True, max_length=length - len(head) - len(tail))["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([[*head, *ids, *tail]])).logits[0, -1]
        scores.append(logits[answers].softmax(0)[1].item())
    return np.array(scores, dtype=np.float32)


def test_scores_are_those_of_the_model_card(folder: Path, reranker: Qwen3Reranker) -> None:
    expected = card_scores(folder, QUERY, TEXTS)
    np.testing.assert_allclose(reranker.score(QUERY, TEXTS), expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.5  # the random model tells the texts apart


@pytest.mark.parametrize("instruction", ["Retrieve code that does what the query says", ""])
def test_an_instruction_is_for_the_object_or_for_one_call(
    folder: Path, reranker: Qwen3Reranker, instruction: str
) -> None:
    expected = card_scores(folder, QUERY, TEXTS, instruction=instruction)
    other = Qwen3Reranker(folder, device="cpu", instruction=instruction)
    np.testing.assert_allclose(other.score(QUERY, TEXTS), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(reranker.score(QUERY, TEXTS, instruction=instruction), expected, rtol=0, atol=1e-5)
    assert np.abs(reranker.score(QUERY, TEXTS) - expected).max() > 1e-3  # the object's own is as it was


def test_first_pooling_cuts_a_long_text_at_its_end_and_reports_it_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = Qwen3Reranker(folder, device="cpu", max_length=300, pooling="first")
    texts = ["short", "queue task " * 200]
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        scores = reranker.score(QUERY, texts)
        reranker.score(QUERY, texts)
    np.testing.assert_allclose(scores, card_scores(folder, QUERY, texts, length=300), rtol=0, atol=1e-5)
    messages = [record.getMessage() for record in caplog.records]
    assert [message[:53] for message in messages] == ["1 of 2 texts are cut to fit max_length=300; what lies"]


def test_a_long_query_leaves_room_for_the_text(reranker: Qwen3Reranker) -> None:
    scores = reranker.score("why " * 2_000, ["a task", "网关限流"])
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]


def test_what_all_prompts_begin_with_is_read_once(folder: Path) -> None:
    reranker = Qwen3Reranker(folder, device="cpu")
    read: list[int] = []

    def count(module: Any, args: Any, options: dict[str, Any]) -> None:
        read.append(options["input_ids"].numel())

    reranker._scorer._model._model.register_forward_pre_hook(count, with_kwargs=True)
    alone = [float(reranker.score(QUERY, [text])[0]) for text in TEXTS]
    whole = sum(read)
    read.clear()
    together = reranker.score(QUERY, TEXTS)
    assert sum(read) < 0.6 * whole
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_the_same_text_twice_scores_the_same(reranker: Qwen3Reranker) -> None:
    scores = reranker.score(QUERY, [TEXTS[0]] * 8)
    np.testing.assert_allclose(scores, reranker.score(QUERY, TEXTS[:1])[0], rtol=0, atol=1e-5)


def test_a_score_does_not_depend_on_the_batch(folder: Path, reranker: Qwen3Reranker) -> None:
    small = Qwen3Reranker(folder, device="cpu", batch_tokens=1)
    np.testing.assert_allclose(small.score(QUERY, TEXTS), reranker.score(QUERY, TEXTS), rtol=0, atol=1e-5)


def test_batches_hold_rows_of_like_length_within_the_budget() -> None:
    batches = padded_batches([10, 100, 9, 8, 90, 3], budget=200, least_filled=0.75)
    assert [batch.tolist() for batch in batches] == [[1, 4], [0, 2, 3], [5]]
    assert [batch.tolist() for batch in padded_batches([10, 10, 300], budget=15, least_filled=0.5)] == [[2], [0], [1]]


def test_it_is_a_reranker_with_a_name(folder: Path, reranker: Qwen3Reranker) -> None:
    assert isinstance(reranker, Reranker)
    assert reranker.name == str(folder)
    assert repr(reranker) == f"Qwen3Reranker('{folder}', max_length=1024, precision='fp32', device='cpu')"


def test_scores_are_float32_between_0_and_1(reranker: Qwen3Reranker) -> None:
    scores = reranker.score(QUERY, TEXTS)
    assert scores.dtype == np.float32
    assert scores.shape == (len(TEXTS),)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_no_texts_have_no_scores(reranker: Qwen3Reranker) -> None:
    assert reranker.score(QUERY, []).shape == (0,)
    assert reranker.score(QUERY, []).dtype == np.float32


def test_an_empty_query_is_a_query_like_any_other(folder: Path, reranker: Qwen3Reranker) -> None:
    np.testing.assert_allclose(reranker.score("", TEXTS), card_scores(folder, "", TEXTS), rtol=0, atol=1e-5)


def test_the_callers_list_is_not_touched(reranker: Qwen3Reranker) -> None:
    texts = list(TEXTS)
    reranker.score(QUERY, texts)
    assert texts == TEXTS


@pytest.mark.parametrize("bad", ["\ud800", None, 5])
def test_a_text_that_is_none_is_named_by_its_position(reranker: Qwen3Reranker, bad: Any) -> None:
    with pytest.raises(InvalidTextError, match="text 1"):
        reranker.score(QUERY, ["fine", bad])
    with pytest.raises(InvalidTextError, match="query"):
        reranker.score(bad, ["fine"])
    if bad is not None:  # the object's own
        with pytest.raises(InvalidTextError, match="instruction"):
            reranker.score(QUERY, ["fine"], instruction=bad)


def test_one_string_instead_of_a_list_is_refused(reranker: Qwen3Reranker) -> None:
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        reranker.score(QUERY, "a text")


def test_a_model_that_is_not_there_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="nowhere"):
        Qwen3Reranker(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ModelLoadError, match=r"Qwen/Qwen3-Reranker-0\.6B"):
        Qwen3Reranker(cache_dir=tmp_path, local_files_only=True, device="cpu")


def test_another_architecture_is_refused(tmp_path: Path, random_reranker: Path) -> None:
    with pytest.raises(ModelLoadError, match="XLMRobertaForSequenceClassification; Qwen3Reranker runs"):
        Qwen3Reranker(random_reranker, device="cpu")
    labels = write_qwen3(tmp_path / "labels", architecture="Qwen3ForSequenceClassification")
    with pytest.raises(ModelLoadError, match="Qwen3ForSequenceClassification; Qwen3Reranker runs"):
        Qwen3Reranker(labels, device="cpu")


def test_an_embedding_model_of_the_same_architecture_is_refused(folder: Path, tmp_path: Path) -> None:
    embedder = Path(shutil.copytree(folder, tmp_path / "embedder"))
    modules = [{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Pooling"}]
    (embedder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ModelLoadError, match="embedding model"):
        Qwen3Reranker(embedder, device="cpu")


def test_a_missing_weight_is_named(folder: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    state = load_file(damaged / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        Qwen3Reranker(damaged, device="cpu")


def test_a_folder_without_weights_is_a_load_error(folder: Path, tmp_path: Path) -> None:
    empty = Path(shutil.copytree(folder, tmp_path / "empty"))
    (empty / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        Qwen3Reranker(empty, device="cpu")


@pytest.mark.parametrize(
    "arguments", [{"max_length": 60}, {"max_length": 1.5}, {"batch_tokens": 0}, {"pooling": "mean"}, {"device": "no"}]
)
def test_a_bad_argument_is_named(folder: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(arguments))):
        Qwen3Reranker(folder, **{"device": "cpu", **arguments})


def test_half_precision_scores_nearly_the_same(folder: Path, reranker: Qwen3Reranker) -> None:
    half = Qwen3Reranker(folder, device="cpu", precision="bf16")
    assert half.precision == "bf16"
    np.testing.assert_allclose(half.score(QUERY, TEXTS), reranker.score(QUERY, TEXTS), rtol=0, atol=0.1)


def test_nan_names_the_position(folder: Path, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(folder, tmp_path / "nan"))
    state = load_file(spoiled / "model.safetensors")
    state["model.embed_tokens.weight"][token_of(folder, "网关限流", "a task")] = float("nan")
    save_file(state, spoiled / "model.safetensors", metadata={"format": "pt"})
    reranker = Qwen3Reranker(spoiled, device="cpu")
    assert np.isfinite(reranker.score(QUERY, ["a task"])).all()
    with pytest.raises(EmbeddingError, match=r"text 1$"):
        reranker.score(QUERY, ["a task", "网关限流", "another task"])


def test_four_threads_get_what_one_gets(reranker: Qwen3Reranker) -> None:
    queries = [f"question {i} about tasks" for i in range(4)]
    expected = [reranker.score(query, TEXTS) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda query: reranker.score(query, TEXTS), queries))
    np.testing.assert_array_equal(results, expected)
