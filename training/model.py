"""One-layer XLM-RoBERTa with M3's heads, written out so that training pays only for what a loss needs.

The dense vector is the CLS state alone. With one layer every other position is needed for its key and value only, which
is a quarter of the work; a step that trains the dense side alone takes that short way. Names of parameters are those of
transformers' XLMRobertaModel, so that a checkpoint is this module's state dict.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

PAD = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model."""

    vocabulary: int
    hidden: int = 256
    heads: int = 8
    inner: int = 512
    layers: int = 1
    positions: int = 514
    types: int = 1


def drop(states: Tensor, share: float, *, training: bool) -> Tensor:
    """Drop features of (n, tokens, d), the same ones at every token of a text: a mask a text is drawn faster."""
    if not training or share == 0:
        return states
    mask = torch.empty(len(states), 1, states.shape[-1]).bernoulli_(1 - share).div_(1 - share)
    return states * mask


class Embeddings(nn.Module):
    """Word and position, summed and normalised."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.hidden, padding_idx=PAD)
        self.position_embeddings = nn.Embedding(shape.positions, shape.hidden, padding_idx=PAD)
        self.token_type_embeddings = nn.Embedding(shape.types, shape.hidden)
        self.LayerNorm = nn.LayerNorm(shape.hidden, eps=1e-5)

    def forward(self, ids: Tensor, shift: int = 0, *, kind: int = 0, whole: bool = False) -> Tensor:
        """Embed texts of one token type; `shift` moves all but the first token, or the `whole` text."""
        mask = (ids != PAD).long()
        places = mask.cumsum(1) * mask
        places = torch.where(places > (0 if whole else 1), places + shift * mask, places) + PAD
        words = self.word_embeddings(ids) + self.position_embeddings(places) + self.token_type_embeddings.weight[kind]
        return self.LayerNorm(words)


class SelfAttention(nn.Module):
    """Attention of the first `rows` positions (None: of all) over all."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query, self.key, self.value = (nn.Linear(shape.hidden, shape.hidden) for _ in range(3))

    def forward(self, states: Tensor, mask: Tensor, rows: int | None) -> Tensor:
        """Attend; `mask` is (n, 1, 1, tokens), true where there is a token."""
        asked = states if rows is None else states[:, :rows]
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, asked), (self.key, states), (self.value, states))
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2).flatten(-2)


class Residual(nn.Module):
    """A linear map, added to what went in, normalised."""

    def __init__(self, wide: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(wide, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=1e-5)

    def forward(self, wide: Tensor, states: Tensor, dropout: float) -> Tensor:
        """Project, drop, add, normalise."""
        return self.LayerNorm(states + drop(self.dense(wide), dropout, training=self.training))


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(shape), "output": Residual(shape.hidden, shape.hidden)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(shape.hidden, shape.inner)})
        self.output = Residual(shape.inner, shape.hidden)

    def forward(self, states: Tensor, mask: Tensor, rows: int | None, dropout: float) -> Tensor:
        """Return the new states of the first `rows` positions (None: of all)."""
        attended = self.attention["self"](states, mask, rows)
        kept = states if rows is None else states[:, :rows]
        kept = self.attention["output"](attended, kept, dropout)
        return self.output(F.gelu(self.intermediate["dense"](kept)), kept, dropout)


class Transformer(nn.Module):
    """Embeddings and layers: the state dict of XLMRobertaModel without a pooling layer."""

    def __init__(self, shape: Shape, dropout: float = 0.05) -> None:
        super().__init__()
        self.dropout = dropout
        self.embeddings = Embeddings(shape)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(shape) for _ in range(shape.layers))})
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=0.03)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)

    @property
    def layers(self) -> list[Layer]:
        """The layers in order."""
        return [part for part in self.encoder["layer"].children() if isinstance(part, Layer)]

    def forward(self, ids: Tensor, *, cls_only: bool = False, shift: int = 0) -> Tensor:
        """Return states (n, tokens, d), or (n, 1, d) of CLS."""
        mask = (ids != PAD)[:, None, None, :]
        states = drop(self.embeddings(ids, shift), self.dropout, training=self.training)
        layers = self.layers
        for i, layer in enumerate(layers):
            states = layer(states, mask, 1 if cls_only and i == len(layers) - 1 else None, self.dropout)
        return states


class M3(nn.Module):
    """The transformer and the two heads beside the dense CLS state."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.transformer = Transformer(shape)
        self.sparse_linear = nn.Linear(shape.hidden, 1)
        self.colbert_linear = nn.Linear(shape.hidden, shape.hidden)
        nn.init.normal_(self.sparse_linear.weight, std=0.02)
        nn.init.constant_(self.sparse_linear.bias, 0.3)
        nn.init.eye_(self.colbert_linear.weight)
        nn.init.zeros_(self.colbert_linear.bias)

    def lexical(self, ids: Tensor, states: Tensor) -> Tensor:
        """Return (n, vocabulary) weights, the maximum over repeats, special tokens at zero."""
        weights = torch.relu(self.sparse_linear(states)).squeeze(-1) * (ids > 4)
        empty = weights.new_zeros(len(ids), self.shape.vocabulary)
        return empty.scatter_reduce(1, ids, weights, "amax", include_self=True)
