"""Write a training checkpoint in the layout that FlagEmbedding, sentence-transformers and transformers load."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from . import tokenizer
from .cross import CrossEncoder, load_reranker
from .model import M3, Shape

_MOST_BYTES, _SMALL_FILES = 6_000_000, 10_000  # of the reranker's folder; of its configuration and file headers
_HEADS = ("sparse_linear", "colbert_linear")


def configuration(shape: Shape, architecture: str) -> dict[str, Any]:
    """Return config.json."""
    config: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": "xlm-roberta",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.05,
        "attention_probs_dropout_prob": 0.05,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",  # what to compute in: the file holds halves, and a CPU is slow at them
    }
    if architecture.endswith("SequenceClassification"):
        config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    return config


def write_model(
    folder: Path, state: dict[str, Tensor], config: dict[str, Any], words: Tokenizer, max_length: int
) -> None:
    """Write weights in half precision, config, and a tokenizer that names the most tokens the model is good for."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.half().contiguous() for name, value in state.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config)
    tokenizer.save(words, folder, max_length, typed=config["type_vocab_size"] > 1)


def write_encoder(folder: Path, state: dict[str, Tensor], shape: Shape, work: Path) -> None:
    """Write the encoder: BGE-M3's files, the heads both as safetensors and as the `.pt` that FlagEmbedding reads."""
    body = {
        name.removeprefix("transformer."): value for name, value in state.items() if name.startswith("transformer.")
    }
    write_model(folder, body, configuration(shape, "XLMRobertaModel"), tokenizer.load(work), shape.positions - 2)
    for head in _HEADS:
        tensors = {part: state[f"{head}.{part}"].half().contiguous() for part in ("weight", "bias")}
        torch.save(tensors, folder / f"{head}.pt")
        save_file(tensors, folder / f"{head}.safetensors")
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    _write_json(folder / "modules.json", modules)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": shape.positions - 2, "do_lower_case": False})
    pooling = {
        "word_embedding_dimension": shape.hidden,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    _write_json(folder / "1_Pooling" / "config.json", pooling)


def write_reranker(folder: Path, reranker: CrossEncoder, work: Path) -> None:
    """Write the reranker, its vocabulary cut down until all of its files fit into `_MOST_BYTES`."""
    words, kept = tokenizer.load(work), list(range(reranker.shape.vocabulary))
    state = reranker.state_dict()
    table = "roberta.embeddings.word_embeddings.weight"
    size = 2 * sum(value.numel() for value in state.values()) + len(words.to_str().encode()) + _SMALL_FILES
    too_many = -(-(size - _MOST_BYTES) // (2 * reranker.shape.hidden))
    if too_many > 0:
        words, kept = tokenizer.without_rarest(words, list(tokenizer.texts(work)), too_many)
    shape = replace(reranker.shape, vocabulary=len(kept))
    config = configuration(shape, "XLMRobertaForSequenceClassification")
    write_model(folder, {**state, table: state[table][kept]}, config, words, shape.positions - 2)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def load_encoder(work: Path, weights: str = "average") -> M3:
    """Load the trained encoder from its checkpoint."""
    state = torch.load(work / "encoder.pt", weights_only=True)[weights]
    layers = 1 + max(int(name.split(".")[3]) for name in state if name.startswith("transformer.encoder.layer."))
    vocabulary, hidden = state["transformer.embeddings.word_embeddings.weight"].shape
    model = M3(Shape(vocabulary, hidden, layers=layers))
    model.load_state_dict(state)
    return model.eval()


def main() -> None:
    """Export what there is: the encoder, and the reranker once it is trained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="gets tiny_m3 and tiny_reranker")
    arguments = parser.parse_args()
    model = load_encoder(arguments.work)
    write_encoder(arguments.output / "tiny_m3", model.state_dict(), model.shape, arguments.work)
    if (arguments.work / "reranker.pt").exists():
        write_reranker(arguments.output / "tiny_reranker", load_reranker(arguments.work), arguments.work)
    for path in arguments.output.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes files that only their owner can read
    for folder in sorted(arguments.output.iterdir()):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{folder.name}: {size:,} bytes")


if __name__ == "__main__":
    main()
