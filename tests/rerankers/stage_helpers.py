"""What the tests of the precision stage share: checkpoints of other kinds, a recorder of passes, and a clock."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoints import TOKENIZER_FILES, save
from tokenizers import Tokenizer

from hybrid_core import CrossEncoderReranker
from hybrid_core.types import FloatArray

TINY_RERANKER = Path(str(files("hybrid_core") / "models" / "tiny_reranker"))


def corpus(language: str = "en") -> list[str]:
    """The demo's passages in one language."""
    lines = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["text"] for row in map(json.loads, lines) if row["metadata"]["lang"] == language]


def write_classifier(folder: Path, kind: str, **changes: Any) -> Path:
    """Write a random cross-encoder of another architecture, 128 tokens a row, whose tokenizer tells texts apart."""
    import transformers

    torch.manual_seed(1)
    settings = {
        "vocab_size": 10_600,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 128,
        "num_labels": 1,
        "initializer_range": 0.2,
        **changes,
    }
    config = getattr(transformers, f"{kind}Config")(**settings)
    config.architectures = [f"{kind}ForSequenceClassification"]
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    folder.mkdir()
    config.save_pretrained(folder)
    save({key: value.clone() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    for name in TOKENIZER_FILES:
        shutil.copy(TINY_RERANKER / name, folder / name)
    return folder


def tokenizer_of(folder: Path, *, max_length: int | None = None) -> Tokenizer:
    """The tokenizer as published; with a length, cutting the text and never the query."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_length is not None:
        tokenizer.enable_truncation(max_length, strategy="only_second")
    return tokenizer


def sigmoid(logits: Sequence[float]) -> FloatArray:
    """Scores as the reranker makes them of logits."""
    return (1.0 / (1.0 + np.exp(-np.array(logits, dtype=np.float64)))).astype(np.float32)


@contextmanager
def row_lengths(reranker: CrossEncoderReranker) -> Iterator[list[list[int]]]:
    """Yield a list that gets the lengths of the rows of each forward pass."""
    passes: list[list[int]] = []
    run = reranker._runtime.run

    def note(rows: Any, types: Any = None) -> Any:
        passes.append([len(row) for row in rows])
        return run(rows, types)

    reranker._runtime.run = note  # type: ignore[method-assign]
    try:
        yield passes
    finally:
        del reranker._runtime.run


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class WordCount:
    """Scores a text by the share of its words that the query has; each text takes its time on the clock.

    Attributes:
        fixed, rate: seconds of a call, and of each UTF-8 byte of query and text.
        load: what all is multiplied by; a function is asked before each call.
        calls: the texts of each call.
    """

    def __init__(
        self, clock: Clock, *, fixed: float = 0.0, rate: float = 0.0, load: Callable[[], float] | None = None
    ) -> None:
        self.name = "word count"
        self.clock, self.fixed, self.rate = clock, fixed, rate
        self.load = load or (lambda: 1.0)
        self.calls: list[list[str]] = []

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        self.calls.append(list(texts))
        weight = sum(len(text.encode()) + len(query.encode()) for text in texts)
        self.clock.now += self.load() * (self.fixed + self.rate * weight)
        wanted = set(query.split())
        shares = [np.mean([word in wanted for word in text.split()] or [False]) for text in texts]
        return np.array(shares, dtype=np.float32)
