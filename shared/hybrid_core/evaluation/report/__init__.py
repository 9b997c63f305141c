"""An evaluation as one page that needs no network, and its charts as PNGs.

    numbers, cases  ->  figures (drawn with style)  ->  page (page.html)  ->  writing

Needs the extra `eval`.
"""

from .writing import write_report

__all__ = ["write_report"]
