"""`bge-hybrid eval`: systems compared on questions with known answers."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInputError, require
from ..types import Passage
from .models import RERANKER_NAMES, ModelOption, load_encoder, load_reranker

if TYPE_CHECKING:
    from rich.table import Table

    from ..evaluation import Evaluation, EvaluationSet
    from ..pipeline import HybridIndex

_SYSTEMS = "dense,sparse,rrf,weighted"


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder with corpus.jsonl, queries.jsonl and qrels.tsv (BEIR), or with topics.tsv and qrels.txt "
            "(TREC); a CSV with the columns question and document (or text); with --synthetic also an index.",
        ),
    ],
    index: Annotated[
        Path | None,
        typer.Option(help="The index folder; built from DATA if missing. [default: index in --out, else none is kept]"),
    ] = None,
    model: ModelOption = None,
    rerank: Annotated[str | None, typer.Option(help=f"The reranker of 'rerank': {RERANKER_NAMES}")] = None,
    systems: Annotated[
        str | None,
        typer.Option(
            help="Between commas: dense, sparse, rrf, weighted, dbsf, each also with +rerank or +late; rerank and late "
            f"alone rerank rrf. The first is the baseline. [default: {_SYSTEMS}, and rerank with --rerank]",
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="The cutoff of the metrics.")] = 10,
    candidates: Annotated[int, typer.Option(min=1, help="How many passages each side recalls.")] = 50,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html and its charts, results.json and run files; a killed evaluation continues."
        ),
    ] = None,
    synthetic: Annotated[
        int | None,
        typer.Option(min=1, help="Make this many questions of each kind from the passages, instead of reading any."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of synthetic questions, intervals and tests.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure how well systems find what answers each question, and how sure that is."""
    from ..evaluation import evaluate as measure_systems
    from ..evaluation import named_systems
    from ..evaluation.report import write_report
    from ..pipeline import HybridIndex
    from ..stores.embedded.ledger import read_fingerprint
    from .tables import make_console

    require("ir_measures", "eval")
    if out is not None:
        require("matplotlib", "eval")  # rather now than after hours of searching
    show = sys.stderr.isatty()
    dataset = _read(data, index, synthetic, seed)
    kept = index or (out / "index" if out else None)
    encoder = load_encoder(
        model, next((folder for folder in (kept, data) if folder and read_fingerprint(folder)), data)
    )
    names = (systems or _SYSTEMS + (",rerank" if rerank else "")).split(",")
    reranker = load_reranker(rerank, encoder)
    chosen = named_systems([name.strip() for name in names], encoder=encoder, reranker=reranker, candidates=candidates)
    with ExitStack() as stack:
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = stack.enter_context(HybridIndex.open(folder, encoder=encoder))
        fill_index(opened, dataset, folder)
        found = measure_systems(opened, dataset, chosen, k=k, folder=out, seed=seed, show_progress=show)
        report = None if out is None else write_report(found, out, index=opened, show_progress=show)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False, indent=2))
        return
    console = make_console()
    console.print(_heading(found))
    for table in (_figures(found), _comparisons(found), _latency(found)):
        if table.row_count:
            console.print(table)
            console.print()
    if out is not None:
        typer.echo(f"{report} shows it; {out / 'results.json'} has every query; {out / 'runs'} has the run files.")


def _read(data: Path, index: Path | None, synthetic: int | None, seed: int) -> EvaluationSet:
    from ..evaluation import read_set, synthetic_set
    from ..evaluation.dataset_files import read_passages

    held = held_passages(data)
    if synthetic is not None:
        corpus = read_passages(data / "corpus.jsonl" if data.is_dir() else data) if held is None else held
        return synthetic_set(corpus, count=synthetic, seed=seed, name=f"{data.resolve().name} (synthetic questions)")
    if held is not None:
        raise InvalidInputError(f"{data} is an index, without questions; add --synthetic 100 to make some from it")
    own = (data / "corpus.jsonl").is_file()
    return read_set(data, None if own or index is None else held_passages(index))


def held_passages(folder: Path) -> list[Passage] | None:
    """Return what an index holds; None where there is no index."""
    from ..stores.embedded import EmbeddedStore
    from ..stores.embedded.ledger import read_fingerprint

    built = read_fingerprint(folder)
    if built is None:
        return None
    store = EmbeddedStore(folder, built)
    try:
        ids = store.ids()
        found = store.get(ids)
        return [found[id_] for id_ in ids if id_ in found]
    finally:
        store.close()


def fill_index(index: HybridIndex, dataset: EvaluationSet, folder: Path) -> None:
    """Add to an index what it lacks of the corpus; one that holds anything else is not written to."""
    stored = dict(zip((p.id for p in dataset.corpus), index.get([p.id for p in dataset.corpus]), strict=True))
    missing = [passage for passage in dataset.corpus if stored[passage.id] is None]
    changed = [p.id for p in dataset.corpus if (old := stored[p.id]) is not None and old.text != p.text]
    others = len(index) - (len(dataset.corpus) - len(missing))
    if changed or (others and missing):
        held = f"another text under id {changed[0]!r:.80}" if changed else f"{others:,} other passages"
        raise InvalidInputError(
            f"the index in {folder} holds {held}, so it is not filled with {dataset.name}; choose a folder of its own"
        )
    if missing:
        index.upsert(missing, show_progress=sys.stderr.isatty())


def _heading(found: Evaluation) -> str:
    from rich.markup import escape

    from ..evaluation.report.findings import finding
    from ..evaluation.report.numbers import stage_steps

    unjudged = f" ({found.unjudged:,} without judgements left out)" if found.unjudged else ""
    lines = [
        f"[bold]{escape(found.dataset)}[/]: {found.documents:,} passages, {len(found.queries):,} questions{unjudged}, "
        f"{escape(found.encoder)}"
    ]
    if found.kinds:  # none of them by a language model: the command line has none
        lines.append("Synthetic questions use the passages' own words: compare systems by them; users' are harder.")
    lines.append(escape(finding(found, stage_steps(found))))
    return "\n".join([*lines, ""])


def _figures(found: Evaluation) -> Table:
    """Return a table of means, the first metric with its interval, the best of each column marked."""
    first, *rest = found.metrics
    table = _table(f"{first} with its 95 % bootstrap interval; pairs: relevant above not relevant, of what was found")
    table.add_column("system")
    kinds = sorted(set(found.kinds.values()))
    for name in (first, *rest, "pairs", *kinds):
        table.add_column(name, justify="right", no_wrap=True)
    best = {metric: max(result.means[metric] for result in found.systems) for metric in found.metrics}
    for result in found.systems:
        low, high = result.intervals[first]
        means = {metric: f"{result.means[metric]:.3f}" for metric in found.metrics}
        cells = [f"[bold]{text}[/]" if result.means[m] == best[m] else text for m, text in means.items()]
        cells[0] += f" [dim]{low:.3f}-{high:.3f}[/]"
        pairs = "-" if result.pairwise_accuracy is None else f"{result.pairwise_accuracy:.3f}"
        by_kind = found.mean_by_kind(result.name)
        table.add_row(result.name, *cells, pairs, *(f"{by_kind[kind]:.3f}" for kind in kinds))
    return table


def _comparisons(found: Evaluation) -> Table:
    """Return a table of every other system against the first."""
    table = _table("p: two-sided randomisation test over queries, not corrected for the number of systems")
    table.add_column(f"{found.metrics[0]} against {found.systems[0].name}")
    for name in ("difference", "95 % interval", "wins", "losses", "ties", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.comparisons():
        interval = f"{row.interval.low:+.3f} to {row.interval.high:+.3f}"
        counts = (len(row.wins), len(row.losses), row.ties)
        table.add_row(row.system, f"{row.difference:+.3f}", interval, *map(str, counts), f"{row.p_value:.4f}")
    return table


def _latency(found: Evaluation) -> Table:
    """Return a table of milliseconds a query in each stage."""
    table = _table("p50 / p95; queries are encoded in one batch, whose time is divided among them")
    stages = [
        stage
        for stage in ("encode", "dense", "sparse", "fused", "reranked", "total")
        if any(stage in result.latency for result in found.systems)
    ]
    table.add_column("milliseconds a query")
    for stage in stages:
        table.add_column(stage, justify="right", no_wrap=True)
    for result in found.systems:
        cells = [
            f"{result.latency[stage].p50:.1f} / {result.latency[stage].p95:.1f}" if stage in result.latency else "-"
            for stage in stages
        ]
        table.add_row(result.name, *cells)
    return table


def _table(caption: str) -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
