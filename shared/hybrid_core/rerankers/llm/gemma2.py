"""Gemma 2 that merges neighbouring tokens of the passage on the way up, as bge-reranker-v2.5-gemma2-lightweight does.

Layers and embeddings are transformers' own; what is here is the way through them. At each layer named, every `ratio`
consecutive states of the passage are replaced by their mean, those of the query and the instruction are kept, and
positions are counted anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...encoders.runtimes.weights import read_weights
from ...errors import InvalidInputError, ModelLoadError, require
from ...types import FloatArray, IntArray
from .layers import check_cutoff, lower_layers, take_head
from .loading import Source, load
from .prompting import Prompts
from .scoring import pad, run_padded

ARCHITECTURE = "CostWiseGemmaForCausalLM"
_RATIOS = (1, 2, 4, 8)
_COPIED = """vocab_size hidden_size intermediate_size num_attention_heads num_key_value_heads head_dim hidden_activation
    rms_norm_eps max_position_embeddings rope_theta attention_bias query_pre_attn_scalar sliding_window""".split()


class LightweightGemma2:
    """Logits of a scoring head after some layer, with compression on the way.

    Two things are as FlagEmbedding has them. The first head scores, whatever the layer: it numbers heads by the layers
    asked for, and here that is one. And attention scores are not soft-capped, which its attention passes over.

    Args:
        source: the checkpoint.
        cutoff_layer: score after this many layers; None is all. The layers beyond are not kept.
        compress_ratio: how many neighbouring tokens become one: 1, 2, 4 or 8.
        compress_layers: the layers before which that happens, counted from 0.

    Raises:
        ModelLoadError: a weight is missing, or the variant is one that is not computed here.
        InvalidInputError: an argument is out of range.
    """

    def __init__(
        self, source: Source, cutoff_layer: int | None, compress_ratio: int, compress_layers: Sequence[int]
    ) -> None:
        torch, transformers = require("torch", "torch"), require("transformers", "torch")
        self._torch, self.device, self.precision = torch, source.device, source.precision
        config = source.config
        if not config.get("layer_wise"):
            raise ModelLoadError(
                f"{source.name!r} has layer_wise={config.get('layer_wise')!r}; only True is computed here"
            )
        possible = range(config["start_layer"], config["num_hidden_layers"] + 1, config["layer_sep"])
        cutoff = check_cutoff(cutoff_layer, possible, source.name)
        self._ratio = compress_ratio
        self._compress = check_compression(compress_ratio, compress_layers, cutoff)
        state = read_weights(source.folder, source.name)
        head = take_head(state, 0, source.name)
        settings = {key: config[key] for key in _COPIED}
        self._model = load(
            type("Gemma2", (transformers.Gemma2Model,), {"_supports_sdpa": True}),  # it is soft-capping that forbids it
            source,
            settings={**settings, "num_hidden_layers": cutoff, "attn_logit_softcapping": None},
            state=lower_layers(state, cutoff),
        )
        self._head = head.to(device=self.device, dtype=torch.float32)
        self._cap = config["final_logit_softcapping"]
        self._window = int(config["sliding_window"])

    def run(self, prompts: Prompts, batch_tokens: int) -> FloatArray:
        """Return the logit of each prompt, float32 (n,)."""
        before, after = prompts.before, prompts.after
        return run_padded(
            prompts.rows,
            lambda rows: self._pass(rows, before, after),
            batch_tokens=batch_tokens,
            device=self.device,
        )

    def _pass(self, rows: list[IntArray], before: int, after: int) -> FloatArray:
        torch = self._torch
        with torch.inference_mode():
            ids, lengths = pad(rows)
            words = self._model.embed_tokens.weight
            states = torch.nn.functional.embedding(torch.from_numpy(ids).to(self.device), words)
            states = states * torch.tensor(words.shape[1] ** 0.5, dtype=words.dtype)
            places, masks = self._positions(states)
            for number, layer in enumerate(self._model.layers):
                if number in self._compress:
                    index, weight, lengths = merges(lengths, before, after, self._ratio)
                    states = self._merge(states, index, weight)
                    places, masks = self._positions(states)
                out = layer(states, attention_mask=masks[number % 2], position_embeddings=places)
                states = out[0] if isinstance(out, tuple) else out  # a tuple before transformers 5
            last = self._model.norm(states[torch.arange(len(rows)), torch.from_numpy(lengths - 1)])
            logits = (last.float() @ self._head.T)[:, 0]
            if self._cap is not None:
                logits = torch.tanh(logits / self._cap) * self._cap
            found: FloatArray = logits.cpu().numpy()
        return found

    def _positions(self, states: Any) -> tuple[Any, tuple[Any, Any]]:
        """Return the rotations of all positions, and the masks of even layers (a sliding window) and odd ones.

        None is the causal mask: padding stands on the right, where no real token looks.
        """
        torch = self._torch
        steps = torch.arange(states.shape[1], device=self.device)
        window = None
        if len(steps) > self._window:
            back = steps[:, None] - steps
            window = ((back >= 0) & (back < self._window))[None, None]
        return self._model.rotary_emb(states, steps[None]), (window, None)

    def _merge(self, states: Any, index: NDArray[np.int64], weight: NDArray[np.float32]) -> Any:
        torch = self._torch
        flat = states.flatten(0, 1)
        picked = torch.from_numpy(index).to(self.device)
        shares = torch.from_numpy(weight).to(self.device, states.dtype)
        merged = flat[picked[..., 0]] * shares[..., :1]
        for k in range(1, index.shape[-1]):
            merged += flat[picked[..., k]] * shares[..., k : k + 1]
        return merged


def merges(
    lengths: NDArray[np.int64], before: int, after: int, ratio: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Plan the merging of padded rows.

    Args:
        lengths: tokens of each row; the longest is the rows' width.
        before: tokens at the beginning that are kept.
        after: tokens at the end that are kept.
        ratio: how many tokens of the passage between them become one; fewer at its end.

    Returns:
        For each place of the new rows (n, width, ratio) which tokens of the old rows, laid end to end, go into it, and
        with what share; and the new lengths (n,).
    """
    width = int(lengths.max())
    passages = lengths - before - after
    shorter = -(-passages // ratio)
    new_lengths = before + shorter + after
    place = np.arange(int(new_lengths.max()))[None, :]
    inside = (place >= before) & (place < (before + shorter)[:, None])
    # the first token of each place: itself ahead of the passage, every ratio-th in it, moved to the left behind it
    moved = place + (passages - shorter)[:, None]
    first = np.where(place < before, place, np.where(inside, before + (place - before) * ratio, moved))
    count = np.where(inside, np.minimum(ratio, (before + passages)[:, None] - first), 1)
    real = place < new_lengths[:, None]
    steps = np.arange(ratio)
    taken = real[..., None] & (steps < count[..., None])
    index = np.where(taken, first[..., None] + steps, 0) + (np.arange(len(lengths)) * width)[:, None, None]
    return index, np.where(taken, 1.0 / count[..., None], 0.0).astype(np.float32), new_lengths


def check_compression(ratio: int, layers: Sequence[int], cutoff: int) -> frozenset[int]:
    """Return the layers to compress before.

    Raises:
        InvalidInputError: there is no such ratio, or no such layer below the cutoff.
    """
    if ratio not in _RATIOS:
        raise InvalidInputError(f"compress_ratio={ratio!r} must be one of {', '.join(map(str, _RATIOS))}")
    if ratio == 1:
        return frozenset()
    if not isinstance(layers, (list, tuple)) or not layers or any(layer not in range(1, cutoff) for layer in layers):
        raise InvalidInputError(
            f"compress_layers={layers!r:.80}: a list of one or more from 1 to {cutoff - 1} are needed, below the cutoff"
        )
    return frozenset(layers)
