"""What is compared: a search mode, a fusion, a reranker, and how deep they look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..checks import check_count, check_mode, check_text
from ..encoders.base import Encoder
from ..errors import InvalidInputError
from ..fusion import DistributionBased, Fusion, ReciprocalRank, WeightedSum
from ..rerankers.base import Reranker
from ..rerankers.late_interaction import LateInteractionReranker
from ..types import Mode

FUSIONS: dict[str, Fusion] = {
    "rrf": ReciprocalRank(),
    "weighted": WeightedSum.from_alpha(0.5),  # the mean of both sides, each scaled to [0, 1] a query
    "dbsf": DistributionBased(),
}
_FIRST = ("dense", "sparse", *FUSIONS)
_SECOND = ("rerank", "late")


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """One way to search an index; it finds what `HybridIndex.search(query, k=candidates, candidates=candidates)` does.

    Attributes:
        name: for reports and files.
        mode: "hybrid", or one side alone.
        fusion: joins the two sides in hybrid mode; None is reciprocal rank fusion.
        reranker: scores the candidates again; None leaves their order.
        candidates: how many passages each side recalls, and the most that are reranked and returned.

    Raises:
        InvalidInputError: an argument is of the wrong kind, or a fusion is given where one side searches alone.
    """

    name: str
    mode: Mode = "hybrid"
    fusion: Fusion | None = None
    reranker: Reranker | None = None
    candidates: int = 50

    def __post_init__(self) -> None:
        if not check_text(self.name, "name of a system").strip():
            raise InvalidInputError("a system has a blank name; give it one")
        check_mode(self.mode)
        check_count(self.candidates, "candidates", least=1)
        for given, protocol, what in ((self.fusion, Fusion, "fusion"), (self.reranker, Reranker, "reranker")):
            if given is not None and not isinstance(given, protocol):
                raise InvalidInputError(f"{what}={given!r:.80} of system {self.name!r} is no {what}")
        if self.mode != "hybrid" and self.fusion is not None:
            raise InvalidInputError(f"system {self.name!r}: mode {self.mode!r} has nothing to fuse; leave fusion out")

    @property
    def joins(self) -> Fusion:
        """The fusion in use in hybrid mode."""
        return self.fusion or ReciprocalRank()

    def settings(self) -> dict[str, Any]:
        """Return what decides the ranking, as JSON values."""
        return {
            "mode": self.mode,
            "fusion": repr(self.joins) if self.mode == "hybrid" else None,
            "reranker": None if self.reranker is None else f"{self.reranker.name}: {self.reranker!r}",
            "candidates": self.candidates,
        }


def named_systems(
    names: Sequence[str], *, encoder: Encoder, reranker: Reranker | None = None, candidates: int = 50
) -> tuple[System, ...]:
    """Return systems by their names.

    A name is a first stage, "dense", "sparse", "rrf", "weighted" (`WeightedSum.from_alpha(0.5)`) or "dbsf", and
    optionally a second after a plus: "rerank" (the reranker) or "late" (late interaction by the encoder itself):
    "rrf+rerank". "rerank" and "late" alone rerank "rrf".

    Args:
        names: the names, no one twice.
        encoder: for late interaction.
        reranker: for "rerank".
        candidates: see `System`.

    Raises:
        InvalidInputError: a name is unknown, or needs a reranker and there is none.
    """
    systems = []
    for name in names:
        first, _, second = f"rrf+{name}".partition("+") if name in _SECOND else name.partition("+")
        if first not in _FIRST or second not in ("", *_SECOND) or name.endswith("+"):
            raise InvalidInputError(
                f"there is no system {name!r}; known are {', '.join(_FIRST)}, each also with +rerank or +late"
            )
        if second == "rerank" and reranker is None:
            raise InvalidInputError(f"system {name!r} needs a reranker; give one (--rerank), or leave {name!r} out")
        chosen = {"": None, "rerank": reranker, "late": LateInteractionReranker(encoder)}[second]
        modes: dict[str, Mode] = {"dense": "dense", "sparse": "sparse"}
        systems.append(System(name, modes.get(first, "hybrid"), FUSIONS.get(first), chosen, candidates))
    check_names(systems)
    return tuple(systems)


def check_names(systems: Sequence[System]) -> None:
    """Raise InvalidInputError unless there are systems, each with a name of its own."""
    names = [system.name for system in systems]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise InvalidInputError(
            f"two systems are named {twice[0]!r}" if twice else "there is no system to run; name one"
        )
