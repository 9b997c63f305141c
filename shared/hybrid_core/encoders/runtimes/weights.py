"""Reading a checkpoint's tensors: safetensors or .bin, in one file or several, never unpickled into objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import ModelLoadError, require

_BASES = ("roberta.", "bert.", "model.")  # what a model with a head on top puts before its base model's names
_OLD_NAMES = {".gamma": ".weight", ".beta": ".bias"}  # of layer norms, in checkpoints of 2019
_TABLES = "_embeddings.weight"  # how the names of those end that are looked up, not multiplied


def read_weights(folder: Path, name: str) -> dict[str, Any]:
    """Return every tensor of a checkpoint by its name, mapped from the file where the format allows.

    Embedding tables are mapped apart from the rest. They stay in the file, of which a lookup reads a row; the mapping
    of the rest, and what was read through it, goes once the weights are laid out anew and no tensor of it is left.

    Raises:
        ModelLoadError: a file is missing or cannot be read.
    """
    state: dict[str, Any] = {}
    try:
        for path in weight_files(folder, name):
            state |= _tensors(path)
            if _mappable(path):
                state |= {key: tensor for key, tensor in _tensors(path).items() if key.endswith(_TABLES)}
    except (ModelLoadError, ImportError):
        raise
    except Exception as error:  # torch, pickle and safetensors each raise their own for a bad file
        raise ModelLoadError(f"the weights of {name!r} cannot be loaded: {error}") from error
    for key in list(state):
        for old, new in _OLD_NAMES.items():
            if key.endswith(old):
                state[key.removesuffix(old) + new] = state.pop(key)
    return state


def base_model(state: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors of the base model under their own names, without the prefix of the model around it."""
    marker = "embeddings.word_embeddings.weight"
    prefix = next((p for p in ("", *_BASES) if p + marker in state), "")
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def weight_files(folder: Path, name: str) -> list[Path]:
    """Return the files that hold the weights, safetensors where there is a choice.

    Raises:
        ModelLoadError: there are none, or one that the index names is missing.
    """
    for single in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{single}.index.json"
        if (folder / single).is_file():
            return [folder / single]
        if index.is_file():
            paths = [folder / file for file in sorted(set(_parts(index, name)))]
            missing = [path.name for path in paths if not path.is_file()]
            if missing:
                raise ModelLoadError(f"{name!r} lacks {', '.join(missing)}, which {index.name} names")
            return paths
    raise ModelLoadError(f"{name!r} has no weights; model.safetensors or pytorch_model.bin is needed in {folder}")


def load_head(path: Path) -> tuple[Any, Any]:
    """Return weight (out, in) and bias (out,) of a linear head; a head without a bias has one of zeros.

    Raises:
        ModelLoadError: the file is not a linear head.
    """
    torch = require("torch", "torch")
    try:
        if path.suffix == ".safetensors":
            state = require("safetensors.torch", "torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        weight = state["weight"]
        bias = state.get("bias", torch.zeros(weight.shape[0], dtype=weight.dtype))
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ValueError(f"shapes {tuple(weight.shape)} and {tuple(bias.shape)}")
    except ImportError:
        raise
    except Exception as error:  # torch, pickle and safetensors each raise their own for a file that is not tensors
        raise ModelLoadError(
            f"{path} is not a linear head (tensors 'weight' and 'bias'): {type(error).__name__}: {error}"
        ) from error
    return weight, bias


def _parts(index: Path, name: str) -> list[str]:
    try:
        return [str(file) for file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()]
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelLoadError(f"{index.name} of {name!r} cannot be read: {error}") from error


def _tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of one file, each time of a new mapping where it can be mapped."""
    if path.suffix == ".safetensors":
        tensors: dict[str, Any] = require("safetensors.torch", "torch").load_file(path)
        return tensors
    torch = require("torch", "torch")
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=_mappable(path))
    return loaded


def _mappable(path: Path) -> bool:
    """Whether the file is safetensors or a zip archive of torch's; torch's format before 2020 cannot be mapped."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
