"""How much of the work is padding, on texts whose lengths are log-normal. Counts tokens; nothing is timed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hybrid_core import BgeM3Encoder
from hybrid_core.encoders.batching import token_batches
from hybrid_core.encoders.runtimes.packing import Layout, pack

from .measure import table, write_section
from .texts import passages

_BUDGET = 2_048  # tokens in a pass on the CPU


def main() -> None:
    """Count the tokens of 2,000 texts, and those that each way of batching adds."""
    encoder = BgeM3Encoder.tiny()
    lengths = np.array([min(512, encoder.token_count(text) + 2) for text in passages(2_000)])
    layouts = {name: Layout.of(name) for name in ("cpu", "cuda")}
    linear, attention = (dict.fromkeys(layouts, 0) for _ in range(2))
    for batch in token_batches(lengths.tolist(), _BUDGET):
        packed = pack([np.zeros(lengths[i], dtype=np.int32) for i in batch], None, None)
        for name, layout in layouts.items():
            for block in packed.blocks(layout):
                linear[name] += block.rows
                attention[name] += sum(len(group.lengths) * int(group.lengths[0]) for group in block.groups)
    total = int(lengths.sum())
    rows = [
        [f"ours, {work} on {device}", f"{counted[name] / total - 1:.1%}"]
        for work, counted in (("linear layers (seven eighths of the work and more)", linear), ("attention", attention))
        for name, device in (("cpu", "the CPU"), ("cuda", "a GPU"))
    ]
    rows += [
        ["rectangles of 256 texts in the order given", f"{_padding(lengths, 256):.1%}"],
        ["rectangles of 256 texts, sorted by length (FlagEmbedding)", f"{_padding(np.sort(lengths), 256):.1%}"],
        ["rectangles of 32 texts, sorted by length (sentence-transformers)", f"{_padding(np.sort(lengths), 32):.1%}"],
    ]
    note = f"2,000 texts, {lengths.sum():,} tokens, median {np.median(lengths):.0f}, longest {lengths.max()}."
    write_section("Padding", f"{note}\n\n{table(['', 'tokens of padding a real token'], rows)}")


def _padding(lengths: NDArray[np.int64], size: int) -> float:
    boxes = (lengths[at : at + size] for at in range(0, len(lengths), size))
    return sum(len(box) * int(box.max()) for box in boxes) / int(lengths.sum()) - 1


if __name__ == "__main__":
    main()
