"""An evaluation in, a page and pictures in a folder out."""

from __future__ import annotations

import datetime
from pathlib import Path

from ...errors import StorageError, require
from ...pipeline import HybridIndex
from ..results import Evaluation
from . import figures
from .cases import saved_by
from .numbers import best_against_baseline, score_groups, stage_steps, weight_grid
from .page import Content, page
from .style import Picture

PICTURES = ("quality", "recall", "latency", "scores", "weights", "differences")


def write_report(
    evaluation: Evaluation,
    folder: str | Path,
    *,
    index: HybridIndex | None = None,
    date: datetime.date | None = None,
    show_progress: bool = False,
) -> Path:
    """Write an evaluation as a page, report.html, that needs nothing else, and its charts as PNGs beside it.

    Charts that have nothing to show are left out: weights unless a system searches both sides, differences with one
    system. The same evaluation gives the same files, the date apart. matplotlib's settings are global, so two reports
    must not be written at once by threads of one process.

    Args:
        evaluation: what `evaluate` returned.
        folder: made if missing; files of an earlier report are replaced.
        index: the index that was evaluated; gives the texts and matched tokens of single questions, a search each for
            up to eight of them. None shows their ids.
        date: a date or a time for the heading; None is now.
        show_progress: draw a progress bar over what takes long.

    Returns:
        The path of report.html.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the folder cannot be written to.

    Example:
        >>> found = evaluate(index, read_set("scifact"), systems)
        >>> write_report(found, "scifact-results", index=index)
    """
    require("matplotlib", "eval")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    comparison = best_against_baseline(evaluation)
    pictures = [figures.quality(evaluation), figures.recall(evaluation), figures.latency(evaluation)]
    if groups := score_groups(evaluation):
        pictures.append(figures.scores(groups))
    if (grid := weight_grid(evaluation, show_progress=show_progress)) is not None:
        pictures.append(figures.weights(grid))
    if comparison is not None:
        pictures.append(figures.differences(comparison))
    both = len(evaluation.recalled) == 2
    saved = tuple(saved_by(evaluation, side, index) for side in ("sparse", "dense")) if both else ()
    content = Content(
        found=evaluation,
        pictures={picture.name: picture for picture in pictures},
        saved=saved,
        comparison=comparison,
        steps=tuple(stage_steps(evaluation)),
        date=date or datetime.datetime.now().astimezone(),
    )
    return _write(folder, page(content), content.pictures)


def _write(folder: Path, html: str, pictures: dict[str, Picture]) -> Path:
    path = folder / "report.html"
    try:
        for name in PICTURES:
            if name in pictures:
                (folder / f"{name}.png").write_bytes(pictures[name].png)
            else:
                (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier report with other systems
        path.write_text(html, encoding="utf-8", newline="\n")
    except OSError as error:
        raise _unwritable(folder, error) from error
    return path


def _unwritable(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"the report cannot be written to {folder}: {error}; choose another folder")
