"""Which checkpoints of sentence-transformers load, and how others are refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_m3, write_reranker
from sentence_checkpoints import write_dense, write_plain

from hybrid_core import InvalidInputError, MissingDependencyError, ModelLoadError
from hybrid_core.encoders.sentence_transformer import SentenceTransformerEncoder
from hybrid_core.encoders.sparse_sides.bm25 import Bm25
from hybrid_core.encoders.sparse_sides.splade import Splade


def load(folder: Path | str, **options: Any) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(folder, **{"sparse": Bm25(), "device": "cpu", **options})


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    """A copy of the dense checkpoint, to be damaged."""
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    for loader in (load, Splade):
        with pytest.raises(ModelLoadError, match="nowhere"):
            loader(tmp_path / "nowhere")
        with pytest.raises(ModelLoadError, match="sentence-transformers/no-such-model"):
            loader("sentence-transformers/no-such-model", local_files_only=True, cache_dir=tmp_path)


def test_a_cross_encoder_is_refused_and_its_loader_named(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    plain = write_plain(tmp_path / "plain", "classifier")
    CrossEncoder(str(plain), device="cpu").save_pretrained(str(tmp_path / "saved"))
    for folder in (plain, tmp_path / "saved", write_reranker(tmp_path / "xlmr")):
        for loader in (load, Splade):
            with pytest.raises(ModelLoadError, match=r"is a CrossEncoder.*CrossEncoderReranker loads it"):
                loader(folder)


def test_a_plain_transformer_is_refused_since_its_pooling_is_not_known(tmp_path: Path) -> None:
    for folder in (
        write_plain(tmp_path / "bert", "bert"),
        write_plain(tmp_path / "mlm", "mlm"),
        write_m3(tmp_path / "m3"),
    ):
        for loader in (load, Splade):
            with pytest.raises(ModelLoadError, match=r"no modules\.json"):
                loader(folder)


def test_the_two_kinds_are_not_taken_for_each_other(bert: Path, splade: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"is a SparseEncoder, a SentenceTransformer.*; Splade loads it"):
        load(splade)
    with pytest.raises(
        ModelLoadError, match=r"is a SentenceTransformer, a SparseEncoder.*; SentenceTransformerEncoder loads it"
    ):
        Splade(bert)


def test_a_sparse_encoder_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    SparseEncoder(str(write_plain(tmp_path / "bert", "bert")), device="cpu").save_pretrained(str(tmp_path / "csr"))
    with pytest.raises(ModelLoadError, match="whose dimensions are no words"):
        Splade(tmp_path / "csr", device="cpu")


def test_code_that_is_not_the_librarys_own_is_not_run(copy: Path) -> None:
    (copy / "evil.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    edit(copy / "modules.json", lambda parts: [{**parts[0], "type": "evil.Module"}, *parts[1:]])
    with pytest.raises(ModelLoadError, match=r"needs code that is not sentence-transformers' own: evil\.Module"):
        load(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[1]", '[{"idx": 0}]'])
def test_a_damaged_list_of_modules_is_a_load_error(copy: Path, content: str) -> None:
    (copy / "modules.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelLoadError, match=r"modules\.json"):
        load(copy)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("damage", [None, b"", b"not what it should be"])
def test_a_missing_or_damaged_file_is_a_load_error(copy: Path, file: str, damage: bytes | None) -> None:
    if damage is None:
        (copy / file).unlink()
    else:
        (copy / file).write_bytes(damage)
    with pytest.raises(ModelLoadError):
        load(copy)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_weights_that_lack_a_layer_are_refused(tmp_path: Path, kind: str) -> None:
    """Fault 10: no part of a model is filled with random numbers."""
    from safetensors.torch import load_file, save_file

    folder = write_dense(tmp_path / "half", kind)
    state = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if "layer.1.output" not in name and "pooler" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lacks weights.*encoder\.layer\.1\.output"):
        load(folder)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_weights_under_old_names_and_without_a_pooler_load(copy: Path, prefix: str) -> None:
    import torch
    from safetensors.torch import load_file

    state = load_file(copy / "model.safetensors")
    old = {
        prefix + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in state.items()
        if "pooler" not in name
    }
    torch.save(old, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert load(copy).encode_documents(["worker"]).dense.any()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"sparse": "bm25"}, "sparse='bm25' is no sparse side"),
        ({"sparse": None}, "sparse=None is no sparse side"),
        ({"sparse": Bm25}, "sparse=<class .*Bm25'> is no sparse side"),
        ({"precision": "int8"}, "precision='int8'"),
        ({"device": "abacus"}, "device='abacus'"),
        ({"max_length": 0}, "max_length=0"),
        ({"max_length": 2.5}, r"max_length=2\.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"query_prompt": 7}, "query_prompt is 7"),
        ({"passage_prompt": "\ud800"}, "passage_prompt has a lone surrogate"),
    ],
    ids=repr,
)
def test_a_bad_argument_is_named(bert: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        load(bert, **options)


def test_without_the_library_the_pip_line_is_given(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "bge-hybrid\[torch\]"'):
        load(bert)
