"""Exported cross-encoders give the logits of transformers' sequence classification models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checkpoints import copy_tokenizer, save
from onnx_reference import MIXED, logits_of, rows_of

from hybrid_core.encoders.runtimes.base import ScorerRuntime
from hybrid_core.encoders.runtimes.onnx_scorer import OnnxScorer
from hybrid_core.export import export_model
from hybrid_core.types import IntArray


def write(folder: Path, kind: str, **changes: Any) -> Any:
    """Write a random cross-encoder; return transformers' own model."""
    torch.manual_seed(4)
    settings = {
        "vocab_size": 10_600,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 514,
        "num_labels": 1,
        "initializer_range": 0.2,
        **changes,
    }
    config = getattr(transformers, f"{kind}Config")(**settings)
    config.architectures = [f"{kind}ForSequenceClassification"]
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    folder.mkdir()
    config.save_pretrained(folder)
    save({key: value.clone() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    copy_tokenizer(folder)
    return model


def types_of(rows: list[IntArray]) -> list[IntArray]:
    """Zeros for the first half of each row, ones for the second."""
    return [(np.arange(len(row)) >= len(row) / 2).astype(np.int32) for row in rows]


def test_logits_agree_with_transformers_on_xlm_roberta(onnx_scorer: OnnxScorer, random_reranker: Path) -> None:
    model = transformers.XLMRobertaForSequenceClassification.from_pretrained(random_reranker, local_files_only=True)
    rows = rows_of(MIXED)
    found = onnx_scorer.run(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, logits_of(model, rows), rtol=0, atol=1e-5)


def test_logits_agree_with_transformers_on_bert_with_token_types(tmp_path: Path) -> None:
    model = write(tmp_path / "model", "Bert", type_vocab_size=2, pad_token_id=0)
    rows = rows_of(MIXED)
    types = types_of(rows)
    scorer = OnnxScorer(export_model(tmp_path / "model", tmp_path / "onnx").folder, threads=1)
    np.testing.assert_allclose(scorer.run(rows, types), logits_of(model, rows, types), rtol=0, atol=1e-5)
    np.testing.assert_allclose(scorer.run(rows), logits_of(model, rows), rtol=0, atol=1e-5)
    assert np.abs(scorer.run(rows, types) - scorer.run(rows)).max() > 1e-3


@pytest.mark.parametrize(("kind", "layers"), [("Roberta", 3), ("Bert", 1)])
def test_other_depths_and_kinds_agree_with_transformers(tmp_path: Path, kind: str, layers: int) -> None:
    model = write(tmp_path / "model", kind, num_hidden_layers=layers, pad_token_id=1)
    rows = rows_of([33, 1, 200])
    scorer = OnnxScorer(export_model(tmp_path / "model", tmp_path / "onnx").folder, threads=1)
    np.testing.assert_allclose(scorer.run(rows), logits_of(model, rows), rtol=0, atol=1e-5)


def test_int8_logits_stay_near(random_reranker: Path, onnx_scorer: OnnxScorer, tmp_path: Path) -> None:
    scorer: ScorerRuntime = OnnxScorer(
        export_model(random_reranker, tmp_path / "q", precision="int8").folder, threads=1
    )
    assert (scorer.backend, scorer.device, scorer.precision) == ("onnx", "cpu", "int8")
    rows = rows_of(MIXED)
    exact = onnx_scorer.run(rows)
    assert np.abs(scorer.run(rows) - exact).max() < 0.1 * np.ptp(exact)
