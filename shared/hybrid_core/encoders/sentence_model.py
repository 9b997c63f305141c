"""A model of sentence-transformers at work: loading, prompts, truncation told once, one thread at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..checks import check_count, check_text
from ..errors import InvalidInputError, ModelLoadError, require
from .runtimes.devices import pick_device, pick_precision
from .sentence_checkpoint import Kind, SentenceCheckpoint, find_sentence_checkpoint, weight_files

logger = logging.getLogger(__name__)

Precision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16"]
Role: TypeAlias = Literal["query", "passage"]


class SentenceModel:
    """Runs `encode_query` and `encode_document` of a `SentenceTransformer` or a `SparseEncoder`.

    Args:
        model: a hub name or a folder.
        kind: the class of sentence-transformers.
        precision, device, max_length, batch_size, query_prompt, passage_prompt, revision, cache_dir,
            local_files_only: as `SentenceTransformerEncoder` has them.

    Attributes:
        checkpoint: the folder it was loaded from.
        device: the torch device in use.
        precision: "fp32", "fp16" or "bf16".
        max_length: tokens of a text that the model sees; 0 for a model that reads all of it.
        prompts: text put before a query and before a passage.
    """

    def __init__(
        self,
        model: str | Path,
        kind: Kind,
        *,
        precision: Precision,
        device: str | None,
        max_length: int | None,
        batch_size: int,
        query_prompt: str | None,
        passage_prompt: str | None,
        revision: str | None,
        cache_dir: str | Path | None,
        local_files_only: bool,
    ) -> None:
        if precision not in ("auto", "fp32", "fp16", "bf16"):
            raise InvalidInputError(f"precision={precision!r} must be one of 'auto', 'fp32', 'fp16', 'bf16'")
        if max_length is not None:
            check_count(max_length, "max_length", least=3)
        self._batch_size = check_count(batch_size, "batch_size", least=1)
        for name, prompt in (("query_prompt", query_prompt), ("passage_prompt", passage_prompt)):
            if prompt is not None:
                check_text(prompt, name)
        self.checkpoint = find_sentence_checkpoint(
            model, kind, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only
        )
        self.prompts: dict[Role, str] = {
            "query": self.checkpoint.query_prompt if query_prompt is None else query_prompt,
            "passage": self.checkpoint.passage_prompt if passage_prompt is None else passage_prompt,
        }
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.model = _load(self.checkpoint, self.device, self.precision)
        _check_weights(self.model, self.checkpoint)
        self.max_length = _limit(self.model, max_length, self.checkpoint.name)
        self.model[0].register_forward_pre_hook(self._count_full)
        self._full = 0  # texts that filled the length
        self._reported_truncation = False
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], role: Role, *, show_progress: bool = False) -> Any:
        """Return the library's own output for at least one text: a tensor (n, width), for a `SparseEncoder` sparse."""
        with self._lock:  # tokenizer and model are not for two threads at once
            encode = self.model.encode_query if role == "query" else self.model.encode_document
            self._full = 0
            output = encode(
                list(texts),
                prompt=self.prompts[role],
                batch_size=self._batch_size,
                show_progress_bar=show_progress,
                convert_to_tensor=True,
            )
            if self._full and not self._reported_truncation:
                self._reported_truncation = True
                logger.warning(
                    "%d of %d texts fill the %d tokens that %r sees; what lies beyond is not encoded (the text itself "
                    "is kept whole). Split such texts, or raise max_length. Reported once.",
                    self._full, len(texts), self.max_length, self.checkpoint.name,
                )  # fmt: skip
        return output

    def _count_full(self, module: Any, args: tuple[Any, ...]) -> None:
        """See what goes into the model: a text that fills the length was most likely longer."""
        mask = args[0].get("attention_mask")
        if self.max_length and mask is not None and mask.shape[-1] >= self.max_length:
            self._full += int((mask.sum(dim=-1) >= self.max_length).sum())


def _load(checkpoint: SentenceCheckpoint, device: str, precision: str) -> Any:
    library, torch = require("sentence_transformers", "torch"), require("torch", "torch")
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    try:
        with _quiet():
            loader = getattr(library, checkpoint.kind)
            model = loader(str(checkpoint.folder), device=device, local_files_only=True, model_kwargs={"dtype": dtype})
            # a transformer may keep some layers in float32 for a reason; a table of embeddings knows no such thing
            return (model if _transformers(model) else model.to(dtype)).eval()
    except Exception as error:  # transformers, safetensors, torch and sentence-transformers each raise their own
        raise ModelLoadError(f"{checkpoint.name!r} cannot be loaded: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing a progress bar over the weights; its setting is put back."""
    logging_ = require("transformers", "torch").utils.logging
    shown = logging_.is_progress_bar_enabled()
    logging_.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging_.enable_progress_bar()


def _transformers(model: Any) -> list[Any]:
    """Return the models of transformers within, those within one another left out."""
    kind = require("transformers", "torch").PreTrainedModel
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        if isinstance(module, kind) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return list(found.values())


def _check_weights(model: Any, checkpoint: SentenceCheckpoint) -> None:
    """Raise ModelLoadError where transformers filled weights that are in no file with random numbers.

    It says only what is certain: of one transformer, whose every stored tensor has its place under its own name.
    Poolers do not count, sentence-transformers has its own.
    """
    folders, models = checkpoint.transformer_folders(), _transformers(model)
    if len(folders) != 1 or len(models) != 1:
        return
    stored = {_plain(name) for name in _stored_names(folders[0])}
    state = models[0].state_dict(keep_vars=True)
    homes = {name: _home(_plain(name), stored) for name in state}
    shared = {tensor.data_ptr() for name, tensor in state.items() if homes[name]}  # tied weights are stored once
    missing = [name for name, home in homes.items() if not home and state[name].data_ptr() not in shared]
    missing = [name for name in missing if "pooler." not in name]
    left = {
        name for name in stored - set(homes.values()) if not name.endswith("position_ids") and "pooler." not in name
    }
    if missing and not left:
        raise ModelLoadError(
            f"{checkpoint.name!r} lacks weights, which would be random: {', '.join(sorted(missing)[:20])}"
        )


def _plain(name: str) -> str:
    """Return a tensor's name as it is written today."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _home(name: str, stored: set[str]) -> str | None:
    """Return the stored name of a weight: its own, or with the model's prefix more or less."""
    if name in stored:
        return name
    shorter = name.partition(".")[2]
    return shorter if shorter in stored else next((one for one in stored if one.endswith(f".{name}")), None)


def _stored_names(folder: Path) -> set[str]:
    """Return the names of the tensors in a folder, without reading the tensors."""
    names: set[str] = set()
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with require("safetensors", "torch").safe_open(path, "pt") as file:
                names.update(file.keys())
        else:
            names.update(require("torch", "torch").load(path, map_location="meta", weights_only=True))
    return names


def _limit(model: Any, wanted: int | None, name: str) -> int:
    """Set how many tokens the model sees, at most as many as it has positions for, and return that."""
    advised = model.max_seq_length
    if advised is None or advised > 1 << 24:  # of no consequence, or unknown
        advised = None
    positions = _positions(model)
    if advised is None and positions is None:
        if wanted is not None:
            raise InvalidInputError(f"max_length={wanted}: {name!r} reads whole texts; leave it out")
        return 0
    limits = [limit for limit in (advised if wanted is None else wanted, positions) if limit is not None]
    model.max_seq_length = min(limits)
    return int(model.max_seq_length)


def _positions(model: Any) -> int | None:
    """Return the tokens that the position embeddings allow; RoBERTa's kin count from behind the padding id."""
    embedding = require("torch", "torch").nn.Embedding
    counts = []
    for part in _transformers(model):
        count = getattr(part.config, "max_position_embeddings", None)
        for module in part.modules():
            table, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
            if isinstance(table, embedding):
                count = table.num_embeddings - (padding + 1 if isinstance(padding, int) else 0)
        if isinstance(count, int) and count > 0:
            counts.append(count)
    return min(counts, default=None)
