"""`bge-hybrid import`: taking over what another store holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidInputError
from .models import ModelOption, load_encoder

app = typer.Typer(help="Take over what another store holds.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _import() -> None:
    """Take over what another store holds."""  # having a callback, typer keeps the one command's name


@app.command()
def chroma(
    path: Annotated[Path, typer.Argument(help="The folder that Chroma wrote; it is not changed.")],
    collection: Annotated[str, typer.Argument(help="The collection's name ('langchain' if LangChain chose it).")],
    into: Annotated[Path, typer.Option(help="The index folder; made if missing.")],
    model: ModelOption = None,
    same_model: Annotated[
        bool, typer.Option("--same-model", help="The same model made the stored vectors: keep them as they are.")
    ] = False,
) -> None:
    """Import a collection of Chroma, LangChain or LlamaIndex. Run it again to go on: only what is new is embedded."""
    from ..importing import ChromaCollection, check, write
    from ..pipeline import HybridIndex

    inside = (Path(os.path.realpath(into)), *Path(os.path.realpath(into)).parents)
    if Path(os.path.realpath(path)) in inside:
        raise InvalidInputError(f"--into {into} lies in {path}, which is not to be changed; choose another folder")
    with ChromaCollection(path, collection, vectors=same_model) as source:
        encoder = load_encoder(model, into)
        check(source, encoder)
        with HybridIndex.open(into, encoder=encoder) as index:
            report = write(source, index, show_progress=sys.stderr.isatty())
            total = len(index)
        entries = len(source)
    left_out = f", {report.skipped} left out" if report.skipped else ""
    typer.echo(
        f"{entries} entries: {report.written} new or changed, {report.present} unchanged{left_out}. "
        f"{into} holds {total}."
    )
