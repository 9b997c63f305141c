"""What int8 costs: measured on the trained model of the package, and by hand on single layers."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from checkpoints import TINY, write_m3
from onnx_reference import MIXED, rows_of
from tokenizers import Tokenizer

from hybrid_core.encoders.runtimes.onnx_m3 import OnnxM3
from hybrid_core.export import export_model
from hybrid_core.export.linear import evening, quantise
from hybrid_core.types import FloatArray, IntArray

DEMO = files("hybrid_core") / "demo"


def rows_of_demo(name: str, field: str) -> list[IntArray]:
    """The demo's texts as the tiny tokenizer cuts them."""
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    lines = (DEMO / name).read_text(encoding="utf-8").splitlines()
    tokenizer.enable_truncation(512)
    tokenizer.no_padding()
    return [
        np.array(item.ids, dtype=np.int32) for item in tokenizer.encode_batch([json.loads(x)[field] for x in lines])
    ]


def cosines(x: FloatArray, y: FloatArray) -> FloatArray:
    """Of rows that have unit length."""
    return np.asarray((x * y).sum(axis=1))


def test_the_trained_model_keeps_its_vectors_and_its_order(
    tiny_fp32: OnnxM3, tiny_int8: OnnxM3, record_property: pytest.RecordProperty
) -> None:
    passages, questions = rows_of_demo("corpus.jsonl", "text"), rows_of_demo("questions.jsonl", "question")
    exact, bytes_ = tiny_fp32.run(passages, multi=True), tiny_int8.run(passages, multi=True)
    assert exact.multi is not None
    assert bytes_.multi is not None
    dense, multi = cosines(exact.dense, bytes_.dense), cosines(exact.multi, bytes_.multi)
    sparse = exact.weights @ bytes_.weights / np.linalg.norm(exact.weights) / np.linalg.norm(bytes_.weights)
    record_property("cosine to float32", f"dense {dense.mean():.5f} multi {multi.mean():.5f} sparse {sparse:.6f}")
    assert dense.min() > 0.998
    assert multi.min() > 0.998
    assert sparse > 0.9999
    ranks = [np.argsort(-(runtime.run(questions, multi=False).dense @ out.dense.T), axis=1)
             for runtime, out in ((tiny_fp32, exact), (tiny_int8, bytes_))]  # fmt: skip
    np.testing.assert_array_equal(ranks[0][:, 0], ranks[1][:, 0])
    assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(ranks[0][:, :10], ranks[1][:, :10], strict=True)]) > 0.9


def test_int8_takes_a_quarter_of_the_space(tiny_fp32: OnnxM3, tiny_int8: OnnxM3) -> None:
    sizes = [(runtime.export.path.parent / f"{runtime.export.path.name}_data").stat().st_size
             for runtime in (tiny_fp32, tiny_int8)]  # fmt: skip
    assert sizes[1] < 0.32 * sizes[0]  # position embeddings stay as they are


def test_a_text_gets_the_same_in_any_company(tiny_int8: OnnxM3) -> None:
    """But for values so near the middle between two steps that the last bit of a sum decides."""
    rows = rows_of_demo("corpus.jsonl", "text")[:24]
    together = tiny_int8.run(rows, multi=True)
    alone = [tiny_int8.run([row], multi=True) for row in rows]
    for name in ("dense", "weights", "multi"):
        difference = np.abs(getattr(together, name) - np.concatenate([getattr(out, name) for out in alone]))
        assert np.mean(difference > 1e-5) < 0.05
        assert difference.max() < 0.01


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_int8_stays_near_with_every_activation(tmp_path: Path, activation: str) -> None:
    folder = write_m3(tmp_path / "model", seed=4)
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"gelu"', f'"{activation}"'), encoding="utf-8")
    rows = rows_of(MIXED)
    exact, bytes_ = (
        OnnxM3(export_model(folder, tmp_path / precision, precision=precision).folder, threads=1).run(rows, multi=True)
        for precision in ("fp32", "int8")
    )
    assert exact.multi is not None
    assert bytes_.multi is not None
    assert cosines(exact.dense, bytes_.dense).min() > 0.999
    assert cosines(exact.multi, bytes_.multi).mean() > 0.999
    assert np.linalg.norm(bytes_.weights - exact.weights) < 0.1 * np.linalg.norm(exact.weights)


def test_columns_with_large_gains_do_not_drown_the_others() -> None:
    """Four columns 30 times as large as the rest, as trained models of this kind have them."""
    random = np.random.default_rng(0)
    gains = np.where(np.arange(256) % 64 == 0, 30, 1).astype(np.float32)
    x = (random.standard_normal((50, 256)) * gains).astype(np.float32)
    weight = random.standard_normal((100, 256)).astype(np.float32) * 0.05

    def error(factor: FloatArray) -> float:
        (states, steps), (whole, scales) = quantise(x / factor), quantise(weight * factor)
        product = (states * steps[:, None]) @ (whole * scales[:, None]).T
        return float(np.linalg.norm(product - x @ weight.T))

    assert error(evening(gains, [weight])) < 0.5 * error(np.ones(256, dtype=np.float32))


def test_weights_are_rounded_to_the_nearest_of_255_steps_a_row() -> None:
    weight = np.array([[1.27, -0.5, 0.004], [0.0, 0.0, 0.0], [-2.54, 2.54, 0.011]], dtype=np.float32)
    whole, scales = quantise(weight)
    assert whole.dtype == np.int8
    assert whole.tolist() == [[127, -50, 0], [0, 0, 0], [-127, 127, 1]]
    np.testing.assert_allclose(scales[[0, 2]], [0.01, 0.02], rtol=1e-6)
    random = np.random.default_rng(0).standard_normal((50, 70)).astype(np.float32)
    whole, scales = quantise(random)
    assert np.abs(whole * scales[:, None] - random).max() <= scales.max() * 0.5001


def test_evening_shares_a_columns_size_between_activations_and_weights() -> None:
    sizes = np.array([16.0, 1.0, 1.0], dtype=np.float32)
    weights = [np.array([[1.0, -1.0, 0.25], [0.5, 0.5, 0.0]], dtype=np.float32)]
    factor = evening(sizes, weights)  # sqrt(size / largest weight) = 4, 1, 2, over their geometric mean 2
    np.testing.assert_allclose(factor, [2.0, 0.5, 1.0], rtol=1e-6)
    x = np.array([[16.0, -1.0, 0.5]], dtype=np.float32)
    np.testing.assert_allclose((x / factor) @ (weights[0] * factor).T, x @ weights[0].T, rtol=1e-6)
    assert np.isfinite(evening(np.zeros(3, dtype=np.float32), [np.zeros((2, 3), dtype=np.float32)])).all()
