"""The ONNX engine gives what transformers' XLMRobertaModel under BGE-M3's heads gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_m3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_reference import MIXED, assert_same, m3_reference, rows_of

from hybrid_core import InvalidInputError
from hybrid_core.encoders.runtimes.base import EncoderRuntime
from hybrid_core.encoders.runtimes.onnx_m3 import OnnxM3
from hybrid_core.export import export_model


def test_all_three_heads_agree_with_transformers(onnx_m3: OnnxM3, source_m3: Path) -> None:
    rows = rows_of(MIXED)
    expected = m3_reference(source_m3, rows)
    assert 0.1 < np.mean(expected.weights > 0) < 0.9
    assert_same(onnx_m3.run(rows, multi=True), expected)


def test_a_padding_id_within_a_text_is_passed_over_by_the_positions(onnx_m3: OnnxM3, source_m3: Path) -> None:
    rows = rows_of([9, 30, 5])
    rows[0][4] = rows[1][[3, 4, 17]] = 1
    assert_same(onnx_m3.run(rows, multi=True), m3_reference(source_m3, rows))


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_every_activation_agrees_with_transformers(tmp_path: Path, activation: str) -> None:
    folder = write_m3(tmp_path / "model", seed=4)
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"gelu"', f'"{activation}"'), encoding="utf-8")
    rows = rows_of([20, 8])
    found = OnnxM3(export_model(folder, tmp_path / "onnx").folder, threads=1).run(rows, multi=True)
    assert_same(found, m3_reference(folder, rows))


def test_weights_and_heads_in_safetensors_give_the_same(onnx_m3: OnnxM3, tmp_path: Path) -> None:
    folder = write_m3(tmp_path / "model", seed=4, safetensors=True)
    other = OnnxM3(export_model(folder, tmp_path / "onnx").folder, threads=1)
    rows = rows_of([30, 4, 77])
    assert_same(other.run(rows, multi=True), onnx_m3.run(rows, multi=True), 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=30))
def test_a_text_gets_the_same_in_any_company(onnx_m3: OnnxM3, lengths: list[int]) -> None:
    rows = rows_of(lengths, seed=len(lengths))
    together = onnx_m3.run(rows, multi=True)
    alone = [onnx_m3.run([row], multi=True) for row in rows]
    for name in ("dense", "weights", "multi"):
        parts = np.concatenate([getattr(out, name) for out in alone])
        np.testing.assert_allclose(getattr(together, name), parts, rtol=0, atol=1e-5, err_msg=name)


def test_multi_vectors_are_left_out_unless_asked_for(onnx_m3: OnnxM3) -> None:
    rows = rows_of([5, 60, 200])
    without, with_them = onnx_m3.run(rows, multi=False), onnx_m3.run(rows, multi=True)
    assert without.multi is None
    assert with_them.multi is not None
    assert with_them.multi.shape == (262, 64)
    np.testing.assert_array_equal(without.dense, with_them.dense)
    np.testing.assert_array_equal(without.weights, with_them.weights)
    np.testing.assert_allclose(np.linalg.norm(with_them.multi, axis=1), 1, atol=1e-6)


def test_threads_may_share_one_session(onnx_m3: OnnxM3) -> None:
    batches = [rows_of([10 + i, 3, 150], seed=i) for i in range(16)]
    expected = [onnx_m3.run(rows, multi=True) for rows in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda rows: onnx_m3.run(rows, multi=True), batches))
    for here, there in zip(found, expected, strict=True):
        assert_same(here, there, 0)


def test_it_says_what_it_is(onnx_m3: OnnxM3, exported_m3: Path) -> None:
    runtime: EncoderRuntime = onnx_m3
    assert (runtime.backend, runtime.device, runtime.precision) == ("onnx", "cpu", "fp32")
    assert OnnxM3(exported_m3, device="cpu", precision="fp32").precision == "fp32"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"device": "cuda"}, "onnxruntime-gpu"),
        ({"device": "mps"}, "device='mps'"),
        ({"device": "cuda:x"}, "device='cuda:x'"),
        ({"precision": "int8"}, "precision='int8'"),
        ({"precision": "fp16"}, "precision='fp16'"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_what_is_not_to_be_had_is_refused(exported_m3: Path, options: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        OnnxM3(exported_m3, **options)  # type: ignore[arg-type]
