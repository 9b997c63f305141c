"""Exports that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import TINY, write_m3

from hybrid_core.encoders.runtimes.onnx_m3 import OnnxM3
from hybrid_core.encoders.runtimes.onnx_scorer import OnnxScorer
from hybrid_core.export import export_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def source_m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder; with this seed about half of all tokens get a sparse weight, with others all or none."""
    return write_m3(tmp_path_factory.mktemp("models") / "m3", seed=4)


@pytest.fixture(scope="session")
def exported_m3(source_m3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random encoder in float32."""
    return export_model(source_m3, tmp_path_factory.mktemp("onnx") / "m3").folder


@pytest.fixture(scope="session")
def onnx_m3(exported_m3: Path) -> OnnxM3:
    return OnnxM3(exported_m3, threads=1)


@pytest.fixture(scope="session")
def exported_reranker(random_reranker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random cross-encoder in float32."""
    return export_model(random_reranker, tmp_path_factory.mktemp("onnx") / "reranker").folder


@pytest.fixture(scope="session")
def onnx_scorer(exported_reranker: Path) -> OnnxScorer:
    return OnnxScorer(exported_reranker, threads=1)


@pytest.fixture(scope="session")
def tiny_fp32(tmp_path_factory: pytest.TempPathFactory) -> OnnxM3:
    """The trained model of the package in float32."""
    return OnnxM3(export_model(TINY, tmp_path_factory.mktemp("onnx") / "tiny").folder, threads=1)


@pytest.fixture(scope="session")
def tiny_int8(tmp_path_factory: pytest.TempPathFactory) -> OnnxM3:
    """The same in int8."""
    return OnnxM3(export_model(TINY, tmp_path_factory.mktemp("onnx") / "tiny", precision="int8").folder, threads=1)
