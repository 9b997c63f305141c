"""The reranker: query and passage in one sequence, started from the encoder so that it can match words at once.

The time for training is short, so nothing that can be set is left to be learned. The word embeddings are the encoder's,
turned onto their principal axes, and the first layer's attention starts as a comparison of words: half of the heads
look towards the front of the sequence, where the question is, and half away from it. What comes back carries a mark of
where it was found; the second layer's CLS reads these marks.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .model import M3, PAD, Shape, Transformer

_FRONT = 8  # a position by which most questions have ended
_MARK = 0.5  # how strong the mark of a position is, beside a word


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
    """The state dict of XLMRobertaForSequenceClassification with one label."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.roberta = Transformer(shape)
        self.classifier = Head(shape.hidden)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (n,) of padded pairs."""
        logits: Tensor = self.classifier(self.roberta(ids, cls_only=True)[:, 0])
        return logits


def cross_shape(vocabulary: int) -> Shape:
    """Return sizes that fit 6 MB in half precision."""
    return Shape(vocabulary, hidden=192, heads=6, inner=384, layers=2)


def pair_ids(query: list[int], passage: list[int]) -> list[int]:
    """Join two texts, both without special tokens, as the tokenizer's template does."""
    return [0, *query, 2, 2, *passage, 2]


def logits(model: CrossEncoder, rows: list[list[int]], chunk: int = 256) -> Tensor:
    """Score rows in chunks of like length, in the order given."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    out = []
    for at in range(0, len(rows), chunk):
        some = [rows[i] for i in order[at : at + chunk]]
        longest = len(some[-1])
        out.append(model(torch.tensor([row + [PAD] * (longest - len(row)) for row in some])))
    back = torch.empty(len(rows), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(rows))
    return torch.cat(out)[back]


@torch.no_grad()
def start_from(model: CrossEncoder, encoder: M3) -> None:
    """Set the embeddings from the encoder's, and the first layer to compare words."""
    hidden = model.shape.hidden
    layer_norm = encoder.transformer.embeddings.LayerNorm
    words = F.layer_norm(encoder.transformer.embeddings.word_embeddings.weight, (encoder.shape.hidden,))
    words = words * layer_norm.weight
    _, _, axes = torch.linalg.svd(words - words.mean(0), full_matrices=False)
    turn, _ = torch.linalg.qr(torch.randn(hidden, hidden))
    short = F.normalize((words - words.mean(0)) @ axes[:hidden].T @ turn, dim=-1)
    embeddings = model.roberta.embeddings
    embeddings.word_embeddings.weight.copy_(short * 0.05 * hidden**0.5)
    mark = F.normalize(torch.randn(hidden), dim=0)
    place = torch.arange(model.shape.positions) - PAD - 1
    front = torch.sigmoid((_FRONT - place) / 1.5)[:, None] * 2 - 1
    embeddings.position_embeddings.weight.mul_(0.1).add_(front * mark * _MARK * 0.05 * hidden**0.5)
    embeddings.token_type_embeddings.weight.mul_(0.1)
    first = model.roberta.layers[0].attention
    attention = first["self"]
    compare, _ = torch.linalg.qr(torch.randn(hidden, hidden))
    # CLS compares itself with nothing, and no word is compared by its place: what is left of CLS's query is the bias
    ends = embeddings(torch.tensor([[0, 2]]))[0]
    marks = torch.stack([ends[0], ends[1], mark], 1)
    apart, _ = torch.linalg.qr(marks)
    attention.query.weight.copy_(compare @ (torch.eye(hidden) - apart @ apart.T))
    attention.key.weight.copy_(compare)
    half, wide = hidden // 2, hidden // model.shape.heads
    for head in range(model.shape.heads):
        sign = 1.0 if head < model.shape.heads // 2 else -1.0
        fixed = F.normalize(torch.randn(wide), dim=0) * 0.5 * wide**0.25
        rows = slice(head * wide, (head + 1) * wide)
        attention.query.bias[rows] = fixed
        attention.key.weight[rows] += sign * 1.4 * torch.outer(fixed, mark)
    # CLS pools the question into one half of its state and the passage into the other, by the same map
    words_only = (torch.eye(hidden) - apart @ apart.T)[:half]
    attention.value.weight.copy_(torch.cat([words_only, words_only]))
    first["output"].dense.weight.copy_(3.0 * torch.eye(hidden))
    first["output"].dense.bias.copy_(-ends[0])
    # |a + b|^2 - |a - b|^2 = 4ab, and gelu(x) + gelu(-x) is nearly a square: the inner layer multiplies the halves
    layer = model.roberta.layers[0]
    eye = torch.eye(half)
    plus, minus = torch.cat([eye, eye], 1), torch.cat([eye, -eye], 1)
    layer.intermediate["dense"].weight.copy_(torch.cat([plus, -plus, minus, -minus]) * 0.7)
    spread = F.normalize(torch.randn(hidden, 1), dim=0) + 0.5 * F.normalize(torch.randn(hidden, half), dim=0)
    layer.output.dense.weight.copy_(torch.cat([spread, spread, -spread, -spread], 1) * 0.5)


def load_reranker(work: Path) -> CrossEncoder:
    """Load the trained reranker from its checkpoint."""
    state = torch.load(work / "reranker.pt", weights_only=True)["average"]
    model = CrossEncoder(cross_shape(len(state["roberta.embeddings.word_embeddings.weight"])))
    model.load_state_dict(state)
    return model.eval()
