"""A decoder-only language model over prompts that begin alike."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import require
from ...types import FloatArray, IntArray
from .loading import Source
from .prompting import Prompts
from .scoring import pad, run_padded


class CausalModel:
    """Logits of the token that follows each prompt.

    Rows are padded on the right, where no real token sees the padding. What all prompts of a call begin with (system
    prompt, instruction, query) is read once: each row goes on from its keys and values.

    Args:
        model: a `...ForCausalLM` of transformers whose head has one row (the logit), or two: yes and no, whose
            difference is the logit that a softmax over both means.
        source: what it was loaded from.
    """

    def __init__(self, model: Any, source: Source) -> None:
        self._torch = require("torch", "torch")
        self._cache_type = require("transformers", "torch").DynamicCache
        self.device, self.precision = source.device, source.precision
        self._model = model
        # only where every layer keeps all keys and values: not with a sliding window, not with a recurrent state
        layers = self._cache_type(config=model.config).layers
        self._shares = all(type(layer).__name__ == "DynamicLayer" for layer in layers)
        self._worth = 128 if self.device.startswith("cpu") else 1_024  # tokens saved that pay for one more pass

    def run(self, prompts: Prompts, batch_tokens: int) -> FloatArray:
        """Return the logit of each prompt, float32 (n,)."""
        with self._torch.inference_mode():
            shared, cache = self._read_shared(prompts.rows)
            tails = [row[shared:] for row in prompts.rows]
            return run_padded(
                tails, lambda rows: self._pass(rows, cache), batch_tokens=batch_tokens, device=self.device
            )

    def _read_shared(self, rows: Sequence[IntArray]) -> tuple[int, Any]:
        """Return how many tokens are read ahead, and the cache with their keys and values."""
        shared = shared_prefix(rows)
        if not self._shares or shared * (len(rows) - 1) < self._worth:
            return 0, None
        cache = self._cache_type(config=self._model.config)
        ids = self._torch.from_numpy(rows[0][None, :shared].astype(np.int64)).to(self.device)
        self._model(input_ids=ids, past_key_values=cache, use_cache=True)
        return shared, cache

    def _pass(self, rows: list[IntArray], cache: Any) -> FloatArray:
        torch = self._torch
        ids, lengths = pad(rows)
        if cache is not None:
            cache = copy.deepcopy(cache)  # the pass adds to it
            cache.batch_repeat_interleave(len(rows))
        out = self._model(
            input_ids=torch.from_numpy(ids).to(self.device), past_key_values=cache, use_cache=cache is not None
        )
        last = out.logits[torch.arange(len(rows)), torch.from_numpy(lengths - 1)].float()
        logits: FloatArray = (last[:, 0] - last[:, 1] if last.shape[1] == 2 else last[:, 0]).cpu().numpy()
        return logits


def shared_prefix(rows: Sequence[IntArray]) -> int:
    """Return how many tokens all rows begin with alike, at most all but the last of the shortest."""
    least = min(map(len, rows)) - 1
    heads = np.stack([row[:least] for row in rows])
    alike = (heads == heads[0]).all(axis=0)
    return least if alike.all() else int(np.argmin(alike))
