"""How an index is searched where a call says nothing: as a value, and as a file that `bge-hybrid tune` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from .checks import check_count, check_text
from .errors import InvalidInputError, StorageError
from .fusion import DistributionBased, Fusion, ReciprocalRank, WeightedSum
from .rerankers.budget import Budget

T = TypeVar("T")

K, CANDIDATES = 5, 50  # what a search does where neither the call nor the settings say
_FUSIONS: dict[str, type[Any]] = {cls.__name__: cls for cls in (ReciprocalRank, WeightedSum, DistributionBased)}
_SIDES = ("dense", "sparse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `HybridIndex.search` takes where its own argument is None; its arguments win. None here leaves the default.

    Attributes:
        k: how many hits (TopN); 5 by default.
        candidates: how many each side recalls, and how many of the fused list are reranked (TopK); 50 by default.
        fusion: how dense and sparse are joined; reciprocal rank fusion with k = 60 by default.
        rerank: False leaves the index's reranker out; True by default.
        budget: how long reranking may take.
        min_score: from 0 to 1; leaves out what the reranker gave less. It belongs to the reranker that it was chosen
            with: another's scores mean something else.
        note: where the settings come from, for whoever reads the file.

    Raises:
        InvalidInputError: a value is out of range or of the wrong kind.

    Example:
        >>> settings = Settings(candidates=20, fusion=WeightedSum.from_alpha(0.7))
        >>> settings.to_json("settings.json")
        >>> Settings.from_json("settings.json") == settings
        True
        >>> index = HybridIndex.open("my-index", encoder=BgeM3Encoder.tiny(), settings="settings.json")
    """

    k: int | None = None
    candidates: int | None = None
    fusion: Fusion | None = None
    rerank: bool | None = None
    budget: Budget | None = None
    min_score: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("k", "candidates"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_count(getattr(self, name), name))  # numpy's integers become int
        if self.fusion is not None and not isinstance(self.fusion, Fusion):
            raise InvalidInputError(f"fusion={self.fusion!r:.80} is no fusion; pass an object, not a name")
        if not isinstance(self.rerank, bool | None):
            raise InvalidInputError(f"rerank={self.rerank!r:.80} must be True, False or None")
        if not isinstance(self.budget, Budget | None):
            raise InvalidInputError(f"budget={self.budget!r:.80} is no Budget; pass Budget(milliseconds=...)")
        score = self.min_score
        if score is not None and not (_is_number(score) and 0 <= score <= 1):
            raise InvalidInputError(f"min_score={score!r:.80} must be a number from 0 to 1, as scores are")
        check_text(self.note, "note")

    @property
    def needs_reranker(self) -> bool:
        """Whether something here makes no sense without a reranker."""
        return self.budget is not None or self.min_score is not None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; what is not set is left out.

        Raises:
            InvalidInputError: the fusion is none of this package's three.
        """
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["fusion"] = None if self.fusion is None else fusion_dict(self.fusion)
        plain["budget"] = None if self.budget is None else asdict(self.budget)
        return {name: value for name, value in plain.items() if value not in (None, "")}

    @classmethod
    def from_dict(cls, data: object) -> Settings:
        """Read what `as_dict` gave.

        Raises:
            InvalidInputError: naming the entry that is unknown, out of range or of another kind.
        """
        values = _entries(data, "settings", [f.name for f in fields(cls)])
        if values.get("fusion") is not None:
            values["fusion"] = read_fusion(values["fusion"])
        if values.get("budget") is not None:
            values["budget"] = Budget(**_entries(values["budget"], "budget", [f.name for f in fields(Budget)]))
        return cls(**values)

    def to_json(self, path: str | Path) -> None:
        """Write a JSON file, in place of one that is there.

        Raises:
            InvalidInputError: the fusion is none of this package's three.
            StorageError: it cannot be written.
        """
        text = json.dumps(self.as_dict(), ensure_ascii=False, indent=2) + "\n"
        try:
            Path(path).write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error

    @classmethod
    def from_json(cls, path: str | Path) -> Settings:
        """Read a file that `to_json` or `bge-hybrid tune` wrote, or a person.

        Raises:
            InvalidInputError: naming the file, and the entry that is unknown, given twice, out of range or of another
                kind.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise InvalidInputError(
                f"{path} cannot be read: {error.strerror or error}; settings are written by bge-hybrid tune --out"
            ) from error
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"{path} is not UTF-8 ({error.reason}); convert the file first") from None
        try:
            data = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path} is no JSON ({error})") from None
        try:
            return cls.from_dict(data)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}") from error

    @classmethod
    def read(cls, given: Settings | str | Path | None) -> Settings:
        """Return settings as they are, those of a file, or of None empty ones.

        Raises:
            InvalidInputError: it is none of these, or the file cannot be read.
        """
        if given is None:
            return cls()
        if isinstance(given, str | Path):
            return cls.from_json(given)
        if not isinstance(given, Settings):
            raise InvalidInputError(f"settings={given!r:.80} are none; pass a Settings object or a file's path")
        return given


def said(given: T | None, settled: T | None, otherwise: T) -> T:
    """Return what a call gives; where it gives None, what was settled; where that is None, the default."""
    if given is not None:
        return given
    return otherwise if settled is None else settled


def fusion_dict(fusion: Fusion) -> dict[str, Any]:
    """Return one of this package's three fusions as its name and its parameters.

    Raises:
        InvalidInputError: it is another.
    """
    name = type(fusion).__name__
    if _FUSIONS.get(name) is not type(fusion):
        raise InvalidInputError(f"fusion={fusion!r:.80} cannot be written down; those that can: {', '.join(_FUSIONS)}")
    plain = {"name": name, **asdict(fusion)}  # type: ignore[call-overload]
    read_fusion(plain)  # weights of lists that are not there, say, would be refused then
    return plain


def read_fusion(data: object) -> Fusion:
    """Read what `fusion_dict` gave.

    Raises:
        InvalidInputError: naming the entry that is unknown, out of range or of another kind.
    """
    name = data.get("name") if isinstance(data, Mapping) else None
    cls = _FUSIONS.get(name) if isinstance(name, str) else None
    if cls is None:
        raise InvalidInputError(f"fusion={data!r:.80} needs a name, one of {', '.join(_FUSIONS)}")
    values = _entries(data, "fusion", ["name", *(f.name for f in fields(cls))])
    del values["name"]
    for key, value in values.items():
        if key == "weights":
            numbers = _entries(value, "weights of fusion", _SIDES)
        else:
            numbers = {} if key == "normalization" else {key: value}
        for entry, number in numbers.items():
            if not _is_number(number):
                raise InvalidInputError(f"{entry}={number!r:.80} of fusion {name} must be a number")
    try:
        made: Fusion = cls(**values)
    except InvalidInputError as error:
        raise InvalidInputError(f"fusion {name}: {error}") from None
    return made


def _entries(data: object, what: str, known: Sequence[str]) -> dict[str, Any]:
    """Return a mapping as a dict, or raise InvalidInputError naming the entry that is unknown."""
    if not isinstance(data, Mapping):
        raise InvalidInputError(f"{what} is {data!r:.80}; an object with some of {', '.join(known)} is needed")
    for key in data:
        if key not in known:
            raise InvalidInputError(f"{what} has {key!r:.80}={data[key]!r:.80}; known are {', '.join(known)}")
    return dict(data)


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    # an int that large is no finite float
    return isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 1_000)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise InvalidInputError(f"{key!r:.80} is given twice; keep one")
        made[key] = value
    return made


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
