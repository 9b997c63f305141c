"""Scaled dot-product attention within each text of a pack: of all tokens, and of the first ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import require
from .packing import Group


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A group of texts as rows of one length, on the device.

    Attributes:
        group: the texts.
        index: (n * longest,) which token of the group stands there; None where all texts are of one length.
        real: (n, longest) whether one does; None likewise.
    """

    group: Group
    index: Any
    real: Any

    @classmethod
    def of(cls, group: Group, device: str) -> Rows:
        """Put what spreading and gathering need on the device, once for all layers."""
        if group.even:
            return cls(group, None, None)
        torch = require("torch", "torch")
        index, real = group.places()
        return cls(group, torch.from_numpy(index.reshape(-1)).to(device), torch.from_numpy(real).to(device))

    def spread(self, states: Any) -> Any:
        """Turn the group's part of (tokens, width) into (n, longest, width)."""
        part = states[self.group.start : self.group.end]
        if self.index is not None:
            part = part[self.index]
        return part.view(len(self.group.lengths), int(self.group.lengths[0]), -1)

    def gather(self, rows: Any) -> Any:
        """Turn (n, longest, width) into (tokens of the group, width)."""
        flat = rows.reshape(-1, rows.shape[-1])
        return flat if self.real is None else flat[self.real.view(-1)]


def attend(projected: Any, groups: Sequence[Rows], heads: int) -> Any:
    """Return (tokens, d) of (tokens, 3 d): queries, keys and values side by side; rows over are copies of the first."""
    torch = require("torch", "torch")
    out = []
    for rows in groups:
        part = rows.spread(projected).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        found = torch.nn.functional.scaled_dot_product_attention(
            part[0], part[1], part[2], attn_mask=None if rows.real is None else rows.real[:, None, None, :]
        )
        out.append(rows.gather(found.transpose(1, 2).flatten(2)))
    return lengthen(out, len(projected))


def lengthen(parts: Sequence[Any], rows: int) -> Any:
    """Put tensors (n, ...) below each other, and copies of the first row until there are so many rows."""
    over = rows - sum(map(len, parts))
    if over:
        parts = [*parts, parts[0][:1].expand(over, *parts[0].shape[1:])]
    return parts[0] if len(parts) == 1 else require("torch", "torch").cat(tuple(parts))


class FirstTokenAttention:
    """Attention of each text's first token over its text, for a last layer whose other states nobody reads.

    Keys and values are never made. With K = H W_k^T and V = H W_v^T, softmax(q K^T) V is
    (softmax((q W_k) H^T) H) W_v^T: products with a row for each text and head in place of a row for each token. The
    bias of the keys adds one number to all that a softmax sees, and so changes nothing. It is so little work that half
    precision, which would round q W_k and what the softmax sees, would save nothing: all of it is float32.

    Args:
        query, key, value: weight (d, d) and bias (d,) of each.
        heads: d is a multiple of them.
    """

    def __init__(self, query: tuple[Any, Any], key: tuple[Any, Any], value: tuple[Any, Any], heads: int) -> None:
        torch = require("torch", "torch")
        # copies, or they would keep the whole file mapped
        self._query, key_weight, value_weight = (part[0].to(torch.float32, copy=True) for part in (query, key, value))
        self._key, self._value = (weight.unflatten(0, (heads, -1)) for weight in (key_weight, value_weight))
        self._query_bias, self._value_bias = query[1].float(), value[1].float()

    def __call__(self, states: Any, first: Any, groups: Sequence[Rows]) -> Any:
        """Return what the first tokens attend to, shaped as `first`.

        Args:
            states: (tokens, d), of all tokens.
            first: (n, d), of each text's first token; rows beyond the texts are copies.
            groups: of the texts.
        """
        torch = require("torch", "torch")
        heads, width, _ = self._key.shape
        queries = torch.nn.functional.linear(first.float(), self._query, self._query_bias)
        asked = torch.einsum("nhw,hwd->nhd", queries.unflatten(-1, (heads, width)) / width**0.5, self._key)
        out = []
        begin = 0
        for rows in groups:
            part = asked[begin : (begin := begin + len(rows.group.lengths))]
            spread = rows.spread(states).float()
            weights = part @ spread.transpose(1, 2)
            if rows.real is not None:
                weights.masked_fill_(~rows.real[:, None, :], float("-inf"))
            out.append(torch.softmax(weights, -1) @ spread)
        pooled = torch.einsum("nhd,hwd->nhw", lengthen(out, len(first)), self._value)
        return (pooled.flatten(1) + self._value_bias).to(states.dtype)
