"""`bge-hybrid tune`: the settings that answer questions with known answers best, or nearly so at the least cost."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInputError, StorageError
from .evaluate import _fill, _passages
from .models import ModelOption, load_encoder, load_reranker

if TYPE_CHECKING:
    from rich.table import Table

    from ..evaluation import EvaluationSet
    from ..evaluation.tuning_result import Trial, Tuning


def tune(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder with corpus.jsonl, queries.jsonl and qrels.tsv (BEIR), or with topics.tsv and qrels.txt "
            "(TREC); a CSV with the columns question and document (or text).",
        ),
    ],
    index: Annotated[
        Path | None, typer.Option(help="The index folder; built from DATA if missing. [default: none is kept]")
    ] = None,
    model: ModelOption = None,
    rerank: Annotated[
        str | None, typer.Option(help="The reranker to try too: a hub name or folder, 'tiny', or 'late'.")
    ] = None,
    target: Annotated[str, typer.Option(help="best, or cheapest: the least latency within 1 % of the best.")] = "best",
    max_ms: Annotated[
        float | None, typer.Option(help="The most milliseconds that a search may take, reranking included.")
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="The cutoff of nDCG, and the most hits.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="The settings file to write, for HybridIndex.open(settings=).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, intervals and tests.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Choose fusion, candidates, hits, threshold and budget on questions with known answers."""
    from ..evaluation.tuning import tune as find_settings
    from ..evaluation.tuning_choice import check_target
    from ..pipeline import HybridIndex
    from ..stores.embedded.ledger import read_fingerprint
    from .tables import make_console

    aim = check_target(target)
    if out is not None and not out.absolute().parent.is_dir():
        raise StorageError(f"{out} cannot be written: there is no folder {out.absolute().parent}")
    dataset = _read(data, index)
    encoder = load_encoder(model, index if index is not None and read_fingerprint(index) else data)
    with ExitStack() as stack:
        folder = index or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = stack.enter_context(HybridIndex.open(folder, encoder=encoder, reranker=load_reranker(rerank, encoder)))
        _fill(opened, dataset, folder)
        show = sys.stderr.isatty()
        found = find_settings(opened, dataset, target=aim, max_ms=max_ms, k=k, seed=seed, show_progress=show)
    if out is not None:
        found.settings.to_json(out)
    if as_json:
        typer.echo(json.dumps(found.as_dict(queries=False), ensure_ascii=False, indent=2))
        return
    console = make_console()
    for table in (_candidates(found), _held_out(found)):
        console.print(table)
        console.print()
    console.print(found.reason, markup=False, soft_wrap=True)
    console.print(_hits(found), markup=False, soft_wrap=True)
    if out is not None:
        typer.echo(f'{out}: HybridIndex.open(..., settings="{out}")')


def _read(data: Path, index: Path | None) -> EvaluationSet:
    from ..evaluation import read_set
    from ..stores.embedded.ledger import read_fingerprint

    if read_fingerprint(data) is not None:
        raise InvalidInputError(f"{data} is an index; give questions with known answers, and the index as --index")
    own = (data / "corpus.jsonl").is_file()
    return read_set(data, None if own or index is None else _passages(index))


def _candidates(found: Tuning) -> Table:
    """Return a table of the best fusion at each depth, cheapest first, the default and what was chosen among them."""
    from ..evaluation.tuning_grid import fusion_name

    table = _table(
        f"the best fusion of {len(found.trials)} settings at each depth; {found.metric} on the questions it is chosen "
        "by, so not what to expect; ms: the sum of its stages' times"
    )
    for name in ("", "fusion", "candidates", "reranked", found.metric, "ms a question"):
        table.add_column(name, justify="left" if name in ("", "fusion") else "right", no_wrap=True)
    for trial in _shown(found):
        variant = trial.variant
        marks = [name for name, one in (("taken", found.taken), ("default", found.default)) if one is trial]
        cells = (fusion_name(variant.fusion), str(variant.candidates), str(variant.reranked or "-"))
        style = "bold" if trial is found.taken else None
        table.add_row(", ".join(marks), *cells, f"{trial.mean:.3f}", f"{variant.milliseconds:.1f}", style=style)
    return table


def _shown(found: Tuning) -> Sequence[Trial]:
    best: dict[tuple[int, int], Trial] = {}
    for trial in found.trials:
        depth = (trial.variant.candidates, trial.variant.reranked)
        if depth not in best or trial.mean > best[depth].mean:
            best[depth] = trial
    rows = [*best.values(), *(one for one in (found.default, found.choice) if one not in best.values())]
    return sorted(rows, key=lambda trial: (trial.variant.milliseconds, trial.mean))


def _held_out(found: Tuning) -> Table:
    """Return a table of the figures on questions that had no say in the choice."""
    from ..evaluation.tuning_result import agreement

    comparison, costs = found.comparison, found.costs
    stages = [("encode", costs.encode), ("dense", costs.dense), ("sparse", costs.sparse)]
    stages += [("fuse a candidate", costs.join)]
    if costs.rerank_each:
        stages += [("rerank", costs.rerank), ("and a candidate", costs.rerank_each)]
    times = ", ".join(f"{name} {value:.2f}" for name, value in stages)
    table = _table(
        f"{found.folds} folds, parted in ten ways; {agreement(found.fold_choices)}\nmilliseconds measured: {times}"
    )
    for name in (f"{found.metric} on held-out questions", "default", "chosen", "difference", "95 % interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = comparison.rows
    before, after = (sum(values) / len(rows) for values in zip(*((r.baseline, r.system) for r in rows), strict=True))
    interval = f"{comparison.interval.low:+.3f} to {comparison.interval.high:+.3f}"
    table.add_row(
        f"{len(rows):,} questions",
        f"{before:.3f}",
        f"{after:.3f}",
        f"{comparison.difference:+.3f}",
        interval,
        f"{comparison.p_value:.4f}",
    )
    return table


def _hits(found: Tuning) -> str:
    """Return one sentence about where the lists end."""
    settings = found.settings
    threshold = "" if settings.min_score is None else f" with min_score {settings.min_score:g}"
    budget = "" if settings.budget is None else f"; {settings.budget.milliseconds:.1f} ms are left to the reranker"
    return (
        f"k = {settings.k}{threshold}: {found.hits:.1f} hits a question, {found.metric} {found.held_out:.3f} on "
        f"held-out questions ({found.interval.low:.3f} to {found.interval.high:.3f}){budget}."
    )


def _table(caption: str) -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
