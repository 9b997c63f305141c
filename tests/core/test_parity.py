"""Our numbers are FlagEmbedding's and sentence-transformers' numbers: same tokens, values within 1e-5."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import LENGTH, TINY, flag_m3, flag_reranker

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, Encoding, LateInteractionReranker

SHORT = 48  # tokens: most of the demo's passages are longer, so truncation is compared too
TOLERANCE = 1e-5


def corpus() -> list[str]:
    lines = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def many_texts() -> list[str]:
    passages = corpus()
    titles = [text.splitlines()[0] for text in passages]
    mixed = [f"{a} {b}" for a, b in zip(titles, reversed(titles), strict=True)]
    odd = [
        "", " ", "\n\t  \n", "\u3000", "a", "的", "queue", "Z", "9", ".",
        "queue " * 30, "队列" * 40, "retry retry Retry RETRY", "a a a a a a a a",
        "<unk>", "before <unk> after", "<s>", "</s>", "<s> hello </s>", "<mask>", "the <mask> worker", "<pad>", "a<pad>b",
        "🙂", "deploy 🚀 now 🎉🎉", "👩‍👩‍👧‍👦 family", "e\u0301 versus é", "שלום עולם", "مرحبا بالعالم", "ไทย", "\u200b",
        "ⅷ ﬁ ①", "x\x00y", "tab\tand\r\nnewline", "HTTP/2 429 Too Many Requests", "SELECT * FROM t WHERE a='b';",
        "https://example.org/a/b?c=d#e", "C++ & C# <T>", "naïve café", "1,234.56", "ＡＢＣ１２３",
        "word " * 2_000, "网关" * 2_000, passages[0] * 20,
    ]  # fmt: skip
    return [*passages, *titles, *mixed, *odd]


TEXTS = many_texts()


@pytest.fixture(scope="module", params=["random", "tiny"])
def folder(request: pytest.FixtureRequest, random_m3: Path) -> Path:
    return random_m3 if request.param == "random" else TINY


def flag_encode(folder: Path, texts: list[str], length: int) -> dict[str, Any]:
    wanted = {"return_dense": True, "return_sparse": True, "return_colbert_vecs": True}
    return flag_m3(folder, length=length).encode(texts, max_length=length, **wanted)


def assert_same(ours: Encoding, theirs: dict[str, Any]) -> None:
    np.testing.assert_allclose(ours.dense, theirs["dense_vecs"], rtol=0, atol=TOLERANCE)
    assert ours.multi is not None
    for row, (weights, vectors) in enumerate(zip(theirs["lexical_weights"], theirs["colbert_vecs"], strict=True)):
        expected = {int(token): float(weight) for token, weight in weights.items()}
        assert ours.sparse_row(row).as_dict() == pytest.approx(expected, rel=0, abs=TOLERANCE)
        np.testing.assert_allclose(ours.multi[row], vectors, rtol=0, atol=TOLERANCE)


def test_over_two_hundred_texts_are_compared() -> None:
    assert len(TEXTS) > 200
    assert len(set(TEXTS)) > 200


def test_dense_sparse_and_multi_vectors_equal_flagembedding(folder: Path) -> None:
    encoder = BgeM3Encoder(folder, device="cpu", max_length=SHORT)
    assert_same(encoder.encode_documents(TEXTS, multi=True), flag_encode(folder, TEXTS, SHORT))


def test_a_text_at_the_checkpoints_own_limit_equals_flagembedding(folder: Path) -> None:
    encoder = BgeM3Encoder(folder, device="cpu")
    limit = encoder.fingerprint.max_length
    texts = ["word " * 2_000, "网关" * 2_000, corpus()[0]]
    assert max(map(len, encoder.encode_documents(texts, multi=True).multi or ())) == limit - 1
    assert_same(encoder.encode_documents(texts, multi=True), flag_encode(folder, texts, limit))


def test_queries_equal_flagembedding(folder: Path) -> None:
    encoder = BgeM3Encoder(folder, device="cpu", query_max_length=16)
    texts = list(dict.fromkeys(TEXTS))[:120]
    assert_same(encoder.encode_queries(texts, multi=True), flag_encode(folder, texts, 16))


def test_safetensors_weights_and_heads_give_what_bin_and_pt_give(random_m3: Path, random_m3_safetensors: Path) -> None:
    assert {path.suffix for path in random_m3.iterdir()} == {".bin", ".pt", ".json"}
    assert {path.suffix for path in random_m3_safetensors.iterdir()} == {".safetensors", ".json"}
    a = BgeM3Encoder(random_m3, device="cpu").encode_documents(TEXTS[:80], multi=True)
    b = BgeM3Encoder(random_m3_safetensors, device="cpu").encode_documents(TEXTS[:80], multi=True)
    np.testing.assert_array_equal(a.dense, b.dense)
    np.testing.assert_array_equal(a.sparse.toarray(), b.sparse.toarray())
    for ours, theirs in zip(a.multi or (), b.multi or (), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_late_interaction_equals_flagembeddings_colbert_score(folder: Path) -> None:
    encoder = BgeM3Encoder(folder, device="cpu", max_length=SHORT)
    flag = flag_m3(folder, length=SHORT)
    query, texts = "How does a worker pull tasks from the queue?", TEXTS[:40] + TEXTS[-40:]
    encoded = flag.encode([query, *texts], max_length=SHORT, return_colbert_vecs=True)["colbert_vecs"]
    expected = [float(flag.colbert_score(encoded[0], vectors)) for vectors in encoded[1:]]
    ours = LateInteractionReranker(encoder).score(query, texts)
    np.testing.assert_allclose(ours, np.clip(expected, 0, 1), rtol=0, atol=TOLERANCE)


def test_reranker_scores_equal_flagembedding_and_sentence_transformers(random_reranker: Path) -> None:
    from sentence_transformers import CrossEncoder

    query = "How many times is a failed job tried again?"
    # the references cut what does not fit; ours reads the first window alone where it is told to
    ours = CrossEncoderReranker(random_reranker, device="cpu", pooling="first").score(query, TEXTS)
    pairs = [(query, text) for text in TEXTS]
    theirs = flag_reranker(random_reranker, length=LENGTH).compute_score(pairs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
    reference = CrossEncoder(str(random_reranker), device="cpu", local_files_only=True)
    np.testing.assert_allclose(ours, reference.predict(pairs, show_progress_bar=False), rtol=0, atol=TOLERANCE)
    assert np.ptp(ours) > 0.2  # the scores differ, so that equality says something
