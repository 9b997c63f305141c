"""The forward pass without padding gives what transformers' own classes give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import TINY, copy_tokenizer, save, write_m3, write_reranker
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, InvalidInputError, ModelLoadError
from hybrid_core.encoders.runtimes.linear import plain
from hybrid_core.encoders.runtimes.packing import Layout, pack
from hybrid_core.encoders.runtimes.torch_scorer import TorchScorer
from hybrid_core.types import IntArray

TOLERANCE = 1e-5
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def rows_of(lengths: list[int], seed: int = 0, *, low: int = 5) -> list[IntArray]:
    random = np.random.default_rng(seed)
    return [random.integers(low, 10_600, size=n).astype(np.int32) for n in lengths]


@given(LENGTHS, st.integers(1, 60), st.sampled_from([0.5, 0.85, 1.0]))
def test_a_pack_holds_every_token_once_and_knows_the_way_back(lengths: list[int], most: int, filled: float) -> None:
    rows = rows_of(lengths)
    packed = pack(rows, None, 1)
    np.testing.assert_array_equal(packed.ids[packed.token_order()], np.concatenate(rows))
    blocks = packed.blocks(Layout(most, filled, few_shapes=True))
    assert [block.start for block in blocks] == [0, *(block.end for block in blocks[:-1])]
    assert blocks[-1].end == len(packed.ids)
    np.testing.assert_array_equal(np.concatenate([block.start + block.first for block in blocks]), packed.first)
    for block in blocks:
        tokens = block.end - block.start
        assert tokens <= most or len(block.first) == 1
        assert tokens <= block.rows < tokens + 16
        assert [group.start for group in block.groups] == [0, *(group.end for group in block.groups[:-1])]
        assert block.groups[-1].end == tokens
        for group in block.groups:
            assert group.lengths.min() >= filled * group.lengths.max()


def test_roberta_positions_pass_over_padding_ids_within_a_text() -> None:
    packed = pack([np.array([0, 7, 1, 8, 2], dtype=np.int32), np.array([0, 2], dtype=np.int32)], None, 1)
    assert packed.positions.tolist() == [2, 3, 1, 4, 5, 2, 3]


def test_bert_positions_begin_at_zero_in_every_text() -> None:
    packed = pack([np.array([9, 9, 9], dtype=np.int32), np.array([9, 9], dtype=np.int32)], None, None)
    assert packed.positions.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("device", "linear", "attention"), [("cpu", 0.03, 0), ("cuda:0", 0, 1 / 7)], ids=["cpu", "gpu"]
)
def test_padding_is_a_little_of_one_kind_and_nothing_of_the_other(device: str, linear: float, attention: float) -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(4, 0.8, 512).astype(int), 4, 512).tolist()
    packed = pack(rows_of(lengths), None, 1)
    blocks = packed.blocks(Layout.of(device))
    seen = sum(len(group.lengths) * int(group.lengths[0]) for block in blocks for group in block.groups)
    tokens = len(packed.ids)
    assert tokens == sum(lengths)
    assert tokens <= sum(block.rows for block in blocks) <= tokens * (1 + linear)
    assert tokens <= seen <= tokens / (1 - attention)


def test_the_numbers_of_rows_that_a_cpu_sees_are_few() -> None:
    layout = Layout.of("cpu")
    assert len({layout.rows(count) for count in range(1, layout.block + 1)}) == 40
    assert Layout.of("cuda").rows(13) == 13


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_laid_out_once_multiply_as_they_were(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(96, 160).to(dtype), torch.randn(96).to(dtype)
    multiply = plain(weight.clone(), bias)
    for tokens in (1, 13, 700):
        x = torch.randn(tokens, 160).to(dtype)
        expected = x.double() @ weight.double().T + bias.double()
        torch.testing.assert_close(
            multiply(x).double(), expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.15
        )


def write_classifier(folder: Path, kind: str, **changes: Any) -> tuple[Path, Any]:
    """Write a random cross-encoder of another architecture; return its folder and transformers' own model."""
    import transformers

    torch.manual_seed(1)
    settings = {
        "vocab_size": 10_600,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 130,
        "num_labels": 1,
        "initializer_range": 0.2,
        **changes,
    }
    model_config = getattr(transformers, f"{kind}Config")(**settings)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(model_config).eval()
    folder.mkdir()
    model_config.architectures = [f"{kind}ForSequenceClassification"]
    model_config.save_pretrained(folder)
    save({key: value.clone() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    return copy_tokenizer(folder), model


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Bert", {"type_vocab_size": 2}),
        ("Bert", {"hidden_act": "relu"}),
        ("Bert", {"hidden_act": "gelu_new"}),
        ("Roberta", {"pad_token_id": 1}),
        ("XLMRoberta", {"pad_token_id": 1, "type_vocab_size": 2}),
        ("Camembert", {"pad_token_id": 1}),
    ],
)
def test_logits_equal_those_of_transformers(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    folder, model = write_classifier(tmp_path / "model", kind, **changes)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    scorer = TorchScorer(folder, settings, name="random", device="cpu", precision="fp32")
    rows = rows_of([2, 128, 17, 18, 90, 5, 18])
    types = [(np.arange(len(row)) > len(row) // 2).astype(np.int32) for row in rows]
    typed = settings.get("type_vocab_size", 1) > 1
    with torch.inference_mode():
        expected = [
            model(
                input_ids=torch.from_numpy(row)[None].long(),
                token_type_ids=torch.from_numpy(kinds)[None].long() if typed else None,
            ).logits.item()
            for row, kinds in zip(rows, types, strict=True)
        ]
    np.testing.assert_allclose(scorer.run(rows, types if typed else None), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["encoder", "reranker"])
def test_texts_of_unlike_length_may_share_an_attention_group(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do on a GPU, with a mask."""
    texts = [
        "a",
        "a worker pulls tasks",
        "工作节点从队列中拉取任务。",
        "tasks and queues " * 9,
        "a worker pulls many tasks",
    ]

    def run(layout: Layout) -> Any:
        monkeypatch.setattr(Layout, "of", lambda device: layout)
        if kind == "encoder":
            return BgeM3Encoder(TINY, device="cpu").encode_documents(texts).dense
        return CrossEncoderReranker(write_reranker(tmp_path / str(layout.least_filled)), device="cpu").score(
            "which?", texts
        )

    apart = run(Layout(512, 1.0, few_shapes=True))
    np.testing.assert_allclose(run(Layout(2**62, 0.1, few_shapes=False)), apart, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(run(Layout(16, 0.5, few_shapes=True)), apart, rtol=0, atol=TOLERANCE)


def test_an_architecture_of_another_kind_runs_in_sentence_transformers(tmp_path: Path) -> None:
    folder, model = write_classifier(tmp_path / "electra", "Electra", embedding_size=48)
    reranker = CrossEncoderReranker(folder, device="cpu", max_length=64, pooling="first")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(64, strategy="only_second")
    texts = ["a worker", "tasks and queues " * 30, "x"]
    with torch.inference_mode():
        for text, score in zip(texts, reranker.score("which worker?", texts), strict=True):
            ids = tokenizer.encode("which worker?", text).ids
            logit = model(input_ids=torch.tensor([ids])).logits
            assert score == pytest.approx(torch.sigmoid(logit).item(), abs=TOLERANCE)
    with pytest.raises(InvalidInputError, match="int8"):
        CrossEncoderReranker(folder, device="cpu", precision="int8")


def test_an_embedding_model_of_another_kind_is_no_reranker(tmp_path: Path) -> None:
    """Fault 10: the head would be random numbers."""
    folder, _ = write_classifier(tmp_path / "electra", "Electra", embedding_size=48)
    from safetensors.torch import load_file

    state = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("classifier.")}
    save(state, folder / "model.safetensors")
    with pytest.raises(ModelLoadError, match="classifier"):
        CrossEncoderReranker(folder, device="cpu")


def test_weights_in_several_files_are_put_together(tmp_path: Path) -> None:
    whole = write_m3(tmp_path / "whole", safetensors=True)
    parts = write_m3(tmp_path / "parts", safetensors=True)
    from safetensors.torch import load_file

    state = load_file(parts / "model.safetensors")
    (parts / "model.safetensors").unlink()
    halves = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    for i, (key, value) in enumerate(sorted(state.items())):
        halves[sorted(halves)[i % 2]][key] = value
    for name, tensors in halves.items():
        save(tensors, parts / name)
    index = {"weight_map": {key: name for name, tensors in halves.items() for key in tensors}}
    (parts / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    texts = ["a worker pulls tasks", "工作节点"]
    expected = BgeM3Encoder(whole, device="cpu").encode_documents(texts).dense
    np.testing.assert_array_equal(BgeM3Encoder(parts, device="cpu").encode_documents(texts).dense, expected)
    (parts / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="model-00002-of-00002"):
        BgeM3Encoder(parts, device="cpu")


def test_layer_norms_named_as_in_2019_are_read(tmp_path: Path) -> None:
    new = write_reranker(tmp_path / "new")

    def rename(state: dict[str, torch.Tensor]) -> None:
        for key in list(state):
            if "LayerNorm" in key:
                state[key.replace("weight", "gamma").replace("bias", "beta")] = state.pop(key)

    old = write_reranker(tmp_path / "old", edit=rename)
    scores = [CrossEncoderReranker(folder, device="cpu").score("q", ["a worker", "b"]) for folder in (new, old)]
    np.testing.assert_array_equal(*scores)


def test_weights_that_do_not_fit_the_configuration_are_refused(tmp_path: Path) -> None:
    folder = write_m3(tmp_path / "model")
    changed = json.loads((folder / "config.json").read_text(encoding="utf-8")) | {"intermediate_size": 96}
    (folder / "config.json").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ModelLoadError, match=r"intermediate\.dense.*\(128, 64\).*\(96, 64\)"):
        BgeM3Encoder(folder, device="cpu")


def test_int8_stays_near_full_precision_on_a_trained_model() -> None:
    texts = [
        "A worker pulls tasks from the queue.",
        "工作节点从队列中拉取任务。",
        "retry",
        "How long is a token valid? " * 9,
    ]
    full, quantised = (BgeM3Encoder(TINY, device="cpu", precision=name) for name in ("fp32", "int8"))  # type: ignore[arg-type]
    assert quantised.precision == "int8"
    ours, theirs = quantised.encode_documents(texts, multi=True), full.encode_documents(texts, multi=True)
    assert (ours.dense * theirs.dense).sum(axis=1).min() > 0.995
    for row in range(len(texts)):
        weights, expected = ours.sparse_row(row).as_dict(), theirs.sparse_row(row).as_dict()
        strong = {token for token, weight in expected.items() if weight > 0.1}
        assert strong <= set(weights)
    assert quantised.fingerprint == full.fingerprint


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_scores_stay_near_full_ones(tmp_path: Path, precision: Any) -> None:
    folder = write_reranker(tmp_path / "model")
    texts = ["a worker", "tasks and queues " * 20, "工作节点"]
    full = CrossEncoderReranker(folder, device="cpu").score("which worker?", texts)
    half = CrossEncoderReranker(folder, device="cpu", precision=precision).score("which worker?", texts)
    np.testing.assert_allclose(half, full, atol=0.02)


def test_int8_on_another_device_than_the_cpu_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="runs on the CPU"):
        BgeM3Encoder(TINY, device="meta", precision="int8")


def test_neither_engine_needs_transformers(tmp_path: Path) -> None:
    """Importing transformers takes seconds; a checkpoint with a tokenizer.json needs it for nothing."""
    import subprocess
    import sys

    write_reranker(tmp_path / "reranker")
    code = (
        "import sys; from hybrid_core import BgeM3Encoder, CrossEncoderReranker\n"
        "BgeM3Encoder.tiny().encode_documents(['a']); CrossEncoderReranker(sys.argv[1]).score('q', ['a'])\n"
        "assert 'transformers' not in sys.modules and 'sentence_transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "reranker")], check=True)
