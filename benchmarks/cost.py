"""What scoring one passage costs with each reranker people name, at its own size.

The checkpoints have random weights in the released models' shapes and the small model's tokenizer: what a pass costs
follows from the shapes and the number of tokens alone. A vocabulary is looked up, not multiplied, and is left small.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hybrid_core import (
    BgeLlmReranker,
    BgeM3Encoder,
    CrossEncoderReranker,
    LateInteractionReranker,
    MonoT5Reranker,
    Qwen3Reranker,
)
from hybrid_core.rerankers.base import Reranker

from .measure import hardware, in_turns, table, write_section
from .models import TOKENIZER, add_arguments, clean, make
from .texts import QUERY, passages

_VOCABULARY = 10_600


@dataclass(frozen=True, slots=True)
class Shape:
    """A released model's shape.

    Attributes:
        name: the row's name.
        architecture, config: of transformers; the config's own defaults elsewhere.
        open: what scores with it, by precision.
        precisions: those to measure.
    """

    name: str
    architecture: str
    config: dict[str, Any]
    open: Callable[[Path, Any], Reranker]
    precisions: tuple[str, ...] = ("fp32", "int8")


def _cross_encoder(folder: Path, precision: Any) -> Reranker:
    return CrossEncoderReranker(folder, device="cpu", precision=precision)


def _roberta(layers: int, width: int, heads: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 8194 if width == 1024 else 514,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "num_labels": 1,
    }


SHAPES = (
    Shape(
        "BAAI/bge-reranker-v2-m3, -large",
        "XLMRobertaForSequenceClassification",
        _roberta(24, 1024, 16),
        _cross_encoder,
    ),
    Shape("BAAI/bge-reranker-base", "XLMRobertaForSequenceClassification", _roberta(12, 768, 12), _cross_encoder),
    Shape(
        "cross-encoder/ms-marco-MiniLM-L6-v2",
        "BertForSequenceClassification",
        {
            "num_hidden_layers": 6,
            "hidden_size": 384,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
            "num_labels": 1,
        },
        _cross_encoder,
    ),
    Shape(
        "Qwen/Qwen3-Reranker-0.6B",
        "Qwen3ForCausalLM",
        {
            "num_hidden_layers": 28,
            "hidden_size": 1024,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 3072,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
        lambda folder, precision: Qwen3Reranker(folder, device="cpu", precision=precision),
        ("fp32",),
    ),
    Shape(
        "BAAI/bge-reranker-v2-gemma",
        "GemmaForCausalLM",
        {
            "num_hidden_layers": 18,
            "hidden_size": 2048,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "intermediate_size": 16_384,
        },
        lambda folder, precision: BgeLlmReranker(folder, device="cpu", precision=precision),
        ("fp32",),
    ),
    Shape(
        "castorini/monot5-base-msmarco-10k",
        "T5ForConditionalGeneration",
        {"num_layers": 12, "num_decoder_layers": 12, "d_model": 768, "d_ff": 3072, "num_heads": 12},
        lambda folder, precision: MonoT5Reranker(folder, device="cpu", precision=precision),
        ("fp32",),
    ),
    Shape(
        "unicamp-dl/mt5-base-mmarco-v2",
        "MT5ForConditionalGeneration",
        {"num_layers": 12, "num_decoder_layers": 12, "d_model": 768, "d_ff": 2048, "num_heads": 12},
        lambda folder, precision: MonoT5Reranker(folder, device="cpu", precision=precision),
        ("fp32",),
    ),
)


def write(folder: Path, shape: Shape) -> int:
    """Write a checkpoint of this shape; return the number of its parameters, word embeddings left out."""
    import transformers

    torch.manual_seed(0)
    kind = getattr(transformers, shape.architecture)
    model = kind(kind.config_class(vocab_size=_VOCABULARY, architectures=[shape.architecture], **shape.config))
    words = model.get_input_embeddings().weight
    count = sum(weight.numel() for weight in model.parameters() if weight.shape[0] != len(words))
    model.save_pretrained(folder)
    for name in ("tokenizer_config.json", "tokenizer.json"):
        text = (TOKENIZER / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace('"model_max_length": 512', '"model_max_length": 8192'), "utf-8")
    return count


def main() -> None:
    """Score the same passages with every reranker, one model at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--count", type=int, default=20, help="passages a call")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    texts = passages(arguments.count, seed=1)
    rows: list[list[str]] = []

    def row(name: str, size: str, rerankers: dict[str, Reranker]) -> None:
        seconds = in_turns({key: lambda one=one: one.score(QUERY, texts) for key, one in rerankers.items()}, rounds)
        cells = [f"{1e3 * seconds[key] / len(texts):,.1f}" if key in seconds else "" for key in ("fp32", "int8")]
        rows.append([name, size, *cells])
        print(json.dumps(rows[-1]), flush=True)

    rounds = arguments.rounds
    for shape in SHAPES:
        if arguments.only not in shape.name:
            continue
        folder = arguments.models / "cost"
        try:
            count = write(folder, shape)
            gc.collect()
            opened = {precision: shape.open(folder, precision) for precision in shape.precisions}
            row(shape.name, f"{count / 1e6:,.0f} M", opened)
            del opened
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        gc.collect()
    if not arguments.only:
        full = make(arguments.models, layers=24, reranker=False)
        late: dict[str, Reranker] = {
            precision: LateInteractionReranker(BgeM3Encoder(full, device="cpu", precision=precision))
            for precision in ("fp32", "int8")
        }
        row("late interaction, BAAI/bge-m3", "303 M", late)
        row("the tiny model", "", {"fp32": CrossEncoderReranker.tiny()})
        words = sum(len(text.split()) for text in texts) / len(texts)
        note = (
            f"{hardware()}. {len(texts)} passages of {words:.0f} words on average, medians of {rounds} turns; random "
        )
        note += "weights in the released models' shapes. Parameters without word embeddings, which are only looked up."
        header = ["", "parameters", "fp32, ms a passage", "int8"]
        write_section("One passage, by reranker", f"{note}\n\n{table(header, rows)}")
    if arguments.clean:
        clean(arguments.models)


if __name__ == "__main__":
    main()
