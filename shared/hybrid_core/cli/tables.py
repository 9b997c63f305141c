"""What the command line prints."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..types import Hit, TokenMatch, public_metadata

STAGES = ("dense", "sparse", "fused", "reranked")


def hits_table(hits: Sequence[Hit]) -> Table:
    """Return a table: where each hit comes from, its score and rank in each stage, and the tokens that matched."""
    stages = [stage for stage in STAGES if any(stage in hit.stages for hit in hits)]
    table = Table(box=None, pad_edge=False, caption="score #rank in each stage", caption_justify="left")
    table.add_column("#", justify="right")
    table.add_column("passage", ratio=1, overflow="fold")
    for stage in stages:
        table.add_column(stage, justify="right", no_wrap=True)
    for number, hit in enumerate(hits, start=1):
        cells = [
            f"{hit.stages[stage].score:.3f} [dim]#{hit.stages[stage].rank}[/]" if stage in hit.stages else "[dim]-[/]"
            for stage in stages
        ]
        table.add_row(str(number), _passage(hit), *cells)
    return table


def matched(matches: Sequence[TokenMatch], most: int = 6) -> str:
    """Return the tokens that matched, the strongest first, with what each adds to the sparse score."""
    strongest = sorted(matches, key=lambda match: -match.score)[:most]
    return " · ".join(f"{match.token.replace('▁', '') or '▁'} {match.score:.2f}" for match in strongest)


def hits_json(hits: Sequence[Hit]) -> str:
    """Return the hits as JSON: one object a hit, everything that is known of it."""
    rows: list[dict[str, Any]] = [
        {
            "id": hit.passage.id,
            "score": hit.score,
            "stages": {name: stage._asdict() for name, stage in hit.stages.items()},
            "matches": [match._asdict() for match in hit.matches],
            "window": hit.window,
            "text": hit.passage.text,
            "metadata": public_metadata(hit.passage.metadata),
        }
        for hit in hits
    ]
    return json.dumps(rows, ensure_ascii=False, indent=2)


def make_console() -> Console:
    """Return a console; where the output is no terminal, wide enough for a table not to be broken."""
    console = Console(highlight=False)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=120)


def _passage(hit: Hit) -> str:
    metadata = hit.passage.metadata
    source = metadata.get("source")
    where = os.path.relpath(source) if isinstance(source, str) else hit.passage.id
    number = f", page {metadata['page']}" if "page" in metadata else ""
    title = f" [dim]{escape(str(metadata['title']))}[/]" if metadata.get("title") else ""
    text = hit.passage.text.removeprefix(str(metadata.get("title", "")))  # which stands above already
    snippet = " ".join(text.split())
    lines = [f"[bold]{escape(where)}[/]{number}{title}", escape(snippet[:160] + ("…" if len(snippet) > 160 else ""))]
    if hit.matches:
        lines.append(f"[green]{escape(matched(hit.matches))}[/]")
    return "\n".join(lines)
