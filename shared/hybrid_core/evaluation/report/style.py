"""How charts look, and how one is drawn: as SVG that follows the page's light and dark colours, and as PNG.

Colours are those of Okabe and Ito, which people tell apart whatever colours they see; each series has a marker and a
dash of its own as well.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, SURFACE = "#1c2229", "#5c6670", "#dde1e6", "#fefefe"
BLUE, VERMILLION = "#0072b2", "#d55e00"
_COLOURS = (BLUE, VERMILLION, "#009e73", "#cc79a7", INK, "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))
# hex in a chart -> custom property of the page
_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    SURFACE: "var(--surface)",
    **{colour: f"var(--s{i})" for i, colour in enumerate(_COLOURS) if colour != INK},
}
_CHINESE = ("Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Zen Hei", "SimHei")
_WIDTH = 4.9  # inches: 353 points, which a narrow screen shows as they are
_DPI = 200


class Series(NamedTuple):
    """What tells one system from another in every chart."""

    colour: str
    marker: str
    dash: Any


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart.

    Attributes:
        name: of its file, without the suffix.
        title: above it.
        alt: what it shows, in words.
        svg: an `<svg>` element for the page.
        png: the same with its title, in light colours.
    """

    name: str
    title: str
    alt: str
    svg: str
    png: bytes


def series(i: int) -> Series:
    """Return the look of system `i`."""
    return Series(
        _COLOURS[i % len(_COLOURS)],
        _MARKERS[i % len(_MARKERS)],
        _DASHES[i // len(_COLOURS) % len(_DASHES)],
    )


def css_colour(i: int) -> str:
    """Return the colour of system `i` as the page's style sheet has it."""
    return _THEME[series(i).colour]


def short(name: str, most: int = 22) -> str:
    """Return a name that fits beside a chart."""
    flat = " ".join(name.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def picture(name: str, title: str, alt: str, height: float, draw: Callable[[Figure], None]) -> Picture:
    """Draw a chart twice: once for the page, once with its title for a file.

    matplotlib's settings are global: two threads must not draw at once.

    Args:
        name: of its file, and what makes its ids distinct from those of other charts on a page.
        title: above the PNG.
        alt: what it shows, in words.
        height: in inches; the width is 4.9.
        draw: draws into the empty figure.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", {**_rc(), "svg.hashsalt": name}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a name in a rare script
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        vector, raster = io.BytesIO(), io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(vector, format="svg", transparent=True, metadata=nothing)
        figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
        figure.set_size_inches(_WIDTH, height + 0.4)
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)  # a file has no margin around it
        figure.savefig(raster, format="png", dpi=_DPI, metadata={"Software": None})
    return Picture(name, title, alt, _inline(vector.getvalue().decode("utf-8"), name), raster.getvalue())


def plain_axes(figure: Figure, *args: Any, grid: str = "both", **settings: Any) -> Axes:
    """Add axes with no frame but a quiet grid: "x", "y", "both" or ""."""
    axes: Axes = figure.add_subplot(*args, **settings)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(which="both", length=0)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.7)  # type: ignore[arg-type]
    return axes


def _rc() -> dict[str, Any]:
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return {
        "font.family": ["DejaVu Sans", *(family for family in _CHINESE if family in installed)],
        "font.size": 11.5,
        "axes.labelsize": 11.5,
        "axes.titlesize": 11.5,
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "legend.fontsize": 11,
        "legend.frameon": False,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.edgecolor": GRID,
        "axes.facecolor": "none",
        "figure.facecolor": SURFACE,
        "savefig.facecolor": SURFACE,
        "text.parse_math": False,  # a "$" in a name is a dollar
        "svg.fonttype": "none",  # text stays text, in the page's own font
    }


def _inline(svg: str, name: str) -> str:
    """Return matplotlib's SVG as an element of a page: no prolog, sizes from the page, ids of its own, its colours."""
    svg = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL
    )
    root, _, rest = svg.partition(">")
    box = re.search(r'viewBox="([^"]+)"', root)
    body = re.sub(r"<[^>]+>", lambda tag: _own(tag[0], name), rest)
    return f'<svg viewBox="{box[1] if box else "0 0 1 1"}" aria-hidden="true" focusable="false">{body.strip()}'


def _own(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda colour: _THEME.get(colour[0], colour[0]), tag)
