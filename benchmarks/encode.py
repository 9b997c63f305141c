"""Encoding: tokens per second of documents, milliseconds of a query; dense and sparse out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hybrid_core import BgeM3Encoder

from .measure import flops, hardware, in_turns, peak, table, write_section
from .models import add_arguments, clean, exported, make
from .peers import flag_m3
from .texts import QUERY, passages

_BATCHES = (4, 8, 16)  # of which the peer's best is taken


def open_ours(folder: Path, device: str) -> dict[str, BgeM3Encoder]:
    """Return our encoder in every precision that this device has."""
    if device != "cpu":
        return {f"ours, {p}": BgeM3Encoder(folder, device=device, precision=p) for p in ("fp32", "fp16", "bf16")}
    found = {f"ours, {p}": BgeM3Encoder(folder, device=device, precision=p) for p in ("fp32", "int8")}
    return found | {f"ours, ONNX {p}": BgeM3Encoder(exported(folder, p)) for p in ("fp32", "int8")}


def documents(folder: Path, layers: int, count: int, arguments: argparse.Namespace, *, best: bool) -> str:
    """Return the table for a call of `count` texts."""
    texts = passages(count, median=40, longest=130)
    ours, flag = open_ours(folder, arguments.device), flag_m3(folder, arguments.device)
    encoder = next(iter(ours.values()))
    tokens = sum(min(encoder.token_count(text) + 2, 8192) for text in texts)

    def peer(batch: int) -> Callable[[], object]:
        return lambda: flag.encode(texts, batch_size=batch, return_dense=True, return_sparse=True)

    systems: dict[str, Callable[[], object]] = {"FlagEmbedding as it comes (batch 256)": peer(256)}
    if best:
        systems |= {f"FlagEmbedding, batch {b}": peer(b) for b in _BATCHES}
    for name, one in ours.items():
        systems[name] = lambda one=one: one.encode_documents(texts)
    flag.encode([QUERY], return_dense=True, return_sparse=True)  # what any first call does once
    for one in ours.values():
        one.encode_documents([QUERY])
    seconds = in_turns(systems, arguments.rounds, warm=False)
    first = next(iter(systems))
    peers = [name for name in systems if name.startswith("FlagEmbedding")]
    fastest = min(peers, key=seconds.__getitem__)
    limit = peak(device=arguments.device)
    rows = []
    for name, took in seconds.items():
        share = f"{flops(layers, tokens) / took / limit:.0%}"
        rows.append(
            [name, f"{tokens / took:,.0f}", f"{seconds[first] / took:.2f}", f"{seconds[fastest] / took:.2f}", share]
        )
    tried = fastest.rpartition(", ")[2] if best else "tried: this one"
    header = ["", "tokens/s", "against it as it comes", f"against its best ({tried})", "of the fp32 peak"]
    note = f"{count} texts, {tokens:,} tokens ({tokens / count:.0f} a text), {layers} layers of width 1024, "
    note += "one turn" if arguments.rounds == 1 else f"medians of {arguments.rounds} turns"
    note += f". fp32 matrix-product peak of this machine: {limit / 1e9:,.0f} GFLOP/s."
    return f"{note}\n\n{table(header, rows)}"


def queries(folder: Path, arguments: argparse.Namespace) -> str:
    """Return the table for one query at a time, and what our code adds to the bare forward pass."""
    ours, flag = open_ours(folder, arguments.device), flag_m3(folder, arguments.device)
    number = iter(range(100, 1_000))  # every question is a new one, which no cache knows, and of as many tokens

    def ask(one: Any) -> Callable[[], object]:
        return lambda: one.encode_queries([f"{QUERY} {next(number)}"])

    def bare(one: BgeM3Encoder) -> Callable[[], object]:
        rows = one._tokenize([f"{QUERY} 100"], one._query)
        return lambda: one._runtime.run(rows, multi=False)

    systems: dict[str, Callable[[], object]] = {
        "FlagEmbedding": lambda: flag.encode([f"{QUERY} {next(number)}"], return_dense=True, return_sparse=True)
    }
    for name, one in ours.items():
        systems[name] = ask(one)
        systems[f"{name}, forward pass alone"] = bare(one)
    seconds = in_turns(systems, 4 * arguments.rounds)
    first = seconds["FlagEmbedding"]
    rows = [[name, f"{1e3 * took:.1f}", f"{first / took:.1f}"] for name, took in seconds.items()]
    return table(["", "ms", "times faster than FlagEmbedding"], rows)


def main() -> None:
    """Run all three and write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--bulk", type=int, default=512, help="texts of the bulk table")
    parser.add_argument("--only", choices=("documents", "bulk", "query"))
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    place = f"{hardware(arguments.device)}."
    where = "" if arguments.device == "cpu" else f" on {arguments.device}"
    if arguments.only in (None, "documents"):
        full = make(arguments.models, layers=24, reranker=False)
        body = documents(full, 24, 32, arguments, best=True)
        write_section(f"Encoding 32 texts with a model of full size{where}", f"{place}\n\n{body}")
    if arguments.only in (None, "query"):
        full = make(arguments.models, layers=24, reranker=False)
        body = queries(full, arguments)
        write_section(f"Encoding one query with a model of full size{where}", f"{place}\n\n{body}")
    if arguments.only in (None, "bulk"):
        six = make(arguments.models, layers=6, reranker=False)
        body = documents(six, 6, arguments.bulk, arguments, best=False)
        write_section(f"Encoding in bulk with six layers of full width{where}", f"{place}\n\n{body}")
    if arguments.clean:
        clean(arguments.models)


if __name__ == "__main__":
    main()
