"""`bge-hybrid tune`: the settings that answer questions with known answers best, or nearly so at the least cost."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInputError, StorageError
from .evaluate import fill_index, held_passages
from .models import RERANKER_NAMES, ModelOption, load_encoder, load_reranker

if TYPE_CHECKING:
    from rich.table import Table

    from ..evaluation import EvaluationSet
    from ..evaluation.tuning import Tuning


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
    rerank: Annotated[str | None, typer.Option(help=f"The reranker to try too: {RERANKER_NAMES}")] = None,
    target: Annotated[str, typer.Option(help="best, or cheapest: the least latency within 1 % of the best.")] = "best",
    max_ms: Annotated[
        float | None,
        typer.Option(help="The most milliseconds that a median search may take, reranking included."),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="The cutoff of nDCG, and the most hits.")] = 10,
    out: Annotated[Path, typer.Option(help="The settings file to write, for HybridIndex.open(settings=).")] = Path(
        "settings.json"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of folds, intervals and tests.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Choose fusion, candidates, hits, threshold and budget on questions with known answers, by cross-validation."""
    from ..evaluation.tuning import tune as find_settings
    from ..evaluation.tuning.choice import check_target
    from ..pipeline import HybridIndex
    from ..stores.embedded.ledger import read_fingerprint
    from .tables import make_console

    aim = check_target(target)
    if not out.absolute().parent.is_dir():
        raise StorageError(f"{out} cannot be written: there is no folder {out.absolute().parent}")
    dataset = _read(data, index)
    encoder = load_encoder(model, index if index is not None and read_fingerprint(index) else data)
    with ExitStack() as stack:
        folder = index or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = stack.enter_context(HybridIndex.open(folder, encoder=encoder, reranker=load_reranker(rerank, encoder)))
        fill_index(opened, dataset, folder)
        show = sys.stderr.isatty()
        found = find_settings(opened, dataset, target=aim, max_ms=max_ms, k=k, seed=seed, show_progress=show)
    found.settings.to_json(out)
    if as_json:
        typer.echo(json.dumps(found.as_dict(queries=False), ensure_ascii=False, indent=2))
        return
    console = make_console()
    console.print(_figures(found))
    console.print()
    for line in (found.reason, *_remarks(found)):
        console.print(line, markup=False, soft_wrap=True)
    use = f'HybridIndex.open("my-index", encoder=encoder, {"reranker=reranker, " * bool(rerank)}settings="{out}")'
    console.print(f"Written to {out}; use it with: {use}", markup=False, soft_wrap=True)


def _read(data: Path, index: Path | None) -> EvaluationSet:
    from ..evaluation import read_set
    from ..stores.embedded.ledger import read_fingerprint

    if read_fingerprint(data) is not None:
        raise InvalidInputError(f"{data} is an index; give questions with known answers, and the index as --index")
    own = (data / "corpus.jsonl").is_file()
    return read_set(data, None if own or index is None else held_passages(index))


def _figures(found: Tuning) -> Table:
    """Return a table of two rows: the default, and what the settings file holds."""
    from rich.markup import escape
    from rich.table import Table

    from ..evaluation.tuning.result import agreement

    comparison = found.comparison
    caption = (
        f"{escape(found.dataset)}, {len(comparison.rows):,} questions; in brackets 95 % intervals. tuned is "
        "cross-validated: measured on questions that had no say in the choice "
        f"({found.folds} folds, parted in ten ways; {agreement(found.fold_choices)})."
    )
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("setting")
    for name in (f"{found.metric} held out", "against the default", "ms p50 / p95"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = (
        ("default", found.default, found.default.mean, found.default_interval, "-"),
        ("tuned", found.taken, found.held_out, found.interval, _against(found)),
    )
    for name, trial, mean, (low, high), difference in rows:
        latency = found.latency[name]
        figure, times = f"{mean:.3f} [dim]({low:.3f}-{high:.3f})[/]", f"{latency.p50:.1f} / {latency.p95:.1f}"
        table.add_row(f"{name}: {trial.variant}", figure, difference, times)
    return table


def _against(found: Tuning) -> str:
    if not found.changed:
        return "the same"
    low, high = found.comparison.interval
    return f"{found.comparison.difference:+.3f} [dim]({low:+.3f} to {high:+.3f})[/]"


def _remarks(found: Tuning) -> list[str]:
    """Return sentences about where the lists end, and about time."""
    settings, p50 = found.settings, found.latency["tuned"].p50
    threshold = "" if settings.min_score is None else f" and a rerank threshold of {settings.min_score:g}"
    lines = [f"TopK {settings.candidates}, TopN {settings.k}{threshold}: {found.hits:.1f} hits a question."]
    if settings.budget is not None:
        lines.append(f"The reranker has a budget of {settings.budget.milliseconds:.1f} ms.")
    if found.max_ms is not None and p50 > found.max_ms:
        lines.append(
            f"Searches took {p50:.1f} ms in the median, more than the bound of {found.max_ms:g}: the machine was "
            "busier than when the stages were measured; tune again when it is quiet."
        )
    return lines
