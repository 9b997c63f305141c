"""Reranking 50 passages of mixed length: milliseconds a query."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from hybrid_core import CrossEncoderReranker

from .measure import hardware, in_turns, table, write_section
from .models import add_arguments, clean, exported, make
from .peers import cross_encoder, flag_reranker
from .texts import QUERY, passages

_BATCHES = (4, 8, 16, 32)


def main() -> None:
    """Run ours and the peers at each batch size, and write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--layers", type=int, default=6, help="24 is bge-reranker-v2-m3's size, and takes minutes")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    folder = make(arguments.models, layers=arguments.layers, reranker=True)
    texts = passages(50, seed=1)
    pairs = [(QUERY, text) for text in texts]
    flag, library = flag_reranker(folder, arguments.device), cross_encoder(folder, arguments.device)
    systems: dict[str, Callable[[], object]] = {}
    for size in _BATCHES:
        systems[f"FlagReranker, batch {size}"] = lambda b=size: flag.compute_score(pairs, batch_size=b, max_length=1024)
        systems[f"CrossEncoder, batch {size}"] = lambda b=size: library.predict(pairs, batch_size=b)
    precisions = ("fp32", "int8") if arguments.device == "cpu" else ("fp32", "fp16", "bf16")
    for precision in precisions:
        ours = CrossEncoderReranker(folder, device=arguments.device, precision=precision)
        systems[f"ours, {precision}"] = lambda one=ours: one.score(QUERY, texts)
    for precision in ("fp32", "int8") if arguments.device == "cpu" else ():
        ours = CrossEncoderReranker(exported(folder, precision))
        systems[f"ours, ONNX {precision}"] = lambda one=ours: one.score(QUERY, texts)
    seconds = in_turns(systems, arguments.rounds)
    best = {
        peer: min((name for name in systems if name.startswith(peer)), key=seconds.__getitem__)
        for peer in ("FlagReranker", "CrossEncoder")
    }
    shown = [*best.values(), *(name for name in systems if name.startswith("ours"))]
    rows = [
        [name, f"{1e3 * seconds[name]:,.0f}", *(f"{seconds[best[peer]] / seconds[name]:.2f}" for peer in best)]
        for name in shown
    ]
    body = table(["", "ms", "against FlagReranker at its best", "against CrossEncoder at its best"], rows)
    note = (
        f"{hardware(arguments.device)}. {arguments.layers} layers of width 1024, medians of {arguments.rounds} turns; "
    )
    note += f"batch sizes tried for the peers: {', '.join(map(str, _BATCHES))}."
    where = "" if arguments.device == "cpu" else f" on {arguments.device}"
    write_section(f"Reranking 50 passages, {arguments.layers} layers{where}", f"{note}\n\n{body}")
    if arguments.clean:
        clean(arguments.models)


if __name__ == "__main__":
    main()
