"""Train the reranker: one right section against the wrong ones that the encoder ranked highest."""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from . import tokenizer
from .cross import CrossEncoder, cross_shape, logits, pair_ids, start_from
from .directions import load_directions
from .export import load_encoder
from .loop import Run, prepare_machine

QUERY_TOKENS, PASSAGE_TOKENS = 28, 84
HARD, RANDOM = 6, 1  # wrong sections in a list, from the fused list and from the whole pool
_LABEL = 0.8  # the label's share of the target; the rest is the encoder's fused scores
_SHARPNESS = 8.0  # of the fused scores (0 to 1) as a distribution


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """One direction's questions and their candidates, as token ids without special tokens."""

    queries: list[list[int]]
    documents: list[list[int]]
    targets: np.ndarray
    numbers: np.ndarray
    scores: np.ndarray

    def draw(self, choose: random.Random) -> tuple[list[list[int]], list[float]]:
        """Return one list of pairs, the right one first, and the encoder's score of each."""
        i = choose.randrange(len(self.queries))
        right = int(self.targets[i])
        body = self.documents[right]
        wrong = [
            (int(k), float(score))
            for k, score in zip(self.numbers[i], self.scores[i], strict=False)
            if k != right and self.documents[k] != body
        ]
        chosen = [(right, float(self.scores[i][-1])), *choose.sample(wrong, HARD)]
        chosen += [(choose.randrange(len(self.documents)), 0.0) for _ in range(RANDOM)]
        query = self.queries[i][:QUERY_TOKENS]
        return [pair_ids(query, self.documents[k][:PASSAGE_TOKENS]) for k, _ in chosen], [s for _, s in chosen]


def load_lists(work: Path) -> list[Lists]:
    """Load what `mine` found."""
    words = tokenizer.load(work)
    mined = np.load(work / "mined.npz", allow_pickle=False)
    known: dict[int, list[list[int]]] = {}

    def ids(texts: list[str]) -> list[list[int]]:
        key = hash(tuple(texts))
        if key not in known:
            known[key] = [e.ids for e in words.encode_batch_fast(texts, add_special_tokens=False)]
        return known[key]

    return [
        Lists(ids(d.queries), ids(d.documents), d.targets, mined[f"{d.name}.numbers"], mined[f"{d.name}.scores"])
        for d in load_directions(work, "train")
    ]


def list_loss(scores: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Cross entropy with a target of label and teacher mixed; scores are (lists, pairs), the right pair first."""
    target = (1 - _LABEL) * (teacher * _SHARPNESS).softmax(1)
    target[:, 0] += _LABEL
    return F.cross_entropy(scores, target)


def main() -> None:
    """Train for a number of minutes, or go on with a run that was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--lists", type=int, default=40)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    prepare_machine(arguments.threads, arguments.seed)
    lists = load_lists(arguments.work)
    encoder = load_encoder(arguments.work)
    model = CrossEncoder(cross_shape(encoder.shape.vocabulary))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    start_from(model, encoder)
    run = Run(model, arguments.work / "reranker.pt", arguments.minutes, arguments.rate)
    run.resume()
    model.train()
    loss_mean, right_mean = 2.0, 0.0
    while run.done < 1:
        choose = random.Random(arguments.seed * 1_000_003 + run.step)  # noqa: S311 - the step is the state
        drawn = [choose.choice(lists).draw(choose) for _ in range(arguments.lists)]
        scores = logits(model, [row for rows, _ in drawn for row in rows], chunk=80).view(arguments.lists, -1)
        loss = list_loss(scores, torch.tensor([teacher for _, teacher in drawn]))
        run.update(loss)
        loss_mean = 0.98 * loss_mean + 0.02 * loss.item()
        right_mean = 0.98 * right_mean + 0.02 * float((scores.argmax(1) == 0).float().mean())
        if run.step % 25 == 0:
            print(f"{run.elapsed:6.0f} s  step {run.step}  loss {loss_mean:.3f}  first {right_mean:.3f}", flush=True)
        run.save(least_seconds=180)
    run.save()


if __name__ == "__main__":
    main()
