"""The settings that tuning compares."""

from __future__ import annotations

from dataclasses import dataclass

from ...checks import check_count
from ...errors import InvalidInputError
from ...fusion import DistributionBased, Fusion, ReciprocalRank, WeightedSum
from ...rerankers.budget import Budget
from ...settings import CANDIDATES, fusion_dict
from .costs import Costs

_LEAST = 3  # candidates that a budget must be worth, as `Budget.min_candidates`

# Few, and far enough apart to tell: a finer grid finds hardly more, and chooses by chance what it finds.
FUSIONS: tuple[Fusion, ...] = (
    ReciprocalRank(),
    ReciprocalRank(k=10),
    *(WeightedSum(i / 5, (5 - i) / 5, "minmax") for i in range(6)),  # from sparse alone to dense alone
    WeightedSum(),  # raw scores with the paper's weights, for BAAI/bge-m3 itself
    DistributionBased(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is tried: every fusion with every number of candidates, as it is and reranked.

    The default, reciprocal rank fusion with k = 60 over 50 candidates, is tried in any case.

    Attributes:
        fusions: ReciprocalRank, WeightedSum and DistributionBased with the parameters to try.
        candidates: how many each side recalls, where nothing is reranked.
        reranked: the same where an index has a reranker, which then scores as many; with a bound on latency, as many of
            them as there is time for.

    Raises:
        InvalidInputError: there is nothing to try, or something that settings cannot hold.
    """

    fusions: tuple[Fusion, ...] = FUSIONS
    candidates: tuple[int, ...] = (20, 50, 100)
    reranked: tuple[int, ...] = (10, 20, 50)

    def __post_init__(self) -> None:
        if not self.fusions or not self.candidates:
            raise InvalidInputError("the grid has no fusion or no number of candidates to try; name some")
        for fusion in self.fusions:
            fusion_dict(fusion)
        for depth in (*self.candidates, *self.reranked):
            check_count(depth, "candidates of the grid", least=1)

    def depth(self, k: int, *, reranker: bool) -> int:
        """Return the most that any of its settings recalls from a side."""
        return max(k, CANDIDATES, *self.candidates, *(self.reranked if reranker else ()))


@dataclass(frozen=True, slots=True)
class Variant:
    """One setting of the grid.

    Attributes:
        fusion: how both sides are joined.
        candidates: how many each side recalls.
        reranked: how many of the fused list the reranker scores; 0 leaves it out.
        budget: for the reranker, where latency is bounded.
        milliseconds: what a search should take, see `Costs`.
    """

    fusion: Fusion
    candidates: int
    reranked: int
    budget: Budget | None
    milliseconds: float

    @property
    def is_default_fusion(self) -> bool:
        """Whether it fuses as an index does that was told nothing."""
        return self.fusion == ReciprocalRank()

    def __str__(self) -> str:
        many = f"{self.candidates} candidates"
        return f"{fusion_name(self.fusion)}, {many}" + (f", {self.reranked} reranked" if self.reranked else "")


def variants(grid: Grid, *, k: int, costs: Costs, reranker: bool, max_ms: float | None) -> tuple[Variant, ...]:
    """Return the settings of a grid that keep a bound on latency; the first is the default, or what comes nearest.

    Args:
        grid: what to try.
        k: how many hits are wanted; as many candidates are recalled at least.
        costs: of the stages.
        reranker: whether there is one.
        max_ms: the most milliseconds that a search may take; None for no bound.

    Raises:
        InvalidInputError: no setting keeps the bound; the message says what takes how long.
    """
    fusions = list(grid.fusions) if ReciprocalRank() in grid.fusions else [ReciprocalRank(), *grid.fusions]
    plain, deep = (
        sorted({max(k, depth) for depth in (*some, CANDIDATES)}) for some in (grid.candidates, grid.reranked)
    )
    found = [
        Variant(fusion, depth, 0, None, costs.total(depth, 0))
        for fusion in fusions
        for depth in plain
        if max_ms is None or costs.total(depth, 0) <= max_ms
    ]
    if not found:
        raise InvalidInputError(
            f"max_ms={max_ms:g} cannot be kept: encoding a query takes {costs.encode:.1f} ms, dense search "
            f"{costs.dense:.1f}, sparse search {costs.sparse:.1f}, fusing {plain[0]} candidates "
            f"{costs.join * plain[0]:.1f}; a smaller or faster model helps (ONNX, int8)"
        )
    for fusion in fusions if reranker else []:
        for depth in deep:
            count, budget = _reranked(depth, costs, max_ms)
            if count:
                found.append(Variant(fusion, depth, count, budget, costs.total(depth, count)))
    default = min(
        (variant for variant in found if variant.is_default_fusion),
        key=lambda variant: (variant.reranked == 0, abs(variant.candidates - CANDIDATES)),
    )
    return (default, *(variant for variant in found if variant is not default))


def fusion_name(fusion: Fusion) -> str:
    """Return a fusion in a few words: "RRF k=60", "0.7 dense + 0.3 sparse (minmax)", "DBSF"."""
    if isinstance(fusion, WeightedSum):
        scale = "minmax" if fusion.normalization == "minmax" else "raw"
        return f"{fusion.dense:.3g} dense + {fusion.sparse:.3g} sparse ({scale})"
    name = f"RRF k={fusion.k:g}" if isinstance(fusion, ReciprocalRank) else "DBSF"
    weights = getattr(fusion, "weights", {})
    return name + (f" ({', '.join(f'{side} {weight:g}' for side, weight in weights.items())})" if weights else "")


def _reranked(depth: int, costs: Costs, max_ms: float | None) -> tuple[int, Budget | None]:
    """Return how many of the candidates are reranked, and the budget that makes it so."""
    if max_ms is None:
        return depth, None
    left = max_ms - costs.before(depth)
    count, least = min(depth, costs.affordable(left)), min(_LEAST, depth)
    return (count, Budget(round(left, 3), least, depth)) if count >= least else (0, None)
