"""Which checkpoints load, which are refused and how, and what a fingerprint tells apart."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - to write the malicious file that must not be unpickled
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import HIDDEN, TINY, linear, save, write_m3

from hybrid_core import BgeM3Encoder, EmbeddingError, InvalidInputError, ModelLoadError


@pytest.fixture
def copy(random_m3: Path, tmp_path: Path) -> Path:
    """A copy of the random checkpoint, to be damaged."""
    return Path(shutil.copytree(random_m3, tmp_path / "copy"))


@pytest.mark.parametrize("head", ["sparse_linear", "colbert_linear"])
def test_a_missing_head_is_refused(copy: Path, head: str) -> None:
    """Fault 10: never a head of random numbers."""
    (copy / f"{head}.pt").unlink()
    with pytest.raises(ModelLoadError, match=f"{head}.safetensors or {head}.pt"):
        BgeM3Encoder(copy, device="cpu")


@pytest.mark.parametrize(
    ("file", "named"),
    [("pytorch_model.bin", "no weights"), ("config.json", "no config"), ("tokenizer.json", "tokenizer")],
)
def test_a_missing_file_is_named(copy: Path, file: str, named: str) -> None:
    (copy / file).unlink()
    with pytest.raises(ModelLoadError, match=named):
        BgeM3Encoder(copy, device="cpu")


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    """Fault 10: no part of a model is filled with random numbers."""

    def drop_second_layer(state: dict[str, torch.Tensor]) -> None:
        for name in [name for name in state if name.startswith("encoder.layer.1.")]:
            del state[name]

    folder = write_m3(tmp_path / "half", edit=drop_second_layer)
    with pytest.raises(ModelLoadError, match=r"layer\.1"):
        BgeM3Encoder(folder, device="cpu")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint at all"])
@pytest.mark.parametrize("file", ["pytorch_model.bin", "sparse_linear.pt", "tokenizer.json", "config.json"])
def test_a_damaged_file_is_a_load_error(copy: Path, file: str, damage: bytes) -> None:
    (copy / file).write_bytes(damage)
    with pytest.raises(ModelLoadError):
        BgeM3Encoder(copy, device="cpu")


def test_a_truncated_weight_file_is_a_load_error(random_m3_safetensors: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_m3_safetensors, tmp_path / "copy"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(ModelLoadError):
        BgeM3Encoder(folder, device="cpu")


def test_another_architecture_is_refused_by_name(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "bert"}), encoding="utf-8")
    with pytest.raises(ModelLoadError, match="'bert'"):
        BgeM3Encoder(copy, device="cpu")


def test_heads_of_another_width_are_refused(copy: Path) -> None:
    save({"weight": torch.zeros(1, HIDDEN + 1), "bias": torch.zeros(1)}, copy / "sparse_linear.pt")
    with pytest.raises(ModelLoadError, match="do not fit its hidden size 64"):
        BgeM3Encoder(copy, device="cpu")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="nowhere"):
        BgeM3Encoder(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ModelLoadError, match=r"\./nowhere"):
        BgeM3Encoder("./nowhere", device="cpu")


@pytest.mark.parametrize("local_files_only", [True, False])
def test_a_hub_name_without_a_network_says_what_to_do(tmp_path: Path, local_files_only: bool) -> None:
    with pytest.raises(ModelLoadError, match=r"BAAI/bge-m3.*tiny\(\)"):
        BgeM3Encoder("BAAI/bge-m3", cache_dir=tmp_path, local_files_only=local_files_only)


class _Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("file", ["sparse_linear.pt", "colbert_linear.pt", "pytorch_model.bin"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_malicious_file_is_refused_and_does_nothing(copy: Path, tmp_path: Path, file: str, plain: bool) -> None:
    target = tmp_path / "created-by-a-pickle"
    bomb = {"weight": _Bomb(target), "bias": torch.zeros(1)}
    if plain:
        (copy / file).write_bytes(pickle.dumps(bomb, protocol=2))
    else:
        torch.save(bomb, copy / file)
    with pytest.raises(ModelLoadError):
        BgeM3Encoder(copy, device="cpu")
    assert not target.exists()


def test_safetensors_heads_are_preferred_to_pt_ones(copy: Path, random_m3: Path) -> None:
    torch.manual_seed(7)
    save(linear(1), copy / "sparse_linear.safetensors")
    ours, original = BgeM3Encoder(copy, device="cpu"), BgeM3Encoder(random_m3, device="cpu")
    texts = ["a worker pulls tasks from the queue and tries the failed ones again"]
    assert ours.encode_documents(texts).sparse.sum() != original.encode_documents(texts).sparse.sum()


def test_nan_weights_raise_naming_the_position(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    """Fault 14: NaN from the model."""
    [worker] = encoder.encode_documents(["worker"]).sparse_row(0).indices.tolist()

    def spoil(state: dict[str, torch.Tensor]) -> None:
        state["embeddings.word_embeddings.weight"][worker] = float("nan")

    spoiled = BgeM3Encoder(write_m3(tmp_path / "nan", edit=spoil), device="cpu")
    assert np.isfinite(spoiled.encode_documents(["queue", "a longer text of many words"]).dense).all()
    with pytest.raises(EmbeddingError, match="text 2;"):
        spoiled.encode_documents(["queue", "a longer text of many words", "worker", "task"])
    with pytest.raises(EmbeddingError, match="text 0;"):
        spoiled.encode_queries(["worker"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("head", ["sparse_linear", "colbert_linear"])
def test_a_head_that_returns_no_number_raises(copy: Path, head: str, value: float) -> None:
    """Fault 14: NaN or inf from a head, multi-vectors included."""
    state = linear(1 if head == "sparse_linear" else HIDDEN)
    state["bias"][0] = value
    save(state, copy / f"{head}.pt")
    with pytest.raises(EmbeddingError, match="text 0"):
        BgeM3Encoder(copy, device="cpu").encode_documents(["worker", "queue"], multi=True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"precision": "int4"}, "precision='int4'"),
        ({"backend": "jax"}, "backend='jax'"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
        ({"device": "abacus"}, "device='abacus'"),
        ({"max_length": 0}, "max_length=0"),
        ({"max_length": 2.5}, "max_length=2.5"),
        ({"query_max_length": -1}, "query_max_length=-1"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"passage_instruction": None}, "passage_instruction"),
    ],
)
def test_a_bad_argument_is_named(random_m3: Path, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        BgeM3Encoder(random_m3, **arguments)


def test_half_precision_stays_near_full_precision(random_m3: Path) -> None:
    full = BgeM3Encoder(random_m3, device="cpu").encode_documents(["worker", "queue of tasks"])
    half = BgeM3Encoder(random_m3, device="cpu", precision="bf16").encode_documents(["worker", "queue of tasks"])
    assert half.dense.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(half.dense, axis=1), 1.0, atol=1e-6)
    assert np.einsum("ij,ij->i", full.dense, half.dense).min() > 0.99


def test_the_same_model_in_another_folder_has_the_same_fingerprint(random_m3: Path, copy: Path) -> None:
    a, b = BgeM3Encoder(random_m3, device="cpu").fingerprint, BgeM3Encoder(copy, device="cpu").fingerprint
    assert a.differences(b) == []
    assert (a.model, b.model) == (str(random_m3.resolve()), str(copy.resolve()))


@pytest.mark.parametrize("head", ["sparse_linear", "colbert_linear"])
def test_another_head_has_another_fingerprint(random_m3: Path, copy: Path, head: str) -> None:
    torch.manual_seed(7)
    save(linear(1 if head == "sparse_linear" else HIDDEN), copy / f"{head}.pt")
    a, b = BgeM3Encoder(random_m3, device="cpu").fingerprint, BgeM3Encoder(copy, device="cpu").fingerprint
    assert a.differences(b) == ["digest"]


def test_other_weights_have_another_fingerprint(random_m3: Path, tmp_path: Path) -> None:
    other = write_m3(tmp_path / "other", seed=1)
    for head in ("sparse_linear.pt", "colbert_linear.pt"):
        shutil.copy(random_m3 / head, other / head)
    a, b = BgeM3Encoder(random_m3, device="cpu").fingerprint, BgeM3Encoder(other, device="cpu").fingerprint
    assert a.differences(b) == ["digest"]


def test_another_max_length_has_another_fingerprint_unless_the_checkpoint_caps_both(random_m3: Path) -> None:
    short = BgeM3Encoder(random_m3, device="cpu", max_length=64).fingerprint
    assert short.max_length == 64
    long = BgeM3Encoder(random_m3, device="cpu", max_length=600).fingerprint
    assert long.differences(short) == ["max_length"]
    assert long.differences(BgeM3Encoder(random_m3, device="cpu").fingerprint) == []
    assert long.max_length == 512


def test_the_fingerprint_of_the_tiny_model_names_it() -> None:
    fingerprint = BgeM3Encoder.tiny().fingerprint
    assert (fingerprint.model, fingerprint.dimension, fingerprint.vocabulary) == ("tiny", 256, 10_600)
    assert (fingerprint.pooling, fingerprint.max_length, fingerprint.instruction) == ("cls", 512, "")
    assert fingerprint.digest == BgeM3Encoder(TINY, device="cpu").fingerprint.digest
