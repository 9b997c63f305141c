"""The commands. Heavy imports happen inside them, so that `--help` is quick."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..checks import check_mode, check_text
from ..errors import HybridError, InvalidInputError, MissingDependencyError
from ..types import Passage
from . import importing, upkeep
from .evaluate import evaluate
from .models import RERANKER_NAMES, ModelOption, load_encoder, load_reranker
from .tune import tune

if TYPE_CHECKING:
    from .reading import Splitter

app = typer.Typer(
    help="Two-stage hybrid retrieval with BGE-M3.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
app.add_typer(importing.app, name="import")


@app.command()
def index(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders: text, Markdown, HTML, PDF, source code.")],
    into: Annotated[Path, typer.Option(help="The index folder; made if missing.")],
    model: ModelOption = None,
    chunk_tokens: Annotated[int, typer.Option(min=16, help="The most tokens of a passage.")] = 256,
) -> None:
    """Index files. Run it again after changes: only new text is embedded, what is gone is taken out."""
    from ..pipeline import HybridIndex
    from ..stores.embedded.ledger import read_fingerprint
    from .reading import Splitter, find_files

    files = find_files(paths, but=into)
    nothing = InvalidInputError(f"no files of a kind that is read in {', '.join(map(str, paths))}")
    if not files and read_fingerprint(into) is None:
        raise nothing
    encoder = load_encoder(model, into)
    passages, unread = _read(files, Splitter(encoder.token_count, chunk_tokens))
    with HybridIndex.open(into, encoder=encoder) as opened:
        present = {passage.id for passage in passages}
        gone = _gone(opened.ids(), present, paths, unread)
        if not files and not gone:
            raise nothing
        stored = opened.get([passage.id for passage in passages])
        changed = [new for new, old in zip(passages, stored, strict=True) if new != old]
        opened.upsert(changed, show_progress=sys.stderr.isatty())
        removed = opened.delete(gone)
        total = len(opened)
    typer.echo(
        f"{len(files) - len(unread)} files, {len(passages)} passages: {len(changed)} new or changed, "
        f"{len(passages) - len(changed)} unchanged, {removed} removed. {into} holds {total}."
    )


@app.command()
def search(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The index folder.")],
    question: Annotated[str, typer.Argument(help="A question or keywords.")],
    k: Annotated[int, typer.Option("--k", "-k", min=0, help="How many hits.")] = 5,
    candidates: Annotated[int, typer.Option(min=0, help="How many passages each side recalls.")] = 50,
    mode: Annotated[str, typer.Option(help="hybrid, dense or sparse.")] = "hybrid",
    filter: Annotated[
        list[str] | None, typer.Option("--filter", help="KEY=VALUE; only passages with this metadata.")
    ] = None,
    rerank: Annotated[str | None, typer.Option(help=f"The reranker: {RERANKER_NAMES}")] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that reranking may take; the rest keeps its fused order.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out what the reranker gives less; 0 to 1.")] = None,
    instruction: Annotated[
        str | None, typer.Option(help="In words, what makes a passage relevant, for rerankers that take it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    model: ModelOption = None,
) -> None:
    """Search an index and show why each hit was found."""
    from ..pipeline import HybridIndex
    from ..rerankers.budget import Budget
    from ..stores.embedded.ledger import read_fingerprint
    from .tables import hits_json, hits_table, make_console

    if read_fingerprint(folder) is None:
        raise InvalidInputError(f"there is no index in {folder}; make one with: bge-hybrid index PATH --into {folder}")
    filters = _parse_filters(filter)
    chosen = check_mode(mode)
    most = max(k, candidates, 1)
    budget = None if budget_ms is None else Budget(budget_ms, min_candidates=min(3, most), max_candidates=most)
    for option, given in (("--budget-ms", budget), ("--min-score", min_score), ("--instruction", instruction)):
        if given is not None and rerank is None:
            raise InvalidInputError(f"{option} is for reranking; name a reranker with --rerank")
    encoder = load_encoder(model, folder)
    with HybridIndex.open(folder, encoder=encoder, reranker=load_reranker(rerank, encoder)) as opened:
        hits = opened.explain(
            question, k, candidates, filters, chosen, budget=budget, min_score=min_score, instruction=instruction
        )
    if as_json:
        typer.echo(hits_json(hits))
    elif hits:
        make_console().print(hits_table(hits))
    else:
        typer.echo("nothing found")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Hub name or folder of an encoder or a cross-encoder.")],
    into: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    precision: Annotated[str, typer.Option(help="fp32 or int8.")] = "fp32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
) -> None:
    """Write a model for ONNX Runtime, which then needs neither torch nor transformers."""
    from ..encoders.checkpoint import TINY
    from ..export.folder import export_model

    if model == TINY:
        raise InvalidInputError(
            "the small models in the package are an encoder and a reranker; name the folder of one: "
            "python -c \"import hybrid_core; print(hybrid_core.__path__[0] + '/models/tiny_m3')\""
        )
    # a str as far as typer knows; export_model refuses what is no precision
    made = export_model(model, into, precision=precision, overwrite=overwrite)  # type: ignore[arg-type]
    size = sum(path.stat().st_size for path in into.rglob("*") if path.is_file())
    use = "BgeM3Encoder" if made.kind == "encoder" else "CrossEncoderReranker"
    typer.echo(f'{made.kind} in {made.precision}, {size / 1e6:,.0f} MB: use it as {use}("{into}")')


app.command("eval")(evaluate)
app.command()(tune)
for _command in (upkeep.optimize, upkeep.compact, upkeep.backup):
    app.command()(_command)


@app.command()
def demo() -> None:
    """Index the corpus in the package and answer questions through the core, LangChain and LlamaIndex."""
    from .demo import run

    run()


def main() -> None:
    """Run the command line; our own errors end in one line and exit code 1."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what cannot be read is reported by file
    try:
        app()
    except HybridError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(1)


def _parse_filters(pairs: list[str] | None) -> dict[str, Any] | None:
    """Read KEY=VALUE pairs; a value that is a JSON number or boolean counts as such."""
    import json

    parsed: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInputError(f"--filter {pair!r} must have the form KEY=VALUE")
        if key in parsed:
            raise InvalidInputError(f"--filter names {key!r} twice; a passage has one value of it")
        try:
            parsed[key] = json.loads(value, parse_constant=str)
        except ValueError:
            parsed[key] = value
    return parsed or None


def _read(files: list[Path], splitter: Splitter) -> tuple[list[Passage], list[Path]]:
    """Return the passages of all files, and the files that could not be read, which are reported."""
    passages, unread = [], []
    for path in files:
        try:
            check_text(str(path), "its name")
            passages += splitter.passages(path)
        except (HybridError, OSError) as error:
            if isinstance(error, MissingDependencyError):
                raise
            unread.append(path)
            name = str(path).encode("utf-8", "backslashreplace").decode()
            typer.echo(f"not read: {name}: {' '.join(str(error).split())}")
    return passages, unread


def _gone(stored: list[str], present: set[str], paths: list[Path], unread: list[Path]) -> list[str]:
    """Return stored ids that belong to the given paths but to no passage any more; unreadable files keep theirs."""
    from .reading import absolute

    roots = [absolute(path).as_posix() for path in paths]
    kept = {path.as_posix() for path in unread}
    gone = []
    for id_ in stored:
        source = id_.rpartition("#")[0]
        inside = any(source == root or source.startswith(f"{root}/") for root in roots)
        if id_ not in present and inside and source not in kept:
            gone.append(id_)
    return gone
