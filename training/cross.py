"""The reranker: a cross-encoder whose attention is laid out so that a batch can be scored all against all.

A cross-encoder usually pays its whole depth for every pair, and so learns from a handful of wrong passages a question.
This one has three layers with fixed views (after MORES, arXiv 2004.13313): in the first every token sees its own text
only, in the second the question's tokens see the passage, in the third CLS sees the question. A passage's first layer
is then the same for every question, and the rest works on the few tokens of the question.

The views are not a matter of the code that runs the model, which is transformers' own: they are in the weights. Four
features of the hidden state tell the two token types apart, and two dimensions of every head turn them into scores that
softmax rounds to zero. `hold` keeps these weights as they are while all others learn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .losses import pad
from .model import M3, PAD, Layer, Shape, Transformer, drop

LONGEST = 256  # tokens of a pair
_SEES = ("own text", "passage", "question")  # what each layer's attention is shown
_FEATURES = 4  # two for each token type, equal but for the sign, so that a layer norm's mean cancels
_TYPE = 0.18  # the size of those features; a word's are about 0.05
_STRENGTH = 4_000.0  # layer norms shrink the features from layer to layer; what is left has to be enough


class Head(nn.Module):
    """The classification head of XLM-RoBERTa."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.out_proj = nn.Linear(hidden, 1)

    def forward(self, states: Tensor) -> Tensor:
        """Return one logit a text."""
        logits: Tensor = self.out_proj(torch.tanh(self.dense(states)))
        return logits.squeeze(-1)


class CrossEncoder(nn.Module):
    """The state dict of XLMRobertaForSequenceClassification with one label and two token types."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.roberta = Transformer(shape)
        self.classifier = Head(shape.hidden)
        hold(self)

    def forward(self, queries: Sequence[list[int]], passages: Sequence[list[int]], shift: int) -> Tensor:
        """Score every query against every passage.

        Args:
            queries: token ids without special tokens.
            passages: the same.
            shift: how many tokens stand before a passage; in use it is the query's length and two.

        Returns:
            Logits (queries, passages).
        """
        first, second, third = self.roberta.layers
        asked = pad([[0, *query, 2] for query in queries])
        real = asked != PAD
        states = self._read(first, asked, 0, 0)[real]  # (tokens of all queries, d): no padding from here on
        place = torch.zeros(asked.shape, dtype=torch.long)
        place[real] = torch.arange(int(real.sum()))
        order = sorted(range(len(passages)), key=lambda i: len(passages[i]))
        columns = []
        for chunk in torch.tensor_split(torch.tensor(order), 4 if len(order) >= 16 else 1):
            texts = pad([[2, *passages[int(i)], 2] for i in chunk])
            seen = self._read(first, texts, 1, shift)
            met = self._meet(second, states, seen, texts != PAD)
            columns.append(self._judge(third, met, place, real))
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(columns)[back].T

    def _read(self, layer: Layer, ids: Tensor, kind: int, shift: int) -> Tensor:
        """The first layer: a text by itself."""
        states = self.roberta.embeddings(ids, shift, kind=kind, whole=True)
        states = drop(states, self.roberta.dropout, training=self.training)
        return layer(states, (ids != PAD)[:, None, None, :], None, self.roberta.dropout)

    def _meet(self, layer: Layer, asked: Tensor, seen: Tensor, real: Tensor) -> Tensor:
        """The second layer: all query tokens (tokens, d) look at each passage; return (passages, tokens, d)."""
        attention, heads, dropout = layer.attention["self"], self.shape.heads, self.roberta.dropout
        q = attention.query(asked).unflatten(-1, (heads, -1)).transpose(0, 1)[None].expand(len(seen), -1, -1, -1)
        k, v = (part(seen).unflatten(-1, (heads, -1)).transpose(1, 2) for part in (attention.key, attention.value))
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :]).transpose(1, 2).flatten(-2)
        states = layer.attention["output"](found, asked[None].expand_as(found), dropout)
        return layer.output(F.gelu(layer.intermediate["dense"](states)), states, dropout)

    def _judge(self, layer: Layer, met: Tensor, place: Tensor, real: Tensor) -> Tensor:
        """The third layer: CLS looks at its query's tokens; return logits (passages, queries)."""
        attention, heads, dropout = layer.attention["self"], self.shape.heads, self.roberta.dropout
        passages, (queries, longest) = len(met), place.shape
        k, v = (
            part(met)[:, place].unflatten(-1, (heads, -1)).flatten(0, 1).transpose(1, 2)
            for part in (attention.key, attention.value)
        )
        begin = met[:, place[:, 0]].flatten(0, 1)[:, None]
        q = attention.query(begin).unflatten(-1, (heads, -1)).transpose(1, 2)
        mask = real[None].expand(passages, -1, -1).reshape(passages * queries, 1, 1, longest)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)
        states = layer.attention["output"](found, begin, dropout)
        states = layer.output(F.gelu(layer.intermediate["dense"](states)), states, dropout)
        logits: Tensor = self.classifier(states[:, 0]).view(passages, queries)
        return logits


def cross_shape(vocabulary: int) -> Shape:
    """Return sizes that fit 6 MB in half precision."""
    return Shape(vocabulary, hidden=192, heads=6, inner=352, layers=3, positions=LONGEST + 2, types=2)


@torch.no_grad()
def hold(model: CrossEncoder) -> None:
    """Put the weights that make the views back to what they have to be.

    With a = (x0 - x1) / 2, which is 0 in a passage's tokens, and b = (x2 - x3) / 2, which is 0 in a question's, the
    scores of what a layer is not shown fall by the product of a and b, and all others by exactly nothing.
    """
    embeddings, hidden = model.roberta.embeddings, model.shape.hidden
    question, passage = torch.zeros(2, hidden)
    question[0], question[1] = 0.5, -0.5
    passage[2], passage[3] = 0.5, -0.5
    for table in (embeddings.word_embeddings, embeddings.position_embeddings):
        table.weight[:, :_FEATURES] = 0
    embeddings.token_type_embeddings.weight[:, :_FEATURES] = 2 * _TYPE * torch.stack([question, passage])[:, :_FEATURES]
    norms = [embeddings.LayerNorm]
    wide = hidden // model.shape.heads
    for layer, sees in zip(model.roberta.layers, _SEES, strict=True):
        attention, residuals = layer.attention["self"], (layer.attention["output"], layer.output)
        norms += [part.LayerNorm for part in residuals]
        for part in residuals:
            part.dense.weight[:_FEATURES] = 0
            part.dense.bias[:_FEATURES] = 0
        for head in range(model.shape.heads):
            rows = slice((head + 1) * wide - 2, (head + 1) * wide)
            attention.query.bias[rows] = torch.tensor([0.0, 0.0]) if sees == "own text" else torch.tensor([1.0, 0.0])
            attention.key.bias[rows] = 0
            attention.query.weight[rows] = torch.stack([question, passage]) if sees == "own text" else 0
            hidden_from = {"own text": (passage, question), "passage": (question, 0 * question),
                           "question": (passage, 0 * passage)}[sees]  # fmt: skip
            attention.key.weight[rows] = -_STRENGTH * torch.stack(hidden_from)
    for norm in norms:
        norm.weight[:_FEATURES] = 1
        norm.bias[:_FEATURES] = 0


@torch.no_grad()
def start_from(model: CrossEncoder, encoder: M3) -> None:
    """Start from the encoder's word embeddings, with a first layer that averages and a second that compares words."""
    hidden, free = model.shape.hidden, model.shape.hidden - _FEATURES
    layer_norm = encoder.transformer.embeddings.LayerNorm
    words = F.layer_norm(encoder.transformer.embeddings.word_embeddings.weight, (encoder.shape.hidden,))
    words = words * layer_norm.weight
    words = words - words.mean(0)
    _, _, axes = torch.linalg.svd(words, full_matrices=False)
    turn, _ = torch.linalg.qr(torch.randn(free, free))
    short = F.normalize(words @ axes[:free].T @ turn, dim=-1)
    embeddings = model.roberta.embeddings
    embeddings.word_embeddings.weight[:, _FEATURES:] = short * 0.05 * free**0.5
    embeddings.position_embeddings.weight.mul_(0.2)
    embeddings.token_type_embeddings.weight.mul_(0.2)
    for i, layer in enumerate(model.roberta.layers):
        attention = layer.attention["self"]
        nn.init.eye_(attention.value.weight)
        layer.attention["output"].dense.weight.copy_((0.5, 1.0, 1.0)[i] * torch.eye(hidden))
        if i == 1:
            compare, _ = torch.linalg.qr(torch.randn(hidden, hidden))
            attention.query.weight.copy_(compare)
            attention.key.weight.copy_(compare)
    hold(model)


def random_shift(choose: random.Random) -> int:
    """Draw how many tokens stand before a passage: those of a question, mostly a short one, and two special ones."""
    return choose.choice((4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 21, 26)) + 2


def load_reranker(work: Path) -> CrossEncoder:
    """Load the trained reranker from its checkpoint."""
    state = torch.load(work / "reranker.pt", weights_only=True)["average"]
    model = CrossEncoder(cross_shape(len(state["roberta.embeddings.word_embeddings.weight"])))
    model.load_state_dict(state)
    hold(model)  # averaging rounds
    return model.eval()
