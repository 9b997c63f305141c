"""What `HybridIndex` is handed, as passages and ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .checks import check_id, make_passage
from .errors import InvalidInputError
from .types import Metadata, Passage


def pair_up(
    texts: Iterable[str | Passage], ids: Sequence[str] | None, metadatas: Sequence[Metadata] | None
) -> Iterator[Passage]:
    """Pair texts with ids and metadata."""
    id_stream = None if ids is None else iter(ids)
    metadata_stream = None if metadatas is None else iter(metadatas)
    for position, text in enumerate(texts):
        given_id = _next(id_stream, "ids", position)
        metadata = _next(metadata_stream, "metadatas", position)
        if isinstance(text, Passage):
            if given_id is not None or metadata is not None:
                raise InvalidInputError("Passages carry their own id and metadata; leave ids and metadatas out")
            yield text
            continue
        yield make_passage(text, given_id, metadata, f"text {position}")
    for name, stream in (("ids", id_stream), ("metadatas", metadata_stream)):
        if stream is not None and next(stream, None) is not None:
            raise InvalidInputError(f"there are more {name} than texts; one a text is needed")


def _next(stream: Iterator[Any] | None, name: str, position: int) -> Any:
    if stream is None:
        return None
    try:
        return next(stream)
    except StopIteration:
        raise InvalidInputError(f"there is no {name}[{position}]; one a text is needed") from None


def check_ids(ids: Sequence[str]) -> list[str]:
    """Return the ids as a list; the error names the position of what is no id."""
    if isinstance(ids, str):
        raise InvalidInputError(f"ids is one string {ids!r:.80}: wrap it in a list")
    return [check_id(id_, f"ids[{i}]") for i, id_ in enumerate(ids)]
