"""A `BgeM3Encoder` as plain data, for another process to build."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from .base import Encoder
from .bge_m3 import BgeM3Encoder
from .runtimes.base import Backend, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """The arguments of a `BgeM3Encoder`, the device left out: what a process needs to build one.

    Attributes: as the arguments of `BgeM3Encoder`.
    """

    model: str | Path = "BAAI/bge-m3"
    precision: Precision = "auto"
    backend: Backend = "auto"
    max_length: int = 8192
    query_max_length: int = 512
    passage_instruction: str = ""
    query_instruction: str = ""
    batch_tokens: int | None = None
    revision: str | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        folder = Path(self.model).expanduser()
        if folder.is_dir():  # a process begins in another working directory where this one has been changed
            object.__setattr__(self, "model", str(folder.resolve()))

    @classmethod
    def tiny(cls) -> EncoderSpec:
        """The small English and Chinese model that comes with the package."""
        return cls(model=Path(str(files("hybrid_core") / "models" / "tiny_m3")))

    def build(self, device: str) -> Encoder:
        """Load the encoder on a torch device."""
        return BgeM3Encoder(
            self.model,
            device=device,
            precision=self.precision,
            backend=self.backend,
            max_length=self.max_length,
            query_max_length=self.query_max_length,
            passage_instruction=self.passage_instruction,
            query_instruction=self.query_instruction,
            batch_tokens=self.batch_tokens,
            revision=self.revision,
            cache_dir=self.cache_dir,
            local_files_only=self.local_files_only,
        )
