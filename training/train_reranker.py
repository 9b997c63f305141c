"""Train the reranker: every question of a batch against every passage of it, the encoder's own mistakes among them."""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from . import tokenizer
from .cross import CrossEncoder, cross_shape, hold, random_shift, start_from
from .directions import load_directions
from .export import load_encoder
from .loop import Run, prepare_machine
from .losses import TEMPERATURE, encode, repeats
from .model import M3
from .sampler import Ids, Sampler

QUERY_TOKENS, PASSAGE_TOKENS, LONG_TOKENS = 28, 100, 200
_CLUSTER = 6  # questions whose sections the encoder confuses: each one's section is a hard negative of the others
_SAMPLED_EVERY, _LONG_EVERY = 3, 7  # steps on the encoder's pairs, and on longer passages
_LABEL = (0.4, 0.8)  # the label's share of the target, first and last; the rest is the encoder's scores


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """One direction's questions and their candidates, as token ids without special tokens."""

    queries: list[Ids]
    documents: list[Ids]
    targets: np.ndarray
    candidates: np.ndarray
    owner: dict[int, int]  # passage -> the question it answers

    def draw(self, choose: random.Random, size: int, tokens: int) -> tuple[list[Ids], list[Ids]]:
        """Return questions and the passage that answers each, in clusters that are hard to tell apart."""
        chosen: dict[int, None] = {}
        while len(chosen) < size:
            first = choose.randrange(len(self.queries))
            near = [self.owner[k] for k in self.candidates[first].tolist() if k in self.owner]
            for i in (first, *choose.sample(near, min(_CLUSTER - 1, len(near)))):
                chosen[i] = None
        numbers = list(chosen)[:size]
        passages = [self.documents[self.targets[i]][:tokens] for i in numbers]
        return [self.queries[i][:QUERY_TOKENS] for i in numbers], passages


def load_lists(work: Path) -> list[Lists]:
    """Load what `mine` found."""
    words = tokenizer.load(work)
    mined = np.load(work / "mined.npz", allow_pickle=False)
    known: dict[str, list[Ids]] = {}

    def ids(key: str, texts: list[str]) -> list[Ids]:
        if key not in known:
            known[key] = [e.ids for e in words.encode_batch_fast(texts, add_special_tokens=False)]
        return known[key]

    return [
        Lists(
            ids(d.name, d.queries),
            ids(d.name.partition("-")[2], d.documents),
            d.targets,
            mined[f"{d.name}.numbers"],
            {int(k): i for i, k in enumerate(d.targets)},
        )
        for d in load_directions(work, "train")
    ]


@torch.no_grad()
def teacher_scores(encoder: M3, queries: list[Ids], passages: list[Ids]) -> Tensor:
    """Return the encoder's dense and sparse scores in one, as it was itself taught by."""
    q, p = (encode(encoder, [[0, *row, 2] for row in rows], full=True) for rows in (queries, passages))
    assert q.lexical is not None  # noqa: S101 - for the type checker: full=True gives it
    assert p.lexical is not None  # noqa: S101
    return 0.6 * q.dense @ p.dense.T / TEMPERATURE + q.lexical @ p.lexical.T


def list_loss(scores: Tensor, teacher: Tensor, same: Tensor, label: float) -> Tensor:
    """Cross entropy over all passages of the batch, with a target of label and teacher mixed; right ones diagonal."""
    target = (1 - label) * teacher.masked_fill(same, -1e4).softmax(1) + label * torch.eye(len(scores))
    return F.cross_entropy(scores.masked_fill(same, -1e4), target)


def main() -> None:
    """Train for a number of minutes, or go on with a run that was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=72, help="questions in a step")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    prepare_machine(arguments.threads, arguments.seed)
    lists = load_lists(arguments.work)
    sampler = Sampler(arguments.work, tokenizer.load(arguments.work), arguments.seed)
    encoder = load_encoder(arguments.work)
    model = CrossEncoder(cross_shape(encoder.shape.vocabulary))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    start_from(model, encoder)
    run = Run(model, arguments.work / "reranker.pt", arguments.minutes, arguments.rate)
    run.resume()
    model.train()
    recent: dict[str, float] = {}
    while run.done < 1:
        choose = random.Random(arguments.seed * 1_000_003 + run.step)  # noqa: S311 - the step is the state
        tokens = LONG_TOKENS if run.step % _LONG_EVERY == 0 else PASSAGE_TOKENS
        size = arguments.batch // 2 if tokens == LONG_TOKENS else arguments.batch
        if run.step % _SAMPLED_EVERY == 0:
            kind = "sampled"
            sampler.random = choose
            wrapped = sampler.batch(size)[:2]
            queries, passages = ([row[1:-1] for row in rows] for rows in wrapped)
        else:
            kind = "mined"
            queries, passages = choose.choice(lists).draw(choose, size, tokens)
        label = _LABEL[0] + (_LABEL[1] - _LABEL[0]) * run.done
        scores = model(queries, passages, random_shift(choose))
        same = repeats(queries, passages)
        loss = list_loss(scores, teacher_scores(encoder, queries, passages), same, label)
        run.update(loss)
        hold(model)
        first = float((scores.argmax(1) == torch.arange(len(queries))).float().mean())
        for name, value in ((f"{kind} loss", loss.item()), (f"{kind} first", first)):
            recent[name] = 0.97 * recent.get(name, value) + 0.03 * value
        if run.step % 20 == 0:
            print(f"{run.elapsed:6.0f} s  step {run.step}", *(f"{k} {v:.3f}" for k, v in recent.items()), flush=True)
        if not torch.isfinite(loss):
            raise SystemExit("the loss is not finite: lower --rate")
        run.save(least_seconds=180)
    run.save()


if __name__ == "__main__":
    main()
