"""What transformers' own classes give for rows of token ids, one row at a time, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_core.encoders.runtimes.base import Outputs
from hybrid_core.types import FloatArray, IntArray

MIXED = (12, 1, 300, 40, 40, 512, 7, 2, 129, 128)  # tokens; 512 is all that the random checkpoints take


def rows_of(lengths: Sequence[int], seed: int = 0) -> list[IntArray]:
    """Random token ids, begun and ended by the special tokens where there is room."""
    random = np.random.default_rng(seed)
    rows = [random.integers(5, 10_600, size=n).astype(np.int32) for n in lengths]
    for row in rows:
        row[-1], row[0] = 2, 0
    return rows


def m3_reference(folder: Path, rows: Sequence[IntArray]) -> Outputs:
    """BGE-M3's three heads over XLMRobertaModel, with heads in torch's format."""
    from transformers import XLMRobertaModel

    model = XLMRobertaModel.from_pretrained(folder, add_pooling_layer=False, local_files_only=True).eval()
    sparse, multi = (torch.load(folder / f"{name}_linear.pt", weights_only=True) for name in ("sparse", "colbert"))
    normalize = torch.nn.functional.normalize
    dense, weights, vectors = [], [], []
    for row in rows:
        with torch.inference_mode():
            ids = torch.from_numpy(row[None].astype(np.int64))
            states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            dense.append(normalize(states[0], dim=-1))
            weights.append(torch.relu(states @ sparse["weight"].T + sparse["bias"])[:, 0])
            vectors.append(normalize(states[1:] @ multi["weight"].T + multi["bias"], dim=-1))
    return Outputs(torch.stack(dense).numpy(), torch.cat(weights).numpy(), torch.cat(vectors).numpy())


def logits_of(model: Any, rows: Sequence[IntArray], types: Sequence[IntArray] | None = None) -> FloatArray:
    """The logits of a sequence classification model of transformers, one row at a time."""
    logits = []
    for i, row in enumerate(rows):
        ids = torch.from_numpy(row[None].astype(np.int64))
        kinds = None if types is None else torch.from_numpy(types[i][None].astype(np.int64))
        with torch.inference_mode():
            out = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=kinds)
        logits.append(out.logits.reshape(-1))
    return np.asarray(torch.cat(logits).numpy())


def assert_same(found: Outputs, expected: Outputs, tolerance: float = 1e-5) -> None:
    """All that both have is equal."""
    for name in ("dense", "weights", "multi"):
        here, there = getattr(found, name), getattr(expected, name)
        assert here.dtype == np.float32
        np.testing.assert_allclose(here, there, rtol=0, atol=tolerance, err_msg=name)
