"""Single questions as HTML; every text that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .cases import Case, Saved, beginning, marked, shown

_TOKENS = 10  # the strongest of a case


def saved_card(saved: Saved) -> str:
    """Return a card with the questions that one side saved from the other."""
    other = "sparse" if saved.by == "dense" else "dense"
    title = f"<h3>{saved.by.capitalize()} saved {other}: {saved.count:,} of {saved.asked:,} questions</h3>"
    if not saved.cases:
        nothing = f"Whatever {saved.by} answers here, {other} answers too."
        return f'<div class="card">{title}<p class="hint">{nothing}</p></div>'
    more = saved.count - len(saved.cases)
    rest = f'<p class="hint">And {more:,} more.</p>' if more else ""
    cases = "".join(_case(case, saved.by, other) for case in saved.cases)
    return f'<div class="card">{title}{cases}{rest}</div>'


def _case(case: Case, by: str, other: str) -> str:
    tokens = [match.token for match in case.matches[:_TOKENS]]
    missed = f"{other} #{case.missed}" if case.missed else f"{other}: not among {case.depth:,}"
    passage = shared = ""
    if case.text is not None:
        passage = f'<blockquote dir="auto">{_marked(beginning(case.text), tokens)}</blockquote>'
        shared = _chips(case) or '<p class="hint">No token in common.</p>'
    return (
        f'<article class="case"><p class="q" dir="auto">{_marked(beginning(case.question), tokens)}</p>'
        f'<p class="ranks"><span class="hit">{by} #{case.rank}</span><span>{missed}</span>'
        f'</p>{passage}{shared}<p class="ids">question {escape(case.query)} · passage {escape(case.document)}</p>'
        "</article>\n"
    )


def _chips(case: Case) -> str:
    if not case.matches:
        return ""
    strongest = case.matches[0].score or 1.0
    begin = any("▁" in match.token for match in case.matches)  # whether the tokenizer marks where words begin
    chips = "".join(
        f'<li style="--w:{100 * match.score / strongest:.0f}%">{escape(shown(match.token, begin=begin))}'
        f"<small>{match.score:.3f}</small></li>"
        for match in case.matches[:_TOKENS]
    )
    more = len(case.matches) - _TOKENS
    rest = f"<li>and {more} more</li>" if more > 0 else ""
    return f'<ul class="chips" aria-label="matched tokens">{chips}{rest}</ul>'


def _marked(text: str, tokens: Sequence[str]) -> str:
    return "".join(f"<mark>{escape(part)}</mark>" if hit else escape(part) for part, hit in marked(text, tokens))
