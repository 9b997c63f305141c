"""Train the encoder: contrastive pairs in and across languages, on the dense side at every step."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch

from . import tokenizer
from .initialise import start
from .loop import Run, prepare_machine
from .losses import dense_loss, full_loss, late_loss
from .model import M3, Shape
from .sampler import PASSAGE_TOKENS, Sampler

_FULL_EVERY, _LONG_EVERY, _LATE_EVERY = 2, 8, 16  # a long step is a full one too


def main() -> None:
    """Train for a number of minutes, or go on with a run that was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    prepare_machine(arguments.threads, arguments.seed)
    words = tokenizer.load(arguments.work)
    sampler = Sampler(arguments.work, words, arguments.seed)
    model = M3(Shape(words.get_vocab_size(), layers=arguments.layers))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(sampler.texts)} sections", flush=True)
    run = Run(model, arguments.work / "encoder.pt", arguments.minutes, arguments.rate)
    if run.resume():
        sampler.restore(run.sampler)
    else:
        start(model, sampler, arguments.seed)
        run = Run(model, run.path, arguments.minutes, arguments.rate)  # the clock and the average start here
    model.train()
    recent: dict[str, float] = {}
    while run.done < 1:
        shift = random.Random(run.step).choice((0, 0, 0, 100, 200, 300, 390))  # noqa: S311
        kind = "late" if run.step % _LATE_EVERY == 4 else "full" if run.step % _FULL_EVERY == 1 else "dense"
        if kind == "dense":
            queries, passages, _ = sampler.batch(arguments.batch)
            loss = dense_loss(model, queries, passages, shift)
        elif kind == "full":
            long = run.step % _LONG_EVERY == 1
            sampler.passage_tokens = 3 * PASSAGE_TOKENS if long else PASSAGE_TOKENS
            queries, passages, same = sampler.batch(arguments.batch * (3 if long else 5) // 8)
            sampler.passage_tokens = PASSAGE_TOKENS
            loss = full_loss(model, queries, passages, same, 0 if long else shift)
        else:
            queries, passages, _ = sampler.batch(arguments.batch)
            loss = dense_loss(model, queries, passages, shift) + 0.5 * late_loss(model, queries, passages)
        run.update(loss)
        recent[kind] = 0.95 * recent.get(kind, loss.item()) + 0.05 * loss.item()
        if run.step % 20 == 0:
            losses = " ".join(f"{name} {value:.3f}" for name, value in recent.items())
            print(f"{run.elapsed:6.0f} s  step {run.step}  {losses}", flush=True)
        if not torch.isfinite(loss):
            raise SystemExit("the loss is not finite: lower --rate")
        run.sampler = sampler.state()
        run.save(least_seconds=240)
    run.save()


if __name__ == "__main__":
    main()
