"""The other libraries, used as their documentation says."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # their progress bars


def flag_m3(folder: Path, device: str) -> Any:
    """Return FlagEmbedding's BGEM3FlagModel: half precision on a GPU, full on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from FlagEmbedding import BGEM3FlagModel

        return BGEM3FlagModel(str(folder), use_fp16=device != "cpu", devices=device)


def flag_reranker(folder: Path, device: str) -> Any:
    """Return FlagEmbedding's FlagReranker."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from FlagEmbedding import FlagReranker

        return FlagReranker(str(folder), use_fp16=device != "cpu", devices=device)


def cross_encoder(folder: Path, device: str) -> Any:
    """Return sentence-transformers' CrossEncoder."""
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(folder), device=device)
