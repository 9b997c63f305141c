"""`bge-hybrid optimize`, `compact`, `backup`: looking after an index folder; none of them needs the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInputError

if TYPE_CHECKING:
    from ..stores.embedded import EmbeddedStore

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The index folder.")]


def optimize(folder: FolderArgument) -> None:
    """Fold new passages into the HNSW index, so that a large index is searched fast."""
    with _opened(folder) as store:
        typer.echo(f"{store.optimize()} passages folded in; {folder} holds {store.count()}.")


def compact(folder: FolderArgument) -> None:
    """Give back the space of deleted and replaced passages."""
    with _opened(folder) as store:
        before = _size(folder)
        gaps = store.compact()
        typer.echo(f"{gaps} passages' space given back, {max(0, before - _size(folder)) / 1e6:,.1f} MB.")


def backup(
    folder: FolderArgument, to: Annotated[Path, typer.Argument(metavar="TO", help="The folder to make.")]
) -> None:
    """Copy an index, also one in use, to a new folder that opens on any machine."""
    with _opened(folder) as store:
        typer.echo(f"{store.backup(to)} passages copied to {to}.")


@contextmanager
def _opened(folder: Path) -> Iterator[EmbeddedStore]:
    from ..stores.embedded import EmbeddedStore
    from ..stores.embedded.ledger import read_fingerprint

    fingerprint = read_fingerprint(folder)
    if fingerprint is None:
        raise InvalidInputError(f"there is no index in {folder}; make one with: bge-hybrid index PATH --into {folder}")
    store = EmbeddedStore(folder, fingerprint)
    try:
        yield store
    finally:
        store.close()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
