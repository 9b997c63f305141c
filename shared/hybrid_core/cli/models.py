"""The models that commands name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInputError

if TYPE_CHECKING:
    from ..encoders.bge_m3 import BgeM3Encoder
    from ..rerankers.base import Reranker

DEFAULT_MODEL = "BAAI/bge-m3"

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help=f"Hub name or folder, or 'tiny' for the small model in the package. "
        f"[default: the index's own, else {DEFAULT_MODEL}]",
        show_default=False,
    ),
]

RERANKER_NAMES = (
    "a hub name or folder, 'tiny' for the small one in the package, 'late' for the model's own multi-vectors, "
    "'combined' for these with its other scores, 'tei:URL', 'cohere:MODEL' and so on."
)


def load_encoder(model: str | None, folder: Path) -> BgeM3Encoder:
    """Load the encoder named, else the one that the index in the folder was built with."""
    from ..encoders.bge_m3 import BgeM3Encoder
    from ..encoders.checkpoint import TINY
    from ..stores.embedded.ledger import read_fingerprint

    built = read_fingerprint(folder)
    if built and built.sparse and model is None:
        raise InvalidInputError(
            f"the index in {folder} was built with {built.model!r} and {built.sparse!r}; open it from Python, with a "
            "SentenceTransformerEncoder"
        )
    name = model or (built.model if built else DEFAULT_MODEL)
    return BgeM3Encoder.tiny() if name == TINY else BgeM3Encoder(name)


def load_reranker(name: str | None, encoder: BgeM3Encoder) -> Reranker | None:
    """Load the reranker named, as `named_reranker` reads names; None loads none."""
    from ..rerankers.named import named_reranker

    return None if name is None else named_reranker(name, encoder)
