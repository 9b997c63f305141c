"""Random checkpoints of BGE-M3's and bge-reranker-v2-m3's own size, with the small model's tokenizer."""

from __future__ import annotations

import argparse
import shutil
from importlib.resources import files
from pathlib import Path

import torch

from hybrid_core.encoders.runtimes.onnx_folder import is_export
from hybrid_core.export.folder import export_model

FULL = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "max_position_embeddings": 8194}
TOKENIZER = Path(str(files("hybrid_core") / "models" / "tiny_m3"))


def make(folder: Path, *, layers: int, reranker: bool) -> Path:
    """Write a checkpoint of full width, or take the one that is there.

    The vocabulary is the small tokenizer's (10,600 pieces), not the released models' 250,002: the table of word
    embeddings is looked up, not multiplied, so that its size changes memory and not speed.

    Args:
        folder: gets the checkpoint in a folder named by its kind and its layers.
        layers: 24 in the released models.
        reranker: a cross-encoder, else an M3 encoder with its two heads.
    """
    import transformers

    place = folder / f"{'reranker' if reranker else 'm3'}-{layers}"
    if (place / "tokenizer.json").is_file():
        return place
    torch.manual_seed(0)
    kind = "XLMRobertaForSequenceClassification" if reranker else "XLMRobertaModel"
    config = transformers.XLMRobertaConfig(
        vocab_size=10_600,
        num_hidden_layers=layers,
        type_vocab_size=1,
        pad_token_id=1,
        num_labels=1,
        layer_norm_eps=1e-5,
        architectures=[kind],
        **FULL,
    )
    options = {} if reranker else {"add_pooling_layer": False}
    getattr(transformers, kind)(config, **options).save_pretrained(place)
    if not reranker:
        for head, rows in (("sparse_linear", 1), ("colbert_linear", FULL["hidden_size"])):
            linear = torch.nn.Linear(FULL["hidden_size"], rows)
            torch.save(linear.state_dict(), place / f"{head}.pt")
    for name in ("tokenizer_config.json", "tokenizer.json"):  # the last file marks a whole checkpoint
        text = (
            (TOKENIZER / name)
            .read_text(encoding="utf-8")
            .replace('"model_max_length": 512', '"model_max_length": 8192')
        )
        (place / name).write_text(text, encoding="utf-8")
    return place


def exported(folder: Path, precision: str) -> Path:
    """Export a checkpoint for ONNX Runtime, or take the export that is there."""
    target = folder.with_name(f"{folder.name}-onnx-{precision}")
    return target if is_export(target) else export_model(folder, target, precision=precision).folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark takes."""
    parser.add_argument("--models", type=Path, default=Path("build/models"), help="where random checkpoints are kept")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every system; the median counts")
    parser.add_argument("--threads", type=int, default=0, help="of torch and ONNX Runtime; 0 is one a core")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clean", action="store_true", help="delete the checkpoints at the end")


def clean(folder: Path) -> None:
    """Delete the checkpoints."""
    shutil.rmtree(folder, ignore_errors=True)
