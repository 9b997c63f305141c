"""Contrastive losses of the three heads, and the distillation of M3 from their sum (arXiv 2402.03216, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .model import M3, PAD
from .sampler import Ids

TEMPERATURE = 0.04
_CHUNKS = 4  # texts of like length share a pass: less padding
_LATE_PAIRS = 64


@dataclass(slots=True)
class Side:
    """What one pass over queries or passages gave; tokens are in chunks, in the order of `order`."""

    dense: Tensor
    lexical: Tensor | None


def pad(rows: list[Ids]) -> Tensor:
    """Return (n, longest) ids."""
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


def encode(model: M3, rows: list[Ids], *, full: bool, shift: int = 0) -> Side:
    """Run texts, sorted by length, and return their vectors in the order given."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    size = -(-len(rows) // _CHUNKS)
    dense, lexical = [], []
    for at in range(0, len(rows), size):
        ids = pad([rows[i] for i in order[at : at + size]])
        states = model.transformer(ids, cls_only=not full, shift=shift)
        dense.append(F.normalize(states[:, 0], dim=-1))
        if full:
            lexical.append(model.lexical(ids, states))
    back = torch.empty(len(rows), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(rows))
    return Side(torch.cat(dense)[back], torch.cat(lexical)[back] if full else None)


def repeats(queries: list[Ids], passages: list[Ids]) -> Tensor:
    """Return which (query, passage) are no negatives, because one side is the same text as the pair's own."""
    out = torch.zeros(len(queries), len(queries), dtype=torch.bool)
    for rows in (queries, passages):
        number: dict[tuple[int, ...], int] = {}
        keys = torch.tensor([number.setdefault(tuple(row), len(number)) for row in rows])
        out |= keys[:, None] == keys[None, :]
    return out.fill_diagonal_(False)


def both_ways(logits: Tensor, same: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of each query over the passages, and at a third of the weight of each passage over the queries."""
    logits = logits.masked_fill(same, -1e4)
    target = torch.arange(len(logits))
    rows = F.cross_entropy(logits, target, reduction="none") + 0.33 * F.cross_entropy(
        logits.T, target, reduction="none"
    )
    return rows.mean() if weights is None else (rows * weights).sum() / weights.sum()


def dense_loss(model: M3, queries: list[Ids], passages: list[Ids], shift: int) -> Tensor:
    """The short way: CLS only."""
    q, p = encode(model, queries, full=False), encode(model, passages, full=False, shift=shift)
    return both_ways(q.dense @ p.dense.T / TEMPERATURE, repeats(queries, passages))


def full_loss(model: M3, queries: list[Ids], passages: list[Ids], lexical: list[bool], shift: int) -> Tensor:
    """Dense, sparse, their sum, and the sum as a teacher of both."""
    q, p = encode(model, queries, full=True), encode(model, passages, full=True, shift=shift)
    assert q.lexical is not None  # noqa: S101 - for the type checker: full=True gives it
    assert p.lexical is not None  # noqa: S101
    same = repeats(queries, passages)
    dense = q.dense @ p.dense.T / TEMPERATURE
    sparse = q.lexical @ p.lexical.T
    weights = torch.where(torch.tensor(lexical), 1.0, 0.3)
    total = 0.6 * dense + sparse
    loss = both_ways(dense, same) + both_ways(sparse, same, weights) + 0.5 * both_ways(total, same)
    teacher = total.detach().masked_fill(same, -1e4).softmax(1)
    for student, amount in ((dense, 0.3), (sparse, 0.1)):
        loss = loss + amount * F.cross_entropy(student.masked_fill(same, -1e4), teacher)
    return loss


def late_loss(model: M3, queries: list[Ids], passages: list[Ids]) -> Tensor:
    """Contrast by late interaction, on a part of the batch: its cost grows with the square."""
    queries, passages = queries[:_LATE_PAIRS], passages[:_LATE_PAIRS]
    sides = []
    for rows in (queries, passages):
        ids = pad(rows)
        vectors = F.normalize(model.colbert_linear(model.transformer(ids)[:, 1:]), dim=-1)
        sides.append((vectors, ids[:, 1:] != PAD))
    (q, q_mask), (p, p_mask) = sides
    scores = torch.einsum("aid,bjd->abij", q, p).masked_fill(~p_mask[None, :, None, :], -1e4).amax(-1)
    mean = (scores * q_mask[:, None, :]).sum(-1) / q_mask.sum(-1)[:, None]
    return both_ways(mean / 0.05, repeats(queries, passages))
