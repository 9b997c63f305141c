"""Serving: 64 concurrent callers against the same queries in one batch."""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import time

import torch

from hybrid_core import BgeM3Encoder

from .measure import hardware, table, write_section
from .models import add_arguments, clean, make
from .texts import QUERY

_CALLERS = 64


async def callers(encoder: BgeM3Encoder, count: int, start: int) -> tuple[float, list[float]]:
    """Let callers ask one new question after the other; return the seconds of all and of each."""
    waits: list[float] = []

    async def caller(number: int) -> None:
        for turn in range(count // _CALLERS):
            begin = time.perf_counter()
            await encoder.aencode_queries([f"{QUERY} {start + number} {turn}"])
            waits.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(_CALLERS)))
    return time.perf_counter() - begin, waits


def main() -> None:
    """Compare throughput with a batch, and watch the memory over many queries."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--many", type=int, default=10_000, help="queries of the small model, watched for growth")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    folder = make(arguments.models, layers=arguments.layers, reranker=False)
    encoder = BgeM3Encoder(folder, device=arguments.device)
    rates, all_waits, batch_rates = [], [], []
    for turn in range(arguments.rounds):
        texts = [f"{QUERY} batch {turn} {i}" for i in range(arguments.queries)]
        begin = time.perf_counter()
        encoder.encode_queries(texts)
        batch_rates.append(arguments.queries / (time.perf_counter() - begin))
        took, waits = asyncio.run(callers(encoder, arguments.queries, 1_000 * turn))
        rates.append(len(waits) / took)
        all_waits += waits
    tiny = BgeM3Encoder.tiny()
    asyncio.run(callers(tiny, 1_024, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(callers(tiny, arguments.many, 10_000))
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    waits = sorted(all_waits)
    batch, served = statistics.median(batch_rates), statistics.median(rates)
    rows = [
        ["one batch", f"{batch:,.0f}", "", ""],
        [f"{_CALLERS} callers", f"{served:,.0f} ({served / batch:.0%})", f"{1e3 * waits[len(waits) // 2]:,.0f}",
         f"{1e3 * waits[int(0.99 * len(waits))]:,.0f}"],
    ]  # fmt: skip
    note = (
        f"{hardware(arguments.device)}. {arguments.layers} layers of width 1024, {arguments.queries} new questions a "
    )
    note += f"turn. Over {arguments.many:,} further queries of the small model the process grew by {growth:.1f} MB."
    body = table(["", "queries/s", "p50 ms", "p99 ms"], rows)
    write_section(f"{_CALLERS} concurrent callers", f"{note}\n\n{body}")
    if arguments.clean:
        clean(arguments.models)


if __name__ == "__main__":
    main()
