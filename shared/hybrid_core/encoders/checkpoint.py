"""Finding a checkpoint in BGE-M3's layout, checking that it is whole, and naming what is in it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, ModelLoadError, require
from .runtimes.onnx_folder import is_export, read_export

TINY = "tiny"  # the name of the models in the package
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
HEADS = ("sparse_linear", "colbert_linear")
_SAMPLES, _SAMPLE_BYTES = 16, 65_536


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a whole model.

    Attributes:
        name: as the user gave it.
        folder: where the files are.
        config: config.json.
        heads: head name -> its file, safetensors where there is one.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    heads: dict[str, Path]

    @property
    def max_length(self) -> int:
        """Tokens the position embeddings allow; RoBERTa's positions start behind the padding id."""
        return int(self.config["max_position_embeddings"]) - int(self.config.get("pad_token_id", 1)) - 1

    def digest(self) -> str:
        """Hash the configuration, the tokenizer, the heads, and samples and sizes of the weights (32 hex digits).

        Samples, because reading gigabytes at every start would cost seconds; training moves every sampled block. An
        export for ONNX Runtime has the digest of the model that it was made from.
        """
        if is_export(self.folder):
            return read_export(self.folder).digest
        hasher = hashlib.blake2b(digest_size=16)
        hasher.update(what_counts(self.config))
        files = [self.folder / "tokenizer.json", self.folder / "sentencepiece.bpe.model", *self.heads.values()]
        files += sorted(self.folder.glob("model*.safetensors")) or sorted(self.folder.glob("pytorch_model*.bin"))
        for path in files:
            if path.is_file():
                hasher.update(path.name.encode())
                hash_samples(hasher, path)
        return hasher.hexdigest()


# what a re-save may change without changing a single vector
_CONFIG_NOISE = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "use_cache"}


def what_counts(config: dict[str, Any]) -> bytes:
    """Return of a config.json what decides the vectors, as bytes to hash."""
    return json.dumps({k: v for k, v in sorted(config.items()) if k not in _CONFIG_NOISE}, sort_keys=True).encode()


def find_checkpoint(
    model: str | Path, *, revision: str | None, cache_dir: str | Path | None, local_files_only: bool
) -> Checkpoint:
    """Find a checkpoint in a folder or on the Hugging Face hub, and check that every part is there.

    Raises:
        ModelLoadError: naming what is missing.
    """
    name, folder = find_folder(model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelLoadError(f"{name!r} has no config.json; is it a checkpoint in BGE-M3's layout?") from None
    except ValueError as error:
        raise ModelLoadError(f"config.json of {name!r} cannot be read: {error}") from error
    if config.get("model_type") != "xlm-roberta":
        raise ModelLoadError(
            f"{name!r} is a {config.get('model_type')!r} model; BgeM3Encoder loads checkpoints in BGE-M3's layout "
            "(xlm-roberta with a sparse and a multi-vector head)"
        )
    if is_export(folder):  # its heads are in the graph
        return Checkpoint(name, folder, config, {})
    if not any((folder / file).is_file() for file in WEIGHTS):
        raise ModelLoadError(f"{name!r} has no weights; one of {', '.join(WEIGHTS)} is needed in {folder}")
    return Checkpoint(name, folder, config, {head: _head_file(folder, head, name) for head in HEADS})


def find_folder(
    model: str | Path, *, revision: str | None, cache_dir: str | Path | None, local_files_only: bool
) -> tuple[str, Path]:
    """Find a model's folder here, or fetch it from the Hugging Face hub; return its name and the folder.

    Raises:
        ModelLoadError: it is neither here nor there.
    """
    if not isinstance(model, (str, Path)) or not str(model):
        raise InvalidInputError(f"model={model!r:.80} is neither a hub name nor a folder")
    name = str(model)
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder.resolve()), folder.resolve()
    if folder.is_absolute() or name.startswith((".", "~")):
        raise ModelLoadError(f"model folder {name!r} does not exist")
    return name, _download(name, revision, cache_dir, local_files_only)


def _head_file(folder: Path, head: str, name: str) -> Path:
    for suffix in (".safetensors", ".pt"):
        path = folder / f"{head}{suffix}"
        if path.is_file():
            return path
    raise ModelLoadError(
        f"{name!r} has no {head}.safetensors or {head}.pt; without it its scores would be random, so it is not loaded. "
        "Use a BGE-M3 checkpoint with both heads, such as BAAI/bge-m3"
    )


def _download(name: str, revision: str | None, cache_dir: str | Path | None, local_files_only: bool) -> Path:
    hub = require("huggingface_hub", "torch")
    patterns = ["*.json", "*.safetensors", "*.pt", "pytorch_model*.bin", "*/pytorch_model*.bin", "*.model", "*.txt"]
    try:
        return Path(
            hub.snapshot_download(
                name,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                allow_patterns=patterns,
                ignore_patterns=["onnx/*", "openvino/*"],
            )
        )
    except Exception as error:  # the hub raises its own, requests' and the OS's; each means the same to the user
        raise ModelLoadError(
            f"model {name!r} is neither a folder here nor to be had from the Hugging Face hub"
            f"{' (local_files_only is set)' if local_files_only else ''}: {str(error).rstrip('.')}. "
            "For a first try without a download use BgeM3Encoder.tiny() (command line: --model tiny)"
        ) from error


def hash_samples(hasher: hashlib.blake2b, path: Path) -> None:
    """Hash a file's size and samples of it; all of it where it has up to a megabyte."""
    size = path.stat().st_size
    hasher.update(str(size).encode())
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            hasher.update(file.read())
            return
        for i in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * i // (_SAMPLES - 1))
            hasher.update(file.read(_SAMPLE_BYTES))
