"""Small checkpoints with random weights that sentence-transformers' own modules put together and save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from checkpoints import HIDDEN, config, copy_tokenizer

VOCABULARY = 10_600
PROMPTS = {"query": "query: ", "document": "passage: "}


def bert(**changes: Any) -> Any:
    """The architecture of all-MiniLM-L6-v2 and its kin, two layers of it, with the vocabulary of the tiny tokenizer."""
    from transformers import BertConfig

    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 512,
        "pad_token_id": 1,
        "initializer_range": 0.2,
    }
    return BertConfig(**{**settings, **changes})


def write_plain(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Write a plain transformer: "bert", "xlm-roberta", "mlm" (BERT with its head) or "classifier"."""
    from transformers import BertForMaskedLM, BertForSequenceClassification, BertModel, XLMRobertaModel

    torch.manual_seed(seed)
    match kind:
        case "bert":
            model: Any = BertModel(bert())
        case "mlm":
            model = BertForMaskedLM(bert())
        case "classifier":
            model = BertForSequenceClassification(bert(num_labels=1))
        case _:
            model = XLMRobertaModel(config())
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    return copy_tokenizer(folder)


def write_dense(
    folder: Path,
    kind: str = "bert",
    *,
    pooling: str = "mean",
    prompts: dict[str, str] | None = None,
    width: int | None = None,
    length: int | None = None,
    seed: int = 0,
) -> Path:
    """Write a SentenceTransformer.

    Args:
        folder: made if missing.
        kind: "bert" or "xlm-roberta".
        pooling: "mean" or "cls".
        prompts: stored in the checkpoint.
        width: of a dense layer on top.
        length: tokens of a text that it sees.
        seed: of the random weights.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    plain = write_plain(folder.with_name(f"{folder.name}-plain"), kind, seed=seed)
    modules: list[Any] = [Transformer(str(plain), max_seq_length=length), Pooling(HIDDEN, pooling)]
    if width is not None:
        modules.append(Dense(HIDDEN, width))
    SentenceTransformer(modules=modules, prompts=prompts or {}, device="cpu").save_pretrained(str(folder))
    return folder


def write_splade(folder: Path, *, free: bool = False, seed: int = 0) -> Path:
    """Write a SparseEncoder over a vocabulary; `free` gives queries a table of weights instead of the model."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    plain = write_plain(folder.with_name(f"{folder.name}-plain"), "mlm", seed=seed)
    transformer = Transformer(str(plain), transformer_task="fill-mask", max_seq_length=64)
    modules: list[Any] = [transformer, SpladePooling("max")]
    if free:
        table = SparseStaticEmbedding(transformer.tokenizer, torch.rand(VOCABULARY) + 0.1, frozen=True)
        modules = [Router.for_query_document([table], modules)]
    SparseEncoder(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder
