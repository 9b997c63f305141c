"""What an export consists of, what is refused, and that a failed one leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from checkpoints import TINY, save, write_m3, write_reranker
from onnx_reference import assert_same, rows_of
from safetensors.torch import load_file

from hybrid_core import InvalidInputError, ModelLoadError
from hybrid_core.encoders.checkpoint import find_checkpoint
from hybrid_core.encoders.runtimes.onnx_folder import read_export
from hybrid_core.encoders.runtimes.onnx_m3 import OnnxM3
from hybrid_core.encoders.tokenizing import load_tokenizer
from hybrid_core.errors import StorageError
from hybrid_core.export import export_model


@pytest.fixture
def copy(source_m3: Path, tmp_path: Path) -> Path:
    """A copy of the random encoder, to be damaged."""
    return Path(shutil.copytree(source_m3, tmp_path / "copy"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_an_export_needs_nothing_of_its_source(copy: Path, onnx_m3: OnnxM3, tmp_path: Path) -> None:
    made = export_model(copy, tmp_path / "a" / "b" / "m3")
    shutil.rmtree(copy)
    moved = made.folder.rename(tmp_path / "elsewhere")
    rows = rows_of([4, 50])
    assert_same(OnnxM3(moved, threads=1).run(rows, multi=True), onnx_m3.run(rows, multi=True), 0)
    assert load_tokenizer(moved, "moved").get_vocab_size() > 10_000
    files = {str(path.relative_to(moved)) for path in moved.rglob("*") if path.is_file()}
    assert files == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "sparse_linear.pt",
        "colbert_linear.pt",
        "onnx/export.json",
        "onnx/model.onnx",
        "onnx/model.onnx_data",
    }
    assert (
        moved.stat().st_mode & 0o077 == (tmp_path / "a").stat().st_mode & 0o077
    )  # not as private as a temporary folder


def test_the_record_says_what_it_is(source_m3: Path, exported_m3: Path, tmp_path: Path) -> None:
    digest = find_checkpoint(source_m3, revision=None, cache_dir=None, local_files_only=True).digest()
    record = json.loads((exported_m3 / "onnx" / "export.json").read_text(encoding="utf-8"))
    assert record["kind"] == "encoder"
    assert record["precision"] == "fp32"
    assert record["source"] == source_m3.name
    assert record["opsets"] == {"ai.onnx": 18, "com.microsoft": 1}
    assert set(record["versions"]) == {"bge-hybrid", "onnx", "onnxruntime", "torch"}
    assert read_export(exported_m3).digest == digest
    int8 = [export_model(source_m3, tmp_path / name, precision="int8") for name in ("one", "two")]
    assert int8[0].path.name == "model_int8.onnx"
    assert int8[0].digest == int8[1].digest == digest  # precision is no other model


def test_weights_lie_in_a_file_beside_a_small_graph(exported_m3: Path) -> None:
    """Beyond 2 GB a graph cannot hold its weights, so it never does."""
    path = exported_m3 / "onnx" / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    outside = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert outside
    for tensor in outside:
        where = {item.key: item.value for item in tensor.external_data}
        assert where["location"] == "model.onnx_data"
        assert int(where["offset"]) % 65_536 == 0
    words = next(t for t in outside if list(t.dims) == [10_600, 64])
    assert np.isfinite(onnx.numpy_helper.to_array(words, str(path.parent))).all()
    onnx.checker.check_model(str(path))


def test_a_half_precision_checkpoint_is_exported_in_float32(tmp_path: Path) -> None:
    assert load_file(TINY / "model.safetensors")["embeddings.word_embeddings.weight"].dtype == torch.float16
    assert OnnxM3(export_model(TINY, tmp_path / "tiny").folder, threads=1).precision == "fp32"


def test_a_tokenizer_of_the_old_kind_is_converted(tmp_path: Path) -> None:
    folder = write_reranker(tmp_path / "model")
    edit_config(folder, model_type="bert", architectures=["BertForSequenceClassification"], pad_token_id=0)
    state = load_file(folder / "model.safetensors")
    bert = {key.replace("roberta.", "bert."): value for key, value in state.items() if key.startswith("roberta.")}
    wide = {f"bert.pooler.dense.{part}": state[f"classifier.dense.{part}"] for part in ("weight", "bias")}
    out = {f"classifier.{part}": state[f"classifier.out_proj.{part}"] for part in ("weight", "bias")}
    save({**bert, **wide, **out}, folder / "model.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]), encoding="utf-8"
    )
    made = export_model(folder, tmp_path / "onnx")
    assert made.kind == "reranker"
    assert made.pad_id is None
    assert load_tokenizer(made.folder, "made").encode("a b").tokens == ["[CLS]", "a", "b", "[SEP]"]


def test_an_existing_target_is_kept(source_m3: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.mkdir()
    (target / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="exists already"):
        export_model(source_m3, target)
    with pytest.raises(InvalidInputError, match="is no export"):
        export_model(source_m3, target, overwrite=True)
    assert (target / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_an_export_is_replaced_only_when_asked(source_m3: Path, tmp_path: Path) -> None:
    first = export_model(source_m3, tmp_path / "m3")
    with pytest.raises(InvalidInputError, match="overwrite=True"):
        export_model(source_m3, first.folder, precision="int8")
    assert read_export(first.folder).precision == "fp32"
    second = export_model(source_m3, first.folder, precision="int8", overwrite=True)
    assert second.folder == first.folder
    assert not (second.folder / "onnx" / "model.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m3"]


def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(copy: Path, tmp_path: Path) -> None:
    made = export_model(copy, tmp_path / "m3")
    (copy / "colbert_linear.pt").write_bytes(b"damaged")
    with pytest.raises(ModelLoadError, match="colbert_linear"):
        export_model(copy, tmp_path / "m3", overwrite=True)
    with pytest.raises(ModelLoadError, match="colbert_linear"):
        export_model(copy, tmp_path / "other")
    assert read_export(made.folder).precision == "fp32"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "m3"]


def test_a_place_that_cannot_be_written_is_a_storage_error(source_m3: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"):
        export_model(source_m3, tmp_path / "file" / "m3")


def test_a_classifier_of_two_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="2 labels"):
        export_model(write_reranker(tmp_path / "model", labels=2), tmp_path / "onnx")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "deberta-v2"}, "'deberta-v2'"),
        ({"hidden_act": "silu"}, "'silu'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key'"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"num_hidden_layers": 3}, r"layer\.2"),
        ({"intermediate_size": 96}, r"\(96, 64\) is needed"),
    ],
)
def test_other_architectures_are_refused(copy: Path, tmp_path: Path, changes: dict[str, object], named: str) -> None:
    edit_config(copy, **changes)
    with pytest.raises(ModelLoadError, match=named):
        export_model(copy, tmp_path / "onnx")


@pytest.mark.parametrize(
    ("file", "named"),
    [("config.json", "config.json"), ("pytorch_model.bin", "no weights"), ("sparse_linear.pt", "sparse_linear")],
)
def test_a_missing_file_is_named(copy: Path, tmp_path: Path, file: str, named: str) -> None:
    (copy / file).unlink()
    with pytest.raises(ModelLoadError, match=named):
        export_model(copy, tmp_path / "onnx")


def test_an_encoder_without_a_scoring_head_is_no_reranker(copy: Path, tmp_path: Path) -> None:
    edit_config(copy, architectures=["XLMRobertaForSequenceClassification"])
    with pytest.raises(ModelLoadError, match=r"no reranker.*classifier\.dense\.weight"):
        export_model(copy, tmp_path / "onnx")


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    folder = write_m3(
        tmp_path / "model", edit=lambda state: state["encoder.layer.1.output.dense.bias"].fill_(torch.nan)
    )
    with pytest.raises(ModelLoadError, match=r"layer\.1\.output\.dense\.bias holds NaN"):
        export_model(folder, tmp_path / "onnx")


def test_an_unknown_precision_is_refused(source_m3: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="precision='fp16'"):
        export_model(source_m3, tmp_path / "onnx", precision="fp16")  # type: ignore[arg-type]
