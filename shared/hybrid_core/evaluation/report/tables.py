"""The report's tables as HTML; every text that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..comparison import Comparison
from ..results import Evaluation
from .cases import beginning
from .findings import signed, told_apart
from .style import css_colour

_SHOWN = 8  # wins, and as many losses
_TIMED = ("encode", "dense", "sparse", "fused", "reranked", "total")


def metrics_table(found: Evaluation) -> str:
    """Return means, the first metric with its interval, the best of each column marked."""
    first, *rest = found.metrics
    kinds = sorted(set(found.kinds.values()))
    compared = [metric for metric in found.metrics if not metric.startswith("Judged")]
    best = {metric: max(result.means[metric] for result in found.systems) for metric in compared}
    rows = []
    for i, result in enumerate(found.systems):
        low, high = result.intervals[first]
        means = {m: f"<b>{v:.3f}</b>" if v == best.get(m) else f"{v:.3f}" for m, v in result.means.items()}
        pairs = "–" if result.pairwise_accuracy is None else f"{result.pairwise_accuracy:.3f}"
        by_kind = found.mean_by_kind(result.name)
        rows.append(
            [
                _system(found, i),
                f"{means[first]} <small>{low:.3f} to {high:.3f}</small>",
                *(means[metric] for metric in rest),
                pairs,
                *(f"{by_kind[kind]:.3f}" for kind in kinds),
            ]
        )
    return _table("Every metric", ["system", first, *rest, "pairs", *(f"{first}, {kind}" for kind in kinds)], rows)


def latency_table(found: Evaluation) -> str:
    """Return milliseconds a query in each stage."""
    stages = [stage for stage in _TIMED if any(stage in result.latency for result in found.systems)]
    rows = [
        [
            _system(found, i),
            *(
                f"{_ms(result.latency[stage].p50)}<small>{_ms(result.latency[stage].p95)}</small>"
                if stage in result.latency
                else "–"
                for stage in stages
            ),
        ]
        for i, result in enumerate(found.systems)
    ]
    return _table("Milliseconds a query", ["system", *stages], rows, kind="stack")


def comparisons_table(comparisons: Sequence[Comparison]) -> str:
    """Return systems against others, each pair once; a difference that is sure stands out."""
    rows = []
    for row in {(row.system, row.baseline): row for row in comparisons}.values():
        look = ("win" if row.difference > 0 else "loss") if told_apart(row) else ""
        low, high = row.interval
        rows.append(
            [
                f"{escape(row.system)} <small>against {escape(row.baseline)}</small>",
                f'<span class="{look}">{signed(row.difference)}</span>',
                f"{signed(low)} to {signed(high)}",
                *(f"{count:,}" for count in (len(row.wins), len(row.losses), row.ties)),
                f"{row.p_value:.4f}",
            ]
        )
    headers = ["system", "difference", "95 % interval", "wins", "losses", "ties", "p"]
    return _table("Differences between systems", headers, rows)


def differences_table(found: Evaluation, comparison: Comparison, *, wins: bool) -> str:
    """Return the questions with the greatest wins, or losses."""
    rows = [
        [
            f'<span dir="auto">{escape(beginning(found.queries[item.query], 160))}</span> '
            f"<small>{escape(item.query)}</small>",
            f"{item.baseline:.3f}",
            f"{item.system:.3f}",
            f'<span class="{"win" if wins else "loss"}">{signed(item.difference)}</span>',
        ]
        for item in (comparison.wins if wins else comparison.losses)[:_SHOWN]
    ]
    headers = ["question", comparison.baseline, comparison.system, "difference"]
    return _table("Greatest wins" if wins else "Greatest losses", headers, rows, text=(0,))


def settings_table(found: Evaluation) -> str:
    """Return how each system searches."""
    rows = [
        [
            _system(found, i),
            escape(str(result.settings["mode"])),
            escape(str(result.settings["fusion"] or "–")),
            escape(str(result.settings["reranker"] or "–")),
            f"{result.settings['candidates']:,}",
        ]
        for i, result in enumerate(found.systems)
    ]
    headers = ["system", "mode", "fusion", "reranker", "candidates"]
    return _table("Systems", headers, rows, text=(1, 2, 3))


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _system(found: Evaluation, i: int) -> str:
    return f'<span class="dot" style="background:{css_colour(i)}"></span>{escape(found.systems[i].name)}'


def _table(
    name: str, headers: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[int] = (), kind: str = "plain"
) -> str:
    """Return a table in a box that scrolls, and whose rows become blocks on a narrow screen.

    There every cell shows its header (`data-h`); the roles say that it is still a table.

    Args:
        name: for who does not see it.
        headers: one a column; escaped here.
        rows: the cells, as HTML; the first column names the rows.
        text: columns that hold text, not numbers.
        kind: its class in the style sheet.
    """

    def cell(column: int, html: str) -> str:
        of_text = ' class="text"' if column in text else ""
        if column == 0 and 0 not in text:
            return f'<th scope="row" role="rowheader">{html}</th>'
        return f'<td role="cell"{of_text} data-h="{escape(headers[column])}">{html}</td>'

    head = "".join(
        f'<th scope="col" role="columnheader"{" class=text" if column in text else ""}>{escape(header)}</th>'
        for column, header in enumerate(headers)
    )
    body = "".join(
        f'<tr role="row">{"".join(cell(column, html) for column, html in enumerate(cells))}</tr>\n' for cells in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">'
        f'<table class="{kind}" role="table">\n<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}</tbody>\n</table></div>'
    )
