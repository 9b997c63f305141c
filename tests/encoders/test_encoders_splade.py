"""Splade: the library's own weights as sparse rows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_checkpoints import VOCABULARY, write_splade

from hybrid_core import EmbeddingError, InvalidTextError
from hybrid_core.encoders.sparse_sides.base import SparseSide
from hybrid_core.encoders.sparse_sides.splade import Splade

TEXTS = ["A worker pulls tasks from the queue.", "网关限流", "queue " * 30, "x"]


def library(folder: Path, role: str, texts: list[str]) -> np.ndarray:
    """What the library returns, special tokens left out."""
    from sentence_transformers import SparseEncoder

    model: Any = SparseEncoder(str(folder), device="cpu", local_files_only=True)
    weights = getattr(model, f"encode_{role}")(texts).to_dense().cpu().numpy()
    weights[:, model.tokenizer.all_special_ids] = 0
    return np.asarray(weights)


@pytest.mark.parametrize("model", ["splade", "free_splade"])
def test_weights_are_the_librarys_own_without_special_tokens(model: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    splade = Splade(folder, device="cpu", batch_size=2)
    for found, role in ((splade.encode_documents(TEXTS), "document"), (splade.encode_queries(TEXTS), "query")):
        assert (found.shape, found.dtype, found.indices.dtype) == ((4, VOCABULARY), np.float32, np.int32)
        assert (found.data > 0).all()
        np.testing.assert_allclose(found.toarray(), library(folder, role, TEXTS), atol=1e-5)
        assert not {"<s>", "</s>", "<pad>", "<unk>", "<mask>"} & set(splade.tokens(found.indices.tolist()))


def test_it_is_a_sparse_side_without_idf(splade: Path) -> None:
    side = Splade(splade, device="cpu")
    assert isinstance(side, SparseSide)
    assert (side.idf, side.vocabulary) == (False, VOCABULARY)
    assert repr(side) == f"Splade('{splade}', device='cpu')"
    assert side.tokens([6]) == [side.tokens([5, 6])[1]]


def test_queries_of_a_table_cost_no_pass_and_hold_their_own_words_only(free_splade: Path) -> None:
    side = Splade(free_splade, device="cpu")
    row = side.encode_queries(["worker queue"])
    assert {token.strip("▁") for token in side.tokens(row.indices.tolist())} <= {"worker", "queue", ""}
    assert side.encode_documents(["worker queue"]).nnz > 100


def test_blank_texts_have_no_weights_and_their_neighbours_keep_their_rows(splade: Path) -> None:
    side = Splade(splade, device="cpu")
    found = side.encode_documents(["", *TEXTS[:2], " \n", TEXTS[2]])
    assert (np.diff(found.indptr) > 0).tolist() == [False, True, True, False, True]
    np.testing.assert_allclose(found.toarray()[[1, 2, 4]], side.encode_documents(TEXTS[:3]).toarray(), atol=1e-5)
    assert side.encode_queries([]).shape == (0, VOCABULARY)
    assert side.encode_queries([""]).nnz == 0


def test_the_name_is_that_of_the_content(splade: Path, free_splade: Path, tmp_path: Path) -> None:
    import shutil

    names = [Splade(folder, device="cpu").name for folder in (splade, shutil.copytree(splade, tmp_path / "copy"))]
    assert names[0] == names[1]
    other = [Splade(free_splade, device="cpu"), Splade(splade, device="cpu", max_length=8)]
    other.append(Splade(write_splade(tmp_path / "seed", seed=1), device="cpu"))
    assert len({names[0], *(side.name for side in other)}) == 4


def test_long_texts_are_cut_and_that_is_said_once(splade: Path, caplog: pytest.LogCaptureFixture) -> None:
    side = Splade(splade, device="cpu", max_length=8)
    with caplog.at_level(logging.WARNING):
        found = side.encode_documents(["task " * 20, "task " * 20 + "end", "short"])
        side.encode_documents(["task " * 20])
    np.testing.assert_allclose(found.toarray()[0], found.toarray()[1], atol=1e-6)
    [record] = [record for record in caplog.records if record.name.startswith("hybrid_core")]
    assert record.getMessage().startswith("2 of 3 texts fill the 8 tokens")


def test_no_number_raises_naming_the_position(tmp_path: Path) -> None:
    """Fault 14: NaN from the model."""
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer

    folder = write_splade(tmp_path / "spoiled")
    [token] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("worker", add_special_tokens=False).ids
    state = load_file(folder / "model.safetensors")
    state["bert.embeddings.word_embeddings.weight"][token] = float("nan")
    # the head is tied to the embeddings, and would spoil every text
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"].nan_to_num()
    state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"].clone()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"tie_word_embeddings": true', '"tie_word_embeddings": false'))
    side = Splade(folder, device="cpu")
    assert side.encode_documents(["queue", "", "task"]).nnz
    with pytest.raises(EmbeddingError, match="text 2;"):
        side.encode_documents(["queue", "", "worker", "task"])


def test_texts_are_checked(splade: Path) -> None:
    side = Splade(splade, device="cpu")
    with pytest.raises(InvalidTextError, match="text 1 is 7"):
        side.encode_documents(["a", 7])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query 0 has a lone surrogate"):
        side.encode_queries(["\ud800"])
