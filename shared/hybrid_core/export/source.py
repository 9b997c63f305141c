"""What is exported: an encoder in BGE-M3's layout, or a cross-encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..encoders.checkpoint import Checkpoint, find_checkpoint, find_folder
from ..encoders.runtimes.transformer import unsupported
from ..encoders.runtimes.weights import base_model, load_head, read_weights
from ..errors import ModelLoadError
from .weights import Weights

Kind: TypeAlias = Literal["encoder", "reranker"]


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint to export.

    Attributes:
        kind: what it is.
        checkpoint: its files; a reranker's has no heads.
    """

    kind: Kind
    checkpoint: Checkpoint

    @property
    def label(self) -> str:
        """Its name on the hub, or the name of its folder."""
        name, folder = self.checkpoint.name, self.checkpoint.folder
        return folder.name if name == str(folder) else name

    def weights(self) -> tuple[Weights, Weights]:
        """Return the tensors of the base model, and those of what stands on it.

        Raises:
            ModelLoadError: a file is missing or damaged.
        """
        checkpoint = self.checkpoint
        state = read_weights(checkpoint.folder, checkpoint.name)
        on_top = state
        if self.kind == "encoder":
            on_top = {}
            for head, path in checkpoint.heads.items():
                on_top[f"{head}.weight"], on_top[f"{head}.bias"] = load_head(path)
        return Weights(base_model(state), checkpoint.name), Weights(on_top, checkpoint.name)


def find_source(
    model: str | Path, *, revision: str | None, cache_dir: str | Path | None, local_files_only: bool
) -> Source:
    """Find a checkpoint and tell which of the two it is.

    Raises:
        ModelLoadError: it is missing, a part of it is missing, or it is of an architecture that is not exported.
    """
    name, folder = find_folder(model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
    config = _read_config(folder, name)
    reason = unsupported(config)
    if reason:
        raise ModelLoadError(f"{name!r} cannot be exported: it {reason}")
    if any(str(kind).endswith("ForSequenceClassification") for kind in config.get("architectures") or ()):
        return Source("reranker", Checkpoint(name, folder, config, {}))
    found = find_checkpoint(folder, revision=None, cache_dir=None, local_files_only=True)
    return Source("encoder", replace(found, name=name))


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelLoadError(f"{name!r} has no config.json; is it a checkpoint?") from None
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"config.json of {name!r} cannot be read: {error}") from error
    missing = [key for key in _SIZES if not isinstance(config, dict) or not isinstance(config.get(key), int)]
    if missing:
        raise ModelLoadError(f"config.json of {name!r} lacks {', '.join(missing)}")
    found: dict[str, Any] = config
    return found


_SIZES = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
)
