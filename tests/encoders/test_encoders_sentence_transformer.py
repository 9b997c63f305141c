"""SentenceTransformerEncoder: the library's own vectors, and what is made of them."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_checkpoints import HIDDEN, PROMPTS, write_dense

from hybrid_core import EmbeddingError, Encoder, InvalidInputError, InvalidTextError
from hybrid_core.encoders.sentence_transformer import SentenceTransformerEncoder
from hybrid_core.encoders.sparse_sides.bm25 import Bm25
from hybrid_core.encoders.sparse_sides.splade import Splade

TEXTS = ["A worker pulls tasks from the queue.", "网关限流", "", "queue " * 300, "A worker pulls tasks from the queue."]


def load(folder: Path, **options: Any) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(folder, **{"sparse": Bm25(), "device": "cpu", **options})


def library(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def fill(folder: Path, word: str, value: float) -> None:
    """Give a word that embedding."""
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer

    [token] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(word, add_special_tokens=False).ids
    state = load_file(folder / "model.safetensors")
    state["embeddings.word_embeddings.weight"][token] = value
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def test_it_is_an_encoder(bert: Path) -> None:
    encoder = load(bert)
    assert isinstance(encoder, Encoder)
    assert repr(encoder) == (
        f"SentenceTransformerEncoder('{bert}', sparse=Bm25(language='english', k1=1.2, b=0.75, average_length=256), "
        "precision='fp32', device='cpu')"
    )


@pytest.mark.parametrize("model", ["bert", "xlm_roberta"])
def test_dense_vectors_are_the_librarys_own(model: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    encoder, theirs = load(folder, batch_size=2), library(folder)
    for found, expected in (
        (encoder.encode_documents(TEXTS).dense, theirs.encode_document(TEXTS, normalize_embeddings=True)),
        (encoder.encode_queries(TEXTS).dense, theirs.encode_query(TEXTS, normalize_embeddings=True)),
    ):
        assert (found.shape, found.dtype) == ((5, HIDDEN), np.float32)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(encoder.encode_documents(TEXTS[:1]).dense - encoder.encode_queries(TEXTS[:1]).dense).max() > 0.01


def test_modules_behind_the_pooling_are_run(tmp_path: Path) -> None:
    folder = write_dense(tmp_path / "wide", width=48)
    encoder = load(folder)
    assert encoder.fingerprint.dimension == 48
    expected = library(folder).encode_document(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS).dense, expected, atol=1e-5)


def test_prompts_given_take_the_place_of_the_stored_ones(bert: Path) -> None:
    theirs = library(bert)
    encoder = load(bert, query_prompt="", passage_prompt="网关: ")
    np.testing.assert_allclose(
        encoder.encode_documents(TEXTS).dense,
        theirs.encode(TEXTS, prompt="网关: ", normalize_embeddings=True),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        encoder.encode_queries(TEXTS).dense, theirs.encode(TEXTS, prompt="", normalize_embeddings=True), atol=1e-5
    )
    assert (encoder.fingerprint.instruction, encoder.fingerprint.query_instruction) == ("网关: ", "")


def test_a_passage_prompt_under_its_other_name_is_used(tmp_path: Path) -> None:
    """The library stores an empty "document" beside it, and would take that."""
    folder = write_dense(tmp_path / "e5", prompts={"query": "query: ", "passage": "passage: "})
    encoder = load(folder)
    assert encoder.fingerprint.instruction == "passage: "
    expected = library(folder).encode(TEXTS, prompt_name="passage", normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS).dense, expected, atol=1e-5)


def test_the_sparse_side_sees_texts_without_prompts(bert: Path) -> None:
    encoder, bm25 = load(bert), Bm25()
    for found, expected in (
        (encoder.encode_documents(TEXTS).sparse, bm25.encode_documents(TEXTS)),
        (encoder.encode_queries(TEXTS).sparse, bm25.encode_queries(TEXTS)),
    ):
        assert found.shape == (5, bm25.vocabulary)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.data, expected.data)
    assert sorted(encoder.tokens(encoder.encode_queries(["the queues"]).sparse.indices)) == ["queue", "the"]


def test_no_texts_give_an_empty_encoding(bert: Path) -> None:
    encoder = load(bert)
    for encoding in (encoder.encode_documents([]), encoder.encode_queries([])):
        assert len(encoding) == 0
        assert encoding.dense.shape == (0, HIDDEN)
        assert encoding.sparse.shape == (0, 2**31 - 1)


def test_long_texts_are_cut_and_that_is_said_once(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = load(bert, max_length=16)
    assert encoder.fingerprint.max_length == 16
    with caplog.at_level(logging.WARNING):
        long, also_long = encoder.encode_documents(["task " * 40 + "end", "task " * 40, "short"]).dense[:2]
        encoder.encode_queries(["task " * 40])
    np.testing.assert_allclose(long, also_long, atol=1e-6)
    [record] = [record for record in caplog.records if record.name.startswith("hybrid_core")]
    assert record.getMessage().startswith(f"2 of 3 texts fill the 16 tokens that '{bert}' sees")


@pytest.mark.parametrize(
    ("model", "asked", "seen"),
    [("bert", None, 512), ("bert", 100, 100), ("bert", 9_999, 512), ("xlm_roberta", 9_999, 512)],
)
def test_the_length_is_that_of_the_checkpoint_and_of_its_positions(
    model: str, asked: int | None, seen: int, request: pytest.FixtureRequest
) -> None:
    """RoBERTa has two positions more than it can use."""
    encoder = load(request.getfixturevalue(model), max_length=asked)
    assert encoder.fingerprint.max_length == seen
    assert np.isfinite(encoder.encode_documents(["task " * 1_000]).dense).all()


def test_the_stored_length_may_be_raised(tmp_path: Path) -> None:
    folder = write_dense(tmp_path / "short", length=32)
    assert load(folder).fingerprint.max_length == 32
    assert load(folder, max_length=200).fingerprint.max_length == 200


def test_half_precision_stays_near_full_precision(bert: Path) -> None:
    full, half = load(bert), load(bert, precision="bf16")
    assert (full.precision, half.precision, half.device) == ("fp32", "bf16", "cpu")
    found = half.encode_documents(TEXTS).dense
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    assert np.einsum("ij,ij->i", found, full.encode_documents(TEXTS).dense).min() > 0.99


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_raises_naming_the_position(tmp_path: Path, value: float) -> None:
    """Fault 14: NaN from the model."""
    folder = write_dense(tmp_path / "spoiled")
    fill(folder, "worker", value)
    encoder = load(folder)
    assert np.isfinite(encoder.encode_documents(["queue", "a longer text of many words"]).dense).all()
    with pytest.raises(EmbeddingError, match=r'text 2; .*precision="fp32"'):
        encoder.encode_documents(["queue", "a longer text of many words", "worker", "task"])
    with pytest.raises(EmbeddingError, match="text 0;"):
        encoder.encode_queries(["worker"])


def test_a_text_without_direction_keeps_the_zero_vector(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_dense(tmp_path / "zero", width=8)
    (dense,) = folder.glob("2_Dense/model.safetensors")
    save_file({name: tensor * 0 for name, tensor in load_file(dense).items()}, dense)
    assert not load(folder).encode_documents(["worker"]).dense.any()


def test_multi_vectors_are_not_to_be_had(bert: Path) -> None:
    encoder = load(bert)
    for encode in (encoder.encode_documents, encoder.encode_queries):
        with pytest.raises(InvalidInputError, match="has no multi-vectors; rerank with CrossEncoderReranker"):
            encode(["a"], multi=True)


def test_texts_are_checked(bert: Path) -> None:
    encoder = load(bert)
    with pytest.raises(InvalidTextError, match="text 1 is None"):
        encoder.encode_documents(["a", None])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query 0 has a lone surrogate"):
        encoder.encode_queries(["\ud800"])
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        encoder.encode_queries("a question")


def test_threads_get_what_one_gets(bert: Path) -> None:
    encoder, texts = load(bert), [f"task {i} " * (1 + i % 5) for i in range(24)]
    alone = [load(bert).encode_documents([text]).dense[0] for text in texts[:4]]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: encoder.encode_documents([text]).dense[0], texts))
    np.testing.assert_allclose(found[:4], alone, atol=1e-6)


def test_the_fingerprint_is_that_of_the_content(bert: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(bert, tmp_path / "copy"))
    (copy / "README.md").write_text("other words", encoding="utf-8")
    original, copied = load(bert).fingerprint, load(copy, precision="bf16", batch_size=1).fingerprint
    assert original.differences(copied) == []
    assert (original.pooling, original.dimension, original.vocabulary) == ("mean", HIDDEN, 2**31 - 1)
    assert (original.instruction, original.query_instruction) == (PROMPTS["document"], PROMPTS["query"])
    assert (original.sparse, original.sparse_weighting) == (Bm25().name, "idf")
    fill(copy, "worker", 0.5)
    assert original.differences(load(copy).fingerprint) == ["digest"]


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"passage_prompt": ""}, ["instruction"]),
        ({"query_prompt": "question: "}, ["query_instruction"]),
        ({"max_length": 64}, ["max_length"]),
        ({"sparse": Bm25(k1=0.9)}, ["sparse"]),
    ],
    ids=repr,
)
def test_what_changes_vectors_changes_the_fingerprint(bert: Path, options: dict[str, Any], fields: list[str]) -> None:
    assert load(bert).fingerprint.differences(load(bert, **options).fingerprint) == fields


def test_pooling_and_sparse_side_are_in_the_fingerprint(xlm_roberta: Path, splade: Path) -> None:
    fingerprint = load(xlm_roberta, sparse=Splade(splade, device="cpu")).fingerprint
    assert (fingerprint.pooling, fingerprint.vocabulary, fingerprint.sparse_weighting) == ("cls", 10_600, "plain")
    assert fingerprint.sparse.startswith("splade(digest=")
