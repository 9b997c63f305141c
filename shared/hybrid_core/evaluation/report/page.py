"""The page: what was found in words, then charts, tables and cases; every text that comes from outside is escaped."""

from __future__ import annotations

import datetime
import re
import sys
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from string import Template

from ..comparison import Comparison
from ..results import Evaluation
from .case_cards import saved_card
from .cases import Saved
from .findings import finding, p_value, signed, told_apart
from .numbers import best_system
from .style import Picture
from .tables import comparisons_table, differences_table, latency_table, metrics_table, settings_table

_PACKAGES = ("bge-hybrid", "torch", "transformers", "onnxruntime", "numpy", "ir-measures", "pytrec-eval-terrier")
_CAPTIONS = {
    "quality": "The dot is the mean over the questions, the bar its 95 % bootstrap interval: how far it moves when the "
    "questions are drawn anew.",
    "recall": "How much of what is relevant stands among the first K. A line ends where a system's list does.",
    "latency": "Up and to the left is better. Filled markers lie on the Pareto front: no other system is both faster "
    "and better. Questions are encoded in one batch, whose time is divided among them.",
    "scores": "All questions together; height is the share of each group. The less the two overlap, the better. "
    "A pair is a relevant passage and another of the same question; 50 % in the right order is chance.",
    "weights": "Each list is scaled to 0 to 1, then weighed. The frame marks the best cell, which is flattered by "
    "having been picked on these very questions.",
    "differences": "One bar a question. A few tall bars tell another story than many low ones.",
}


@dataclass(frozen=True, slots=True)
class Content:
    """What stands on the page.

    Attributes:
        found: the evaluation.
        pictures: by name; one that is not there is left out.
        saved: what one side saved from the other; empty unless both were asked.
        comparison: the best of the other systems against the baseline; None with one system.
        steps: what each stage adds to the one before it; empty with one system.
        date: of the report.
    """

    found: Evaluation
    pictures: dict[str, Picture]
    saved: tuple[Saved, ...]
    comparison: Comparison | None
    steps: tuple[Comparison, ...]
    date: datetime.date


def page(content: Content) -> str:
    """Return the page as HTML."""
    parts = [_header(content), _quality(content), _speed(content), _scores(content)]
    parts += [_cases(content), _differences(content), _about(content)]
    template = Template((files(__package__) / "page.html").read_text(encoding="utf-8"))
    title = f"{escape(content.found.dataset)}: retrieval evaluation"
    return template.substitute(title=title, body="\n".join(part for part in parts if part))


def _header(content: Content) -> str:
    found = content.found
    best, metric = best_system(found), found.metrics[0]
    judged = sum(map(len, found.qrels.values()))
    tiles = {
        "passages": f"{found.documents:,}",
        "questions": f"{len(found.queries):,}",
        "judgements": f"{judged:,}",
        "systems": f"{len(found.systems)}",
        f"best {metric}": f"{best.means[metric]:.3f}",
    }
    notes = []
    if set(found.kinds.values()) == {"llm"}:
        notes.append(
            "<b>Synthetic questions.</b> A language model asked them, and only the passage that it was shown counts as "
            "an answer: where others answer as well, figures come out too low. Compare systems by them."
        )
    elif found.kinds:
        notes.append(
            "<b>Synthetic questions.</b> They were made from the passages and use their words, so they are easier than "
            "people's, above all for sparse search. Compare systems by them; do not expect these figures from users."
        )
    if found.unjudged:
        notes.append(f"{found.unjudged:,} questions without judgements were left out.")
    headline, lead = _prose(escape(finding(found, content.steps))), _prose(_lead(content))
    return (
        f'<header>\n<p class="eyebrow"><bdi>{escape(found.dataset)}</bdi> · retrieval evaluation · '
        f'{_day(content.date)}</p>\n<h1 dir="auto">{headline}</h1>\n<p class="lead">{lead}</p>\n'
        f"{_tiles(tiles)}\n" + "".join(f'<p class="note">{note}</p>\n' for note in notes) + "</header>"
    )


def _lead(content: Content) -> str:
    """Return the best system in words, and whether it is told from the baseline."""
    found, comparison = content.found, content.comparison
    metric, best = found.metrics[0], best_system(found)
    low, high = best.intervals[metric]
    brackets = f"Brackets hold 95 % intervals over {len(found.queries):,} questions."
    first = f"<b>{escape(best.name)}</b> ranks best: {escape(metric)} {best.means[metric]:.3f} [{low:.3f}, {high:.3f}]."
    if comparison is None:
        return f"{first} {brackets}"
    low, high = comparison.interval
    other = f"<b>{escape(comparison.system)}</b> is at" if best.name == comparison.baseline else "That is"
    second = (
        f"{other} {signed(comparison.difference)} [{signed(low)}, {signed(high)}] against the baseline "
        f"<b>{escape(comparison.baseline)}</b> (p {p_value(comparison.p_value)})"
    )
    told = "." if told_apart(comparison) else ", too little for these questions to tell the two apart."
    return f"{first} {second}{told} {brackets}"


def _prose(html: str) -> str:
    """Return a sentence whose intervals are quieter than what they belong to, and not broken."""
    return re.sub(r"\[[−+\d.]+, [−+\d.]+\]", r'<span class="interval">\g<0></span>', html)


def _quality(content: Content) -> str:
    found = content.found
    differences = ""
    if content.steps:
        differences = (
            f'\n<div class="card"><h3>Differences in {escape(found.metrics[0])}</h3>'
            f"{comparisons_table([*found.comparisons(), *content.steps])}"
            '<p class="hint">In colour: told apart by these questions. p: two-sided randomisation test over the '
            "questions, not corrected for the number of systems.</p></div>"
        )
    return (
        "<h2>Quality</h2>\n<p>What each stage adds, and how sure that is.</p>\n"
        + _grid(content, "quality", "recall")
        + differences
        + f'\n<div class="card"><h3>Every metric</h3>{metrics_table(found)}'
        + '<p class="hint">The best of each column in bold. pairs: share of pairs of a relevant passage and another, '
        "of those found, that the scores order rightly.</p></div>"
    )


def _speed(content: Content) -> str:
    table = (
        f'<div class="card"><h3>Milliseconds a query</h3>{latency_table(content.found)}'
        '<p class="hint">Median, and the 95th percentile in small print. What systems share is counted for each.</p>'
        "</div>"
    )
    return f"<h2>Speed</h2>\n<p>What quality costs, on the machine that ran it.</p>\n{_grid(content, 'latency', table)}"


def _scores(content: Content) -> str:
    grid = _grid(content, "scores", "weights")
    return (
        f"<h2>Scores and weights</h2>\n<p>What each score tells apart, and how to mix two.</p>\n{grid}" if grid else ""
    )


def _cases(content: Content) -> str:
    if not content.saved:
        return ""
    cards = "".join(saved_card(saved) for saved in content.saved)
    return (
        f"<h2>Words and meaning</h2>\n<p>Questions that one side answers within the first {content.found.k} and the "
        "other does not: why searching both pays. Below each passage, the tokens that it shares with the question and "
        f'what each adds to the sparse score; a dash continues a word.</p>\n<div class="grid">{cards}</div>'
    )


def _differences(content: Content) -> str:
    found, comparison = content.found, content.comparison
    if comparison is None:
        return ""
    low, high = comparison.interval
    counts = {
        f"better with {comparison.system}": f'<span class="win">{len(comparison.wins):,}</span>',
        f"better with {comparison.baseline}": f'<span class="loss">{len(comparison.losses):,}</span>',
        "the same": f"{comparison.ties:,}",
        f"mean difference in {comparison.metric}": signed(comparison.difference),
        "95 % interval": f"{signed(low)} to {signed(high)}",
        "p": p_value(comparison.p_value).removeprefix("= "),
    }
    summary = (
        f'<div class="card"><h3>In numbers</h3>{_tiles(counts)}<p class="hint">p: two-sided randomisation test '
        "over the questions, not corrected for the number of systems.</p></div>"
    )
    tables = [
        f'<div class="card"><h3>Greatest {"wins" if wins else "losses"}</h3>'
        f"{differences_table(found, comparison, wins=wins)}</div>"
        for wins, rows in ((True, comparison.wins), (False, comparison.losses))
        if rows
    ]
    return (
        f"<h2>{escape(comparison.system)} against {escape(comparison.baseline)}</h2>\n<p>The best of the other systems "
        f"against the baseline, question by question.</p>\n{_grid(content, 'differences', summary, *tables)}"
    )


def _tiles(values: dict[str, str]) -> str:
    """Return numbers with what they count below each; names are escaped here, values are HTML."""
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in values.items())
    return f'<dl class="tiles">{tiles}</dl>'


def _about(content: Content) -> str:
    found = content.found
    facts = {
        "Data": f"{found.dataset}: {found.documents:,} passages, {len(found.queries):,} questions",
        "Encoder": found.encoder,
        "Metrics": f"{', '.join(found.metrics)}; k = {found.k}",
        "Seed": f"{found.seed}, of intervals and tests",
        "Versions": f"Python {sys.version.split()[0]}, {', '.join(_versions())}",
        "Date": _day(content.date),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return (
        f'<h2>How this was made</h2>\n<p>What was run, and with what.</p>\n<div class="card"><dl class="facts">'
        f'{rows}</dl></div>\n<div class="card"><h3>Systems</h3>{settings_table(found)}</div>'
    )


def _versions() -> list[str]:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def _day(date: datetime.date) -> str:
    time = f" {date:%H:%M %Z}".rstrip() if isinstance(date, datetime.datetime) else ""
    return f"{date:%Y-%m-%d}{time}"


def _grid(content: Content, *items: str) -> str:
    """Return cards in a row: pictures by name, or HTML."""
    cards = [_card(content.pictures[item]) if item in content.pictures else item for item in items]
    there = [card for card in cards if card.startswith("<")]  # a name is left of a picture that is not there
    return f'<div class="grid">{"".join(there)}</div>' if there else ""


def _card(picture: Picture) -> str:
    return (
        f'<figure class="card" id="{picture.name}"><h3>{escape(picture.title)}</h3>\n'
        f'<div class="plot" role="img" aria-label="{escape(picture.alt)}">{picture.svg}</div>\n'
        f"<figcaption>{_CAPTIONS[picture.name]}</figcaption></figure>\n"
    )
