"""A folder that sentence-transformers wrote: what kind of model it is, its prompts, and what is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import ModelLoadError
from .checkpoint import find_folder, hash_samples, what_counts

Kind: TypeAlias = Literal["SentenceTransformer", "SparseEncoder"]

_SKIPPED = ("onnx", "openvino")  # folders with the same weights once more
_SETTINGS = "config_sentence_transformers.json"
_CONFIGS = ("config.json", "router_config.json", "adapter_config.json", "idf.json")
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt")
_OWN = "sentence_transformers."
_LOADERS = {
    "CrossEncoder": "CrossEncoderReranker",
    "SentenceTransformer": "SentenceTransformerEncoder",
    "SparseEncoder": "Splade",
}
_OLD_MODES = {  # one key a mode, as most checkpoints still have it
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class SentenceCheckpoint:
    """A folder with a whole model.

    Attributes:
        name: as the user gave it.
        folder: where the files are.
        kind: the class that loads it.
        modules: (class name, folder) of each module, in order.
        prompts: text put before texts, by name; none is empty.
    """

    name: str
    folder: Path
    kind: Kind
    modules: tuple[tuple[str, str], ...]
    prompts: Mapping[str, str]

    @property
    def query_prompt(self) -> str:
        """The prompt of queries, empty if none is stored."""
        return self.prompts.get("query", "")

    @property
    def passage_prompt(self) -> str:
        """The prompt of passages: the first of "document", "passage" and "corpus" that is stored and not empty.

        sentence-transformers writes an empty "document" into every checkpoint, which is no reason to leave out E5's
        "passage: ".
        """
        return next((self.prompts[name] for name in ("document", "passage", "corpus") if name in self.prompts), "")

    @property
    def pooling(self) -> str:
        """How the dense vector is taken from the hidden states: "mean", "cls", "lasttoken", ...; empty if it is not."""
        path = next((path for module, path in self.modules if module == "Pooling"), None)
        if path is None:
            return ""
        config = _read(self.folder / path / "config.json", self.name)
        mode = config.get("pooling_mode") or [mode for key, mode in _OLD_MODES.items() if config.get(key)]
        return mode if isinstance(mode, str) else "+".join(mode)

    def digest(self) -> str:
        """Hash modules, configurations, tokenizer, and samples and sizes of the weights (32 hex digits).

        Prompts are no part of it: the fingerprint names those in use.
        """
        hasher = hashlib.blake2b(json.dumps(self.modules).encode(), digest_size=16)
        for path in self._files():
            hasher.update(path.relative_to(self.folder).as_posix().encode())
            if path.suffix == ".json" and path.name != "tokenizer.json":
                hasher.update(what_counts(_read(path, self.name)))
            else:
                hash_samples(hasher, path)
        return hasher.hexdigest()

    def transformer_folders(self) -> list[Path]:
        """Return the folders with a transformer's configuration and weights."""
        return [
            folder
            for folder in self._folders()
            if weight_files(folder)
            and (folder / "config.json").is_file()
            and "model_type" in _read(folder / "config.json", self.name)
        ]

    def _folders(self) -> Iterator[Path]:
        yield self.folder
        for path in sorted(self.folder.rglob("*")):
            parts = path.relative_to(self.folder).parts
            if path.is_dir() and parts[0] not in _SKIPPED and not any(part.startswith(".") for part in parts):
                yield path

    def _files(self) -> Iterator[Path]:
        for folder in self._folders():
            yield from (folder / name for name in _CONFIGS if (folder / name).is_file())
            yield from sorted(folder.glob("sentence_*_config.json"))
            if (folder / "tokenizer.json").is_file():
                yield folder / "tokenizer.json"
            else:
                yield from (folder / name for name in _VOCABULARIES if (folder / name).is_file())
                yield from sorted(folder.glob("*.model"))
            yield from weight_files(folder)


def find_sentence_checkpoint(
    model: str | Path, kind: Kind, *, revision: str | None, cache_dir: str | Path | None, local_files_only: bool
) -> SentenceCheckpoint:
    """Find a checkpoint in a folder or on the Hugging Face hub, and check that it is one of that kind.

    Raises:
        ModelLoadError: there is none, or it is another kind of model.
    """
    name, folder = find_folder(model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
    settings = _read(folder / _SETTINGS, name) if (folder / _SETTINGS).is_file() else {}
    config = _read(folder / "config.json", name) if (folder / "config.json").is_file() else {}
    found = settings.get("model_type", "SentenceTransformer")
    plain = not (folder / "modules.json").is_file()
    if plain and any(str(one).endswith("ForSequenceClassification") for one in config.get("architectures") or []):
        found = "CrossEncoder"
    elif plain:  # sentence-transformers would make up the rest, for a language model too
        raise ModelLoadError(
            f"{name!r} has no modules.json, which tells how token vectors become one; a {kind} of "
            "sentence-transformers is needed. For a plain transformer put modules together with it, and save them"
        )
    if found != kind:
        loader = f"; {_LOADERS[found]} loads it" if found in _LOADERS else ""
        raise ModelLoadError(f"{name!r} is a {found}, a {kind} of sentence-transformers is needed{loader}")
    modules = _read(folder / "modules.json", name)
    if not modules or not all(isinstance(part, dict) and {"type", "path"} <= part.keys() for part in modules):
        raise ModelLoadError(f"modules.json of {name!r} is no list of modules")
    foreign = [part["type"] for part in modules if not str(part["type"]).startswith(_OWN)]
    if foreign:
        raise ModelLoadError(f"{name!r} needs code that is not sentence-transformers' own: {', '.join(foreign)}")
    classes = tuple((str(part["type"]).rpartition(".")[2], str(part["path"])) for part in modules)
    prompts = {str(key): str(prompt) for key, prompt in (settings.get("prompts") or {}).items() if prompt}
    return SentenceCheckpoint(name, folder, kind, classes, prompts)


def weight_files(folder: Path) -> list[Path]:
    """Return the files with a module's weights: safetensors where there are any."""
    return sorted(folder.glob("*model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _read(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path.name} of {name!r} cannot be read: {error}") from error
