"""The charts of an evaluation, each with a sentence that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..comparison import Comparison
from ..results import Evaluation
from .numbers import STAGES, ScoreGroups, WeightGrid, depth_of, pareto_front, recall_curve, stage_of
from .style import BLUE, INK, MUTED, SURFACE, VERMILLION, Picture, picture, plain_axes, series, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 32


def quality(found: Evaluation) -> Picture:
    """Draw each system's mean of the first metric with its interval, stage below stage."""
    metric = found.metrics[0]
    stages = [stage_of(result) for result in found.systems]
    rows: list[tuple[float, int | None, str]] = []  # height, number of a system, name; a stage's name above its systems
    y = 0.0
    for stage in STAGES:
        if stage in stages:
            rows.append((y, None, stage))
            of_stage = [i for i, its in enumerate(stages) if its == stage]
            rows += [(y + 0.8 + place, i, short(found.systems[i].name)) for place, i in enumerate(of_stage)]
            y += 0.75 + len(of_stage)

    def draw(figure: Figure) -> None:
        axes = plain_axes(figure, grid="x")
        for y, i, _ in rows:
            if i is None:
                continue
            result, look = found.systems[i], series(i)
            mean, (low, high) = result.means[metric], result.intervals[metric]
            axes.plot([low, high], [y, y], color=look.colour, linewidth=5, alpha=0.3, solid_capstyle="round")
            axes.plot([mean], [y], marker=look.marker, color=look.colour, markersize=8)
            axes.annotate(f"{mean:.3f}", (mean, y), (0, 8), textcoords="offset points", ha="center", color=INK)
        axes.set_ylim(rows[-1][0] + 0.5, -0.4)
        axes.set_yticks([y for y, _, _ in rows], [name for _, _, name in rows])
        for label, (_, i, _) in zip(axes.get_yticklabels(), rows, strict=True):
            if i is None:
                label.set(color=MUTED, fontsize=10)
        axes.margins(x=0.08)
        axes.set_xlabel(f"{metric}, mean and 95 % interval")

    values = [
        f"{result.name} {result.means[metric]:.3f} ({result.intervals[metric].low:.3f} to "
        f"{result.intervals[metric].high:.3f})"
        for result in found.systems
    ]
    alt = f"Mean {metric} of each system with its 95 % bootstrap interval: {'; '.join(values)}."
    return picture("quality", f"{metric} by stage", alt, 1.0 + 0.42 * y, draw)


def recall(found: Evaluation) -> Picture:
    """Draw recall against TopK, 1 to 100 or as deep as the lists are."""
    curves = [recall_curve(result.rankings, found.qrels, depth_of(result.rankings)) for result in found.systems]

    def draw(figure: Figure) -> None:
        axes = plain_axes(figure)
        for i, curve in enumerate(curves):
            look = series(i)
            ks = np.arange(1, len(curve) + 1)
            marks = sorted({min(k, len(curve)) - 1 for k in (1, 2, 5, 10, 20, 50, 100)})
            name = short(found.systems[i].name)
            axes.plot(
                ks, curve, color=look.colour, linestyle=look.dash, marker=look.marker, markevery=marks, markersize=4.5,
                linewidth=1.8, label=name,
            )  # fmt: skip
        axes.set_xscale("log")
        deepest = max(map(len, curves))
        ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= deepest]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(0.9, max(1.2, deepest * 1.12))
        least, most = min(curve[0] for curve in curves), max(curve[-1] for curve in curves)
        axes.set_ylim(max(0.0, least - 0.04), min(1.02, max(most, least + 0.1) + 0.04))
        axes.set_xlabel("TopK: passages looked at")
        axes.set_ylabel("recall")
        _legend(figure, [short(result.name) for result in found.systems])

    ends = [
        f"{result.name} {curve[0]:.2f} at 1, {curve[-1]:.2f} at {len(curve)}"
        for result, curve in zip(found.systems, curves, strict=True)
    ]
    alt = f"Share of the relevant passages among the first K, mean over the questions: {'; '.join(ends)}."
    return picture("recall", "Recall against TopK", alt, 3.8, draw)


def latency(found: Evaluation) -> Picture:
    """Draw quality against the median time of a query, and the front that no other system beats in both."""
    metric = found.metrics[0]
    costs = [result.latency["total"].p50 for result in found.systems]
    gains = [result.means[metric] for result in found.systems]
    front = pareto_front(costs, gains)

    def draw(figure: Figure) -> None:
        axes = plain_axes(figure)
        low, high = min(costs), max(result.latency["total"].p95 for result in found.systems)
        if 0 < 10 * low < high:
            axes.set_xscale("log")
            axes.set_xlim(low / 1.6, high * 1.6)
            axes.xaxis.set_minor_formatter(lambda value, _: "")
        else:
            axes.set_xlim(0, 1.15 * high or 1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        xs, ys = [costs[i] for i in front], [gains[i] for i in front]
        axes.plot(
            [*xs, axes.get_xlim()[1]], [*ys, ys[-1]], color=MUTED, linewidth=1.2, linestyle=(0, (2, 2)),
            drawstyle="steps-post", zorder=1, label="Pareto front",
        )  # fmt: skip
        for i, result in enumerate(found.systems):
            look = series(i)
            slow = result.latency["total"].p95
            axes.plot([costs[i], max(slow, costs[i])], [gains[i]] * 2, color=look.colour, linewidth=1.5, alpha=0.35)
            on_front = i in front
            axes.plot(
                costs[i], gains[i], marker=look.marker, markersize=9, color=look.colour, linestyle="",
                markerfacecolor=look.colour if on_front else SURFACE, markeredgewidth=1.8, zorder=3,
                label=short(result.name),
            )  # fmt: skip
        spread = max(gains) - min(gains) or 0.1
        axes.set_ylim(min(gains) - 0.2 * spread, max(gains) + 0.2 * spread)
        axes.set_xlabel("ms a query: median, line to 95th percentile")
        axes.set_ylabel(metric)
        _legend(figure, ["Pareto front", *(short(result.name) for result in found.systems)])

    points = [f"{result.name} {gains[i]:.3f} in {costs[i]:.3g} ms" for i, result in enumerate(found.systems)]
    names = ", ".join(found.systems[i].name for i in front)
    alt = f"{metric} against the median time of a query: {'; '.join(points)}. On the Pareto front: {names}."
    return picture("latency", "Quality against latency", alt, 3.7, draw)


def scores(groups: Sequence[ScoreGroups]) -> Picture:
    """Draw how the scores of relevant and of other documents are distributed, a panel a scorer."""

    def draw(figure: Figure) -> None:
        for row, group in enumerate(groups):
            axes = plain_axes(figure, len(groups), 1, row + 1, grid="x")
            edges = np.histogram_bin_edges(np.concatenate([group.relevant, group.others]), _BINS)
            for values, colour, name in ((group.others, VERMILLION, "other"), (group.relevant, BLUE, "relevant")):
                if not len(values):
                    continue
                share = np.histogram(values, edges)[0] / len(values)
                axes.stairs(share, edges, fill=True, color=colour, alpha=0.28)
                dash = "-" if name == "relevant" else (0, (3, 1.5))
                axes.stairs(share, edges, color=colour, linewidth=1.5, linestyle=dash, label=name)
            axes.set_yticks([])
            axes.set_ylim(bottom=0)
            pairs = "" if group.accuracy is None else f": {group.accuracy:.0%} of pairs in the right order"
            axes.set_title(f"{short(group.name)}{pairs}", loc="left", color=INK)
        axes.set_xlabel("score")
        labels = {name: line for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(labels.values(), [f"{name} passages" for name in labels], loc="outside lower center", ncols=2)

    parts = [
        f"{group.name}: median {_median(group.relevant)} of {len(group.relevant):,} relevant, "
        f"{_median(group.others)} of {len(group.others):,} others"
        for group in groups
    ]
    alt = f"Distributions of the scores of relevant passages and of others that were found. {'; '.join(parts)}."
    return picture("scores", "Scores of relevant and of other passages", alt, 0.75 + 1.15 * len(groups), draw)


def weights(grid: WeightGrid) -> Picture:
    """Draw the heat map of weight and depth."""
    row, column = grid.best
    best = f"weight {grid.alphas[column]:g}, {grid.depths[row]} candidates: {grid.values[row, column]:.3f}"

    def draw(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        axes = plain_axes(figure, grid="")
        mesh = axes.pcolormesh(grid.values, cmap="cividis", edgecolors=SURFACE, linewidth=1.5)
        for y, x in np.ndindex(grid.values.shape):
            red, green, blue, _ = mesh.cmap(mesh.norm(grid.values[y, x]))
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.46
            text = f"{grid.values[y, x]:.3f}".removeprefix("0")
            axes.text(
                x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=9, color="#ffffff" if dark else "#111111"
            )
        frame = Rectangle((column, row), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=2.5, clip_on=False)
        axes.add_patch(frame)
        axes.set_xticks(np.arange(len(grid.alphas)) + 0.5, [f"{alpha:g}" for alpha in grid.alphas])
        axes.set_yticks(np.arange(len(grid.depths)) + 0.5, [str(depth) for depth in grid.depths])
        axes.set_xlabel("sparse alone  ←  weight of dense  →  dense alone")
        axes.set_ylabel("candidates a side")

    alt = (
        f"Heat map of {grid.metric} by the weight of the dense side, 0 to 1, and by the candidates taken of each side, "
        f"{grid.depths[0]} to {grid.depths[-1]}: {grid.values.min():.3f} to {grid.values.max():.3f}, best at {best}."
    )
    return picture("weights", f"{grid.metric} by weight and depth", alt, 1.0 + 0.38 * len(grid.depths), draw)


def differences(comparison: Comparison) -> Picture:
    """Draw the difference of each query, the greatest win first."""
    values = np.array([row.difference for row in comparison.rows])
    names = short(comparison.system), short(comparison.baseline)

    def draw(figure: Figure) -> None:
        axes = plain_axes(figure, grid="y")
        edges = np.arange(len(values) + 1)
        axes.stairs(np.maximum(values, 0), edges, fill=True, color=BLUE)
        axes.stairs(np.minimum(values, 0), edges, fill=True, color=VERMILLION)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axhline(comparison.difference, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(
            f"mean {comparison.difference:+.3f}", (1, comparison.difference), (-2, 4),
            xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", color=INK,
        )  # fmt: skip
        axes.set_xlim(0, len(values))
        reach = max(0.05, float(np.abs(values).max())) * 1.1
        axes.set_ylim(-reach, reach)
        axes.set_xlabel("questions, the greatest win first")
        axes.set_ylabel(f"difference in {comparison.metric}")
        axes.text(0.99, 0.97, f"↑ {names[0]} is better", transform=axes.transAxes, ha="right", va="top", color=BLUE)
        axes.text(0.01, 0.03, f"↓ {names[1]} is better", transform=axes.transAxes, va="bottom", color=VERMILLION)

    alt = (
        f"Difference in {comparison.metric} of {comparison.system} to {comparison.baseline}, question by question: "
        f"{len(comparison.wins)} wins, {len(comparison.losses)} losses, {comparison.ties} ties, mean "
        f"{comparison.difference:+.3f}."
    )
    return picture("differences", f"{names[0]} against {names[1]}, question by question", alt, 3.0, draw)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    most = max(1, min(4, int(46 / (max(map(len, names)) + 6))))
    columns = -(-len(names) // -(-len(names) // most))  # as even as the rows allow
    figure.legend(loc="outside lower center", ncols=columns, columnspacing=1.4, handlelength=2.4)


def _median(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):.3f}" if len(values) else "none"
