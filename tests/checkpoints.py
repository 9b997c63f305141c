"""Small checkpoints with random weights in the very layout of the released ones, for tests of loading and parity."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

TINY = Path(str(files("hybrid_core") / "models" / "tiny_m3"))
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
HIDDEN, LENGTH = 64, 512  # 514 positions, of which RoBERTa leaves the first two to padding

State = dict[str, torch.Tensor]
Edit = Callable[[State], None]


def config(**changes: Any) -> Any:
    """The architecture of the random checkpoints: two layers, the vocabulary of the tiny tokenizer."""
    from transformers import XLMRobertaConfig

    settings = {
        "vocab_size": 10_600,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": LENGTH + 2,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "initializer_range": 0.2,  # wide, so that texts lie far apart
    }
    return XLMRobertaConfig(**{**settings, **changes})


def write_m3(folder: Path, *, seed: int = 0, safetensors: bool = False, edit: Edit | None = None) -> Path:
    """Write a checkpoint laid out as BAAI/bge-m3 is: pytorch_model.bin and two heads as .pt.

    Args:
        folder: made if missing.
        seed: of the random weights.
        safetensors: weights and heads in that format instead.
        edit: changes the weights of the transformer before they are written.
    """
    from transformers import XLMRobertaModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = XLMRobertaModel(config(architectures=["XLMRobertaModel"]), add_pooling_layer=False)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if edit:
        edit(state)
    model.config.save_pretrained(folder)
    save(state, folder / ("model.safetensors" if safetensors else "pytorch_model.bin"))
    suffix = ".safetensors" if safetensors else ".pt"
    for head, width in (("sparse_linear", 1), ("colbert_linear", HIDDEN)):
        save(linear(width), folder / f"{head}{suffix}")
    return copy_tokenizer(folder)


def write_reranker(folder: Path, *, labels: int = 1, seed: int = 0, edit: Edit | None = None) -> Path:
    """Write a cross-encoder laid out as BAAI/bge-reranker-base is."""
    from transformers import XLMRobertaForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    architectures = ["XLMRobertaForSequenceClassification"]
    model = XLMRobertaForSequenceClassification(config(num_labels=labels, architectures=architectures))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if edit:
        edit(state)
    model.config.save_pretrained(folder)
    save(state, folder / "model.safetensors")
    return copy_tokenizer(folder)


def linear(width: int) -> State:
    """Random weights of a head; wide enough that about half of all tokens get a sparse weight."""
    return {"weight": torch.randn(width, HIDDEN) * 0.3, "bias": torch.randn(width) * 0.1}


def copy_tokenizer(folder: Path) -> Path:
    """Copy the tiny model's tokenizer, with the length that these checkpoints have."""
    for name in TOKENIZER_FILES:
        shutil.copy(TINY / name, folder / name)
    path = folder / "tokenizer_config.json"
    settings = {**json.loads(path.read_text(encoding="utf-8")), "model_max_length": LENGTH}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return folder


def save(state: State, path: Path) -> None:
    """Save tensors in the format that the file's name tells."""
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)


@contextmanager
def forward_passes(encoder: Any) -> Iterator[list[int]]:
    """Yield a list that gets the number of texts of each forward pass of the encoder's transformer."""
    passes: list[int] = []
    run = encoder._runtime.run

    def note(rows: Any, *, multi: bool) -> Any:
        passes.append(len(rows))
        return run(rows, multi=multi)

    encoder._runtime.run = note
    try:
        yield passes
    finally:
        del encoder._runtime.run


def flag_m3(folder: Path, *, length: int) -> Any:
    """Return FlagEmbedding's own encoder over a checkpoint: what ours is compared with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports and its loading warn of other projects' deprecations
        from FlagEmbedding import BGEM3FlagModel

        return BGEM3FlagModel(
            str(folder),
            use_fp16=False,
            devices="cpu",
            batch_size=32,
            passage_max_length=length,
            query_max_length=length,
            return_sparse=True,
            return_colbert_vecs=True,
        )


def flag_reranker(folder: Path, *, length: int) -> Any:
    """Return FlagEmbedding's own reranker over a checkpoint, with scores in [0, 1].

    On transformers 5 FlagEmbedding turns token ids into text and back, which loses blanks and line ends. It still uses
    `prepare_for_model`, the method of transformers 4, where the tokenizer has it: so the tokenizer gets it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from FlagEmbedding import FlagReranker

        reranker = FlagReranker(
            str(folder), normalize=True, use_fp16=False, devices="cpu", batch_size=32, max_length=length
        )
    begin, end = reranker.tokenizer.bos_token_id, reranker.tokenizer.eos_token_id

    def prepare_for_model(query: list[int], passage: list[int], *, max_length: int, **_: Any) -> dict[str, list[int]]:
        first, second = [begin, *query, end], [end, *passage[: max_length - len(query) - 4], end]
        pair = {"input_ids": first + second, "attention_mask": [1] * len(first + second)}
        if "token_type_ids" in reranker.tokenizer.model_input_names:
            pair["token_type_ids"] = [0] * len(first) + [1] * len(second)
        return pair

    reranker.tokenizer.prepare_for_model = prepare_for_model
    return reranker
