"""Exports that are damaged are refused; whole ones run without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from hybrid_core import MissingDependencyError, ModelLoadError
from hybrid_core.encoders.runtimes.onnx_folder import is_export
from hybrid_core.encoders.runtimes.onnx_m3 import OnnxM3
from hybrid_core.encoders.runtimes.onnx_scorer import OnnxScorer


@pytest.fixture
def copy(exported_m3: Path, tmp_path: Path) -> Path:
    """A copy of the exported encoder, to be damaged."""
    return Path(shutil.copytree(exported_m3, tmp_path / "copy"))


def edit_record(folder: Path, **changes: object) -> None:
    path = folder / "onnx" / "export.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_a_torch_checkpoint_is_no_export(source_m3: Path, exported_m3: Path) -> None:
    assert is_export(exported_m3)
    assert not is_export(source_m3)
    with pytest.raises(ModelLoadError, match="bge-hybrid export"):
        OnnxM3(source_m3)


@pytest.mark.parametrize("file", ["onnx/model.onnx", "onnx/model.onnx_data", "config.json"])
def test_a_missing_file_is_named(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(ModelLoadError, match=Path(file).name):
        OnnxM3(copy)


def test_a_file_that_was_cut_off_is_told_by_its_size(copy: Path) -> None:
    path = copy / "onnx" / "model.onnx_data"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelLoadError, match=r"model\.onnx_data has \d+ bytes instead of \d+"):
        OnnxM3(copy)


def test_a_graph_of_the_right_size_that_is_none_is_refused(copy: Path) -> None:
    path = copy / "onnx" / "model.onnx"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(ModelLoadError, match=r"model\.onnx cannot be loaded"):
        OnnxM3(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', '{"format": 1, "files": 3, "model": "model.onnx"}'])
def test_a_damaged_record_is_refused(copy: Path, text: str) -> None:
    (copy / "onnx" / "export.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelLoadError, match=r"export\.json"):
        OnnxM3(copy)


def test_an_export_of_a_later_version_is_refused(copy: Path) -> None:
    edit_record(copy, format=2)
    with pytest.raises(ModelLoadError, match="format 2"):
        OnnxM3(copy)


@pytest.mark.parametrize("model", ["../../outside.onnx", "/etc/hostname"])
def test_a_record_cannot_name_a_file_elsewhere(copy: Path, model: str) -> None:
    edit_record(copy, model=model)
    with pytest.raises(ModelLoadError, match=r"export\.json is damaged"):
        OnnxM3(copy)


def test_encoders_and_rerankers_are_not_mistaken_for_each_other(exported_m3: Path, exported_reranker: Path) -> None:
    with pytest.raises(ModelLoadError, match="an exported reranker is needed"):
        OnnxScorer(exported_m3)
    with pytest.raises(ModelLoadError, match="an exported encoder is needed"):
        OnnxM3(exported_reranker)


def test_an_onnxruntime_that_is_too_old_is_refused(exported_m3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.20.1")
    with pytest.raises(MissingDependencyError, match=r"1\.20\.1.*1\.21 or later"):
        OnnxM3(exported_m3)


WITHOUT_TORCH = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "sentence_transformers", "onnx", "safetensors"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())

import numpy as np
from pathlib import Path
from hybrid_core.encoders.runtimes.onnx_m3 import OnnxM3
from hybrid_core.encoders.runtimes.onnx_scorer import OnnxScorer
from hybrid_core.encoders.tokenizing import load_tokenizer

encoder, reranker = map(Path, sys.argv[1:])
texts = ["A worker pulls tasks from the queue.", "", "工作节点拉取任务。"]
tokenizer = load_tokenizer(encoder, "encoder")
out = OnnxM3(encoder, threads=1).run([np.array(x.ids, np.int32) for x in tokenizer.encode_batch(texts)], multi=True)
assert out.dense.shape == (3, 64) and np.isfinite(out.dense).all() and np.isfinite(out.multi).all()
tokenizer = load_tokenizer(reranker, "reranker")
pairs = tokenizer.encode_batch([("what pulls tasks", text) for text in texts])
logits = OnnxScorer(reranker, threads=1).run([np.array(x.ids, np.int32) for x in pairs])
assert logits.shape == (3,) and np.isfinite(logits).all()
assert "torch" not in sys.modules
print("ran")
"""


def test_encoding_and_scoring_need_neither_torch_nor_transformers(exported_m3: Path, exported_reranker: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported_m3), str(exported_reranker)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "ran", done.stderr
