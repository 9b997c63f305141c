"""A HybridIndex as plain data: where it is and which models it takes, for a configuration file or another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from .choosing import Selection
from .encoders.bge_m3 import BgeM3Encoder
from .encoders.checkpoint import TINY
from .encoders.encoder_spec import EncoderSpec
from .errors import InvalidInputError
from .fusion import Fusion
from .pipeline import HybridIndex
from .rerankers.base import Reranker
from .rerankers.budget import Budget
from .rerankers.named import named_reranker
from .settings import Settings, fusion_dict, read_fusion


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """What it takes to open an index that lies in a folder: no weights, no vectors, no secrets.

    Attributes:
        path: the folder.
        encoder: the arguments of a BgeM3Encoder.
        reranker: by its name, as `named_reranker` reads it: a hub name or folder, "tiny", "late", "cohere:MODEL" and so
            on; None for none.
        settings: how the index is searched where a call says nothing.
        device: a torch device for both models; None takes the best there is.

    Example:
        >>> spec = IndexSpec(path="my-index", encoder=EncoderSpec.tiny(), reranker="tiny")
        >>> spec.as_dict()
        {'path': 'my-index', 'encoder': {'model': 'tiny'}, 'reranker': 'tiny'}
        >>> with IndexSpec.from_dict(spec.as_dict()).open() as index:
        ...     ids = index.add(["A worker pulls tasks."])
    """

    path: str
    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    reranker: str | None = None
    settings: Settings = field(default_factory=Settings)
    device: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path:
            raise InvalidInputError(f"path={self.path!r} is no folder; an index in memory has no plain form")
        for name, kind in (("encoder", EncoderSpec), ("settings", Settings)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidInputError(f"{name}={getattr(self, name)!r:.80} is no {kind.__name__}")
        for name in ("reranker", "device"):
            if not isinstance(getattr(self, name), str | None):
                raise InvalidInputError(f"{name}={getattr(self, name)!r:.80} is no name")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; what is at its default is left out.

        Raises:
            InvalidInputError: the settings have a fusion that is none of this package's three.
        """
        plain = _given(self) | {"encoder": _given(self.encoder)}
        if self.encoder.model == EncoderSpec.tiny().model:
            plain["encoder"]["model"] = TINY
        return plain | ({"settings": self.settings.as_dict()} if "settings" in plain else {})

    @classmethod
    def from_dict(cls, data: object) -> IndexSpec:
        """Read what `as_dict` gave; nothing is opened or loaded.

        Raises:
            InvalidInputError: naming what is unknown, missing or of another kind.
        """
        values = _known(cls, data)
        if "path" not in values:
            raise InvalidInputError(f"{data!r:.80} names no path")
        if "encoder" in values:
            encoder = _known(EncoderSpec, values["encoder"])
            if encoder.get("model") == TINY:
                encoder["model"] = EncoderSpec.tiny().model
            values["encoder"] = EncoderSpec(**encoder)
        if "settings" in values:
            values["settings"] = Settings.from_dict(values["settings"])
        return cls(**values)

    def open(self) -> SpecifiedIndex:
        """Load the models and open the index, made if missing; close it as any other.

        Raises:
            ModelLoadError, ModelMismatchError, StorageError: as BgeM3Encoder, CrossEncoderReranker and
                HybridIndex.open raise them.
        """
        if self.encoder == EncoderSpec.tiny():
            encoder = BgeM3Encoder.tiny(device=self.device or "cpu")
        else:
            encoder = BgeM3Encoder(**_given(self.encoder), device=self.device)
        reranker = self._reranker(encoder)
        made = SpecifiedIndex.open(self.path, encoder=encoder, reranker=reranker, settings=self.settings)
        made.spec = self
        return made

    def _reranker(self, encoder: BgeM3Encoder) -> Reranker | None:
        return None if self.reranker is None else named_reranker(self.reranker, encoder, device=self.device)


class SpecifiedIndex(HybridIndex):
    """An index that was opened by a spec, and knows it: so whoever holds it can be written down.

    Attributes:
        spec: what it was opened by.
    """

    spec: IndexSpec


def plain(part: object) -> Any:
    """Return the plain form of an index that a spec opened, of a fusion, a budget or a selection; None of None.

    Raises:
        InvalidInputError: it is an index that no spec opened, or a fusion of your own.
    """
    if isinstance(part, SpecifiedIndex):
        return part.spec.as_dict()
    if isinstance(part, HybridIndex):
        raise InvalidInputError(f"{part!r:.80} has no plain form; one that IndexSpec.open() gave has")
    if isinstance(part, Budget | Selection):
        return asdict(part)
    return None if part is None else fusion_dict(cast(Fusion, part))


def read_plain(data: object) -> object:
    """Open the index or read the fusion that `plain` wrote down; anything but a mapping comes back as it is.

    Raises:
        InvalidInputError: the mapping is no plain form; and as `IndexSpec.open` raises.
    """
    if not isinstance(data, Mapping):
        return data
    return IndexSpec.from_dict(data).open() if "path" in data else read_fusion(data)


def _given(spec: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are not at their defaults, paths as strings."""
    found = {}
    for f in fields(spec):
        value = getattr(spec, f.name)
        default = f.default if f.default_factory is MISSING else f.default_factory()
        if value != default:
            found[f.name] = str(value) if isinstance(value, Path) else value
    return found


def _known(cls: type[Any], data: object) -> dict[str, Any]:
    """Return data as keyword arguments of a dataclass."""
    names = [f.name for f in fields(cls)]
    if not isinstance(data, Mapping) or not set(data) <= set(names):
        raise InvalidInputError(f"{data!r:.200} is not the plain form of {cls.__name__}; its entries are {names}")
    return dict(data)
