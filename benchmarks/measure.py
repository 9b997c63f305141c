"""Measuring: systems in turns, the machine's own limit, and a results file with the hardware in it."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("RESULTS.md")


def in_turns(systems: Mapping[str, Callable[[], object]], rounds: int, *, warm: bool = True) -> dict[str, float]:
    """Run every system in turns, if `warm` once unmeasured before; return the median seconds of each."""
    for run in systems.values() if warm else ():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak(dtype: torch.dtype = torch.float32, device: str = "cpu") -> float:
    """Return the best FLOP/s of a large matrix product, which no model on this machine can exceed."""
    a, b = (torch.randn(2048, 2048, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / 4)
    return 2 * 2048**3 / best


def flops(layers: int, tokens: int, hidden: int = 1024, inner: int = 4096) -> float:
    """Return the floating point operations of the linear layers over real tokens; attention itself is left out."""
    return 2.0 * tokens * layers * (4 * hidden * hidden + 2 * hidden * inner)


def hardware(device: str = "cpu") -> str:
    """Describe the machine in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*: (.+)", info.read_text(encoding="utf-8"))
        model = found.group(1) if found else model
        flags = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f in info.read_text(encoding="utf-8")]
        model += f" ({', '.join(flags)})"
    if device.startswith("cuda"):
        model = torch.cuda.get_device_name(device)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "FlagEmbedding"))
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {packages}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_section(title: str, body: str) -> None:
    """Print a section and put it into RESULTS.md, in place of the one of the same title."""
    print(f"\n## {title}\n\n{body}\n", flush=True)
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    parts = re.split(r"(?m)^(?=## )", old)
    new = f"## {title}\n\n{body}\n\n"
    at = next((i for i, part in enumerate(parts) if part.startswith(f"## {title}\n")), None)
    parts = [*parts, new] if at is None else [*parts[:at], new, *parts[at + 1 :]]
    text = "".join(part.rstrip("\n") + "\n\n" for part in parts)
    RESULTS.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
