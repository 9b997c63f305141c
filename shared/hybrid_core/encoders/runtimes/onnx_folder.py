"""What an exported folder says of itself, in onnx/export.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelLoadError
from .transformer import ROBERTA

FORMAT = 1  # counted up when an older version could not run what is written
ONNX, RECORD = "onnx", "export.json"


@dataclass(frozen=True, slots=True)
class OnnxFolder:
    """A folder that `hybrid_core.export` made.

    Attributes:
        folder: with config.json, the tokenizer and the heads.
        path: of the model file, its data file beside it.
        kind: "encoder" or "reranker".
        precision: "fp32" or "int8".
        digest: of the model that was exported, for the fingerprint.
        source: name of the model that was exported.
        config: config.json.
    """

    folder: Path
    path: Path
    kind: str
    precision: str
    digest: str
    source: str
    config: dict[str, Any]

    @property
    def pad_id(self) -> int | None:
        """The padding id of models whose positions count from behind it (RoBERTa); None where they count from 0."""
        return int(self.config.get("pad_token_id", 1)) if self.config.get("model_type") in ROBERTA else None


def is_export(folder: Path) -> bool:
    """Return whether a folder holds an export."""
    return (folder / ONNX / RECORD).is_file()


def read_export(folder: str | Path) -> OnnxFolder:
    """Read the record of an export and check that its files are there, whole by their sizes.

    Raises:
        ModelLoadError: naming what is missing or damaged.
    """
    folder = Path(folder).expanduser().resolve()
    if not is_export(folder):
        raise ModelLoadError(f"{folder} has no {ONNX}/{RECORD}; make an export with `bge-hybrid export MODEL DIR`")
    record, config = _read(folder / ONNX / RECORD), _read(folder / "config.json")
    try:
        made_by, files = record["format"], dict(record["files"])
        path = folder / ONNX / str(record["model"])
        if record["model"] not in files or any(Path(name).name != name for name in files):
            raise ValueError(f"model {record['model']!r}, files {list(files)}")
        found = OnnxFolder(
            folder,
            path,
            str(record["kind"]),
            str(record["precision"]),
            str(record["digest"]),
            str(record["source"]),
            config,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(f"{folder / ONNX / RECORD} is damaged: {error!r}; export the model again") from error
    if made_by != FORMAT:
        raise ModelLoadError(
            f"{folder} is an export of format {made_by!r}, and this version runs {FORMAT}; export again"
        )
    for name, size in files.items():
        file = folder / ONNX / name
        if not file.is_file() or file.stat().st_size != size:
            state = f"has {file.stat().st_size} bytes instead of {size}" if file.is_file() else "is missing"
            raise ModelLoadError(f"{file} {state}; copy the folder again, or export the model again")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"{path} is no JSON object")
    return value
