"""Peak memory for 10,000 passages, against the model's own and the output."""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

from hybrid_core import BgeM3Encoder

from .measure import hardware, write_section
from .models import add_arguments, clean, make
from .texts import passages


def resident() -> float:
    """Return the memory now held, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 1e6


def high_water() -> float:
    """Return the most memory held since the mark was reset, MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    """Encode, and compare the highest mark with what is held before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=6)
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        raise SystemExit("reads /proc, which Linux alone has")
    folder = make(arguments.models, layers=arguments.layers, reranker=False)
    texts = passages(arguments.count, median=20, longest=128)
    encoder = BgeM3Encoder(folder, device="cpu")
    encoder.encode_documents(texts[:64])  # what any first call allocates
    model = resident()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark: loading is not asked about
    encoding = encoder.encode_documents(texts)
    peak = high_water()
    sparse = encoding.sparse
    output = (encoding.dense.nbytes + sparse.data.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes) / 1e6
    body = f"{hardware()}. {arguments.count:,} texts, {arguments.layers} layers of width 1024, fp32: the process holds "
    body += f"{model:,.0f} MB with the model, the output takes {output:,.0f} MB, the peak is {peak:,.0f} MB: "
    body += f"{peak / (model + output):.2f} times both together."
    write_section(f"Memory for {arguments.count:,} passages", body)
    if arguments.clean:
        clean(arguments.models)


if __name__ == "__main__":
    main()
