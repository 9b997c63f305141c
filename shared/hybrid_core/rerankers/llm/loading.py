"""Loading a language model of transformers, checked, with no more of its head than the answers need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...encoders.checkpoint import find_folder
from ...encoders.runtimes.base import Precision
from ...encoders.runtimes.devices import pick_device, pick_precision
from ...encoders.tokenizing import load_tokenizer
from ...errors import InvalidInputError, ModelLoadError, require


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A checkpoint and the place it is to run in.

    Attributes:
        name: as the user gave it.
        folder: where the files are.
        config: config.json.
        tokenizer: of `tokenizers`, without truncation and padding.
        device: a torch device.
        precision: "fp32", "fp16" or "bf16".
    """

    name: str
    folder: Path
    config: dict[str, Any]
    tokenizer: Any
    device: str
    precision: str

    @property
    def architecture(self) -> str:
        """The class that the checkpoint was saved from; nothing where config.json does not say."""
        return str((self.config.get("architectures") or [""])[0])

    @property
    def dtype(self) -> Any:
        """The precision as torch names it."""
        torch = require("torch", "torch")
        return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def first_token(self, word: str) -> int:
        """Return the first token of a word: the one that a model starts its answer with.

        Raises:
            ModelLoadError: the word has no token.
        """
        ids = self.encode(word)
        unknown = self.tokenizer.token_to_id("<unk>")
        if not ids or ids[0] == unknown:
            raise ModelLoadError(f"{self.name!r} has no token for the answer {word!r}")
        return ids[0]


def open_source(
    model: str | Path,
    *,
    device: str | None,
    precision: Precision,
    revision: str | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
) -> Source:
    """Find a checkpoint, and read all of it but the weights.

    Raises:
        ModelLoadError: there is none, or a file cannot be read, or it is an embedding model.
        MissingDependencyError: the tokenizer's file needs a package that is not installed.
        InvalidInputError: the device is not to be had, or the precision is not offered.
    """
    device = pick_device(device)
    picked = _pick_precision(precision, device)
    name, folder = find_folder(model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
    config = _read(folder / "config.json", name)
    modules = folder / "modules.json"
    if modules.is_file() and any(str(part.get("type", "")).endswith(".Pooling") for part in _read(modules, name)):
        raise ModelLoadError(f"{name!r} is an embedding model; its answers to a reranker's prompt mean nothing")
    if not (folder / "tokenizer.json").is_file() and any(folder.glob("*.model")):
        require("sentencepiece", "torch")  # with which transformers reads that file
    return Source(name, folder, config, load_tokenizer(folder, name), device, picked)


def load(
    kind: Any, source: Source, *, settings: dict[str, Any] | None = None, state: dict[str, Any] | None = None
) -> Any:
    """Load a model with a class of transformers.

    Args:
        kind: the class itself: the Auto classes would ask whether to run code that the checkpoint brings.
        source: the checkpoint.
        settings: to take in place of the checkpoint's config.json, and
        state: tensors to take in place of its weights.

    Raises:
        ModelLoadError: it cannot be loaded, or weights are missing, which would be random.
    """
    options: dict[str, Any] = {"dtype": source.dtype, "local_files_only": True, "output_loading_info": True}
    try:
        with _quiet():
            if settings is None:
                model, found = kind.from_pretrained(source.folder, **options)
            else:
                config = kind.config_class(**settings)
                model, found = kind.from_pretrained(None, config=config, state_dict=state, **options)
    except Exception as error:  # transformers, safetensors and torch each raise their own
        raise ModelLoadError(f"reranker {source.name!r} cannot be loaded: {error}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelLoadError(
            f"{source.name!r} lacks weights, which would be random: {', '.join(missing[:10])}. "
            "Is it the whole model, and of this architecture?"
        )
    return model.to(source.device).eval()


def keep_rows(model: Any, tokens: Sequence[int]) -> None:
    """Leave of a model's vocabulary head only the rows of some tokens: its logits are then theirs, in that order."""
    replace_head(model, model.get_output_embeddings().weight[list(tokens)])


def replace_head(model: Any, rows: Any) -> None:
    """Give a model a head of rows (k, d), computed in float32: half precision would tie scores that are close."""
    torch = require("torch", "torch")
    head = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False, device=model.device, dtype=torch.float32)
    head.weight = torch.nn.Parameter(rows.detach().to(device=model.device, dtype=torch.float32), requires_grad=False)
    head.register_forward_pre_hook(lambda module, states: (states[0].float(),))
    model.set_output_embeddings(head)


def special_id(source: Source, kind: str) -> int | None:
    """Return the id of a special token ("bos", "pad"), or None where the tokenizer has none."""
    settings: Mapping[str, Any] = {}
    file = source.folder / "tokenizer_config.json"
    if file.is_file():
        settings = _read(file, source.name)
    if f"{kind}_token" not in settings:
        number = source.config.get(f"{kind}_token_id")
        return None if number is None else int(number)
    token = settings[f"{kind}_token"]
    if isinstance(token, dict):  # as it was saved before transformers 5
        token = token.get("content")
    found: int | None = None if token is None else source.tokenizer.token_to_id(token)
    return found


def _pick_precision(precision: Precision, device: str) -> str:
    """Return the arithmetic; "auto" is bfloat16 on a GPU that has it, in which these models were trained."""
    if precision == "int8":
        raise InvalidInputError("precision='int8' is not offered for language models; use 'fp32', 'fp16' or 'bf16'")
    if precision == "auto" and device.startswith("cuda") and require("torch", "torch").cuda.is_bf16_supported():
        return "bf16"
    return pick_precision(precision, device)


def _read(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"reranker {name!r} cannot be loaded: {path.name}: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars and from warning of what is checked here; both are put back."""
    logging = require("transformers", "torch").utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
