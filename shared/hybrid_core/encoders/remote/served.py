"""What a server says it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import ModelLoadError

_TEI_BATCH = 32  # its own default of --max-client-batch-size


@dataclass(frozen=True, slots=True)
class Served:
    """The model behind an address.

    Attributes:
        model: its name.
        revision: the commit; empty where it is not known.
        max_length: tokens of a text that the model sees; 0 where it is not known.
        most_texts: how many texts a request may hold; None where the server does not say.
    """

    model: str
    revision: str = ""
    max_length: int = 0
    most_texts: int | None = None


def tei_served(
    info: Any, server: str, kind: Literal["dense", "splade", "reranker"], model: str | None, revision: str | None
) -> Served:
    """Read the answer of text-embeddings-inference's /info.

    Args:
        info: the answer.
        server: its address, for messages.
        kind: what the process must have been started for.
        model: what the user expects; None is anything. A path that the server reports does not say which model it is,
            so the user's name stands, and for vectors there must be one.
        revision: the commit that the user expects; None is anything.

    Raises:
        ModelLoadError: another kind, model or revision is served, or this is not text-embeddings-inference.
    """
    name = info.get("model_id") if isinstance(info, Mapping) else None
    if not isinstance(name, str):
        raise ModelLoadError(f"{server} does not answer /info as text-embeddings-inference does; check url and api=")
    found = _kind(info.get("model_type"))
    if found not in (kind, ""):
        remedy = {
            "dense": "pass the address of an embedding model",
            "splade": "start text-embeddings-inference with --pooling splade there",
            "reranker": "pass the address of a reranker, such as BAAI/bge-reranker-v2-m3",
        }[kind]
        raise ModelLoadError(f"{server} serves {name!r} as a {found} model, not as a {kind} one; {remedy}")
    is_path = name.startswith(("/", "."))
    if is_path and not model and kind != "reranker":
        raise ModelLoadError(f"{server} serves a model from the folder {name!r}; say which one it is with model=")
    if model and model != name and not is_path:
        raise ModelLoadError(f"{server} serves {name!r}, not model={model!r}; leave model= out, or change the address")
    commit = info.get("model_sha") or ""
    if revision and commit and revision != commit:
        raise ModelLoadError(f"{server} serves {name!r} at revision {commit!r}, not revision={revision!r}")
    return Served(
        model or name,
        str(commit or revision or ""),
        _number(info.get("max_input_length")),
        _number(info.get("max_client_batch_size")) or _TEI_BATCH,
    )


def listed(answer: Any, server: str, model: str | None, revision: str | None) -> Served:
    """Read the list of models that vLLM and Infinity give.

    Raises:
        ModelLoadError: the model is not among them, or none is named and there are several.
    """
    entries = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(entries, list):
        raise ModelLoadError(f"{server} does not list its models as {{'data': [...]}}; check url and api=")
    models = {str(item["id"]): item for item in entries if isinstance(item, Mapping) and "id" in item}
    names = ", ".join(map(repr, sorted(models)))[:300] or "no model"
    if model is None and len(models) != 1:
        raise ModelLoadError(f"{server} serves {names}; pass one as model=")
    chosen = model if model is not None else next(iter(models))
    if chosen not in models:
        raise ModelLoadError(f"{server} serves {names}, not model={chosen!r}")
    return Served(chosen, revision or "", _number(models[chosen].get("max_model_len")))


def _kind(model_type: Any) -> str:
    """Return what a process of text-embeddings-inference was started for; empty where it cannot be told."""
    if not isinstance(model_type, Mapping):
        return ""
    if "embedding" in model_type:
        pooling = model_type["embedding"].get("pooling") if isinstance(model_type["embedding"], Mapping) else None
        return "splade" if pooling == "splade" else "dense"
    return next((kind for kind in ("reranker", "classifier") if kind in model_type), "")


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
