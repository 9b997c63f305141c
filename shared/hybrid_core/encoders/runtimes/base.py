"""What an engine under the encoders and cross-encoders does: token ids in, float32 arrays out, nothing padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from ...types import FloatArray, IntArray

Backend: TypeAlias = Literal["auto", "torch", "onnx"]
Precision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What one pass over n texts gave; tokens follow each other text by text, without padding.

    Attributes:
        dense: (n, d) float32 unit rows: the normalised CLS state.
        weights: (tokens,) float32 >= 0: relu(W_lex h) of every token, special ones too.
        multi: (tokens - n, d) float32 unit rows: the normalised W_mul h of every token but CLS; None unless asked for.
    """

    dense: FloatArray
    weights: FloatArray
    multi: FloatArray | None


class EncoderRuntime(Protocol):
    """Runs an M3 model."""

    @property
    def backend(self) -> str:
        """The engine: "torch" or "onnx"."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, as torch names it."""
        ...

    @property
    def precision(self) -> str:
        """The arithmetic: "fp32", "fp16", "bf16" or "int8"."""
        ...

    def run(self, rows: Sequence[IntArray], *, multi: bool) -> Outputs:
        """Run texts, given as token ids with special tokens, in one pass."""
        ...


class ScorerRuntime(Protocol):
    """Runs a cross-encoder."""

    @property
    def backend(self) -> str:
        """The engine: "torch" or "onnx"."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, as torch names it."""
        ...

    @property
    def precision(self) -> str:
        """The arithmetic: "fp32", "fp16", "bf16" or "int8"."""
        ...

    def run(self, rows: Sequence[IntArray], types: Sequence[IntArray] | None = None) -> FloatArray:
        """Return the logit of each pair (n,), given as token ids and, for models of BERT's kind, token types."""
        ...
