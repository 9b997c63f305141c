"""A reranker by its name, as command lines and files of settings give it."""

from __future__ import annotations

import json
import os

from ..encoders.base import Encoder
from ..encoders.checkpoint import TINY, find_folder
from ..errors import InvalidInputError
from .base import Reranker
from .cross_encoder import CrossEncoderReranker
from .late_interaction import LateInteractionReranker
from .llm.bge_llm import BgeLlmReranker
from .llm.mono_t5 import MonoT5Reranker
from .llm.qwen3 import Qwen3Reranker
from .remote import RemoteReranker
from .remote_apis import APIS, find_api

_PAPER = (1.0, 0.3, 1.0)  # of dense, sparse and multi-vector score in BGE-M3's evaluation
# where each service's own clients look for its key
_KEYS = {"cohere": "CO_API_KEY", "jina": "JINA_API_KEY", "voyage": "VOYAGE_API_KEY"}


def named_reranker(name: str, encoder: Encoder, *, device: str | None = None) -> Reranker:
    """Load the reranker named.

    Args:
        name: "tiny" is the small cross-encoder in the package; "late" the encoder's own multi-vectors, "combined" these
            with its dense and sparse scores (1, 0.3, 1). "cohere:MODEL", "jina:MODEL" and "voyage:MODEL" are the
            services, with the key in CO_API_KEY, JINA_API_KEY or VOYAGE_API_KEY; "tei:URL", "vllm:URL" and
            "infinity:URL" are servers. Anything else is a hub name or a folder, whose configuration tells the class.
        encoder: for "late" and "combined".
        device: a torch device; None takes the best there is, and the CPU for "tiny".

    Raises:
        ModelLoadError: no such model, or one that is no reranker.
        InvalidInputError: the name says nothing, or the key of a service is missing.
        MissingDependencyError: what the reranker needs is not installed.
    """
    if not isinstance(name, str) or not name:
        raise InvalidInputError(f"{name!r:.80} names no reranker")
    if name == TINY:
        return CrossEncoderReranker.tiny(device=device or "cpu")
    if name in ("late", "combined"):
        return LateInteractionReranker(encoder, weights=_PAPER if name == "combined" else None)
    api, colon, rest = name.partition(":")
    if colon and api in APIS:
        return _hosted(api, rest)
    return _local(name, device)


def _hosted(name: str, rest: str) -> RemoteReranker:
    api = find_api(name)
    if not rest:
        raise InvalidInputError(f"'{name}:' lacks {'a model' if api.home else 'an address'} behind the colon")
    if not api.home:
        return RemoteReranker(rest, api=api.name)
    key = os.environ.get(_KEYS[name])
    if not key:
        raise InvalidInputError(f"'{name}:{rest}' needs the key of your account in the environment: set {_KEYS[name]}")
    return RemoteReranker(api=api.name, model=rest, api_key=key)


def _local(name: str, device: str | None) -> Reranker:
    """Load a checkpoint with the class that runs its architecture; CrossEncoderReranker refuses what none does."""
    _, folder = find_folder(name, revision=None, cache_dir=None, local_files_only=False)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture, kind = str((config.get("architectures") or [""])[0]), config.get("model_type")
    except (OSError, ValueError, AttributeError):
        architecture = kind = ""
    if kind in ("t5", "mt5"):
        return MonoT5Reranker(name, device=device)
    if architecture == "Qwen3ForCausalLM":
        return Qwen3Reranker(name, device=device)
    if architecture.endswith("ForCausalLM"):
        return BgeLlmReranker(name, device=device)
    return CrossEncoderReranker(name, device=device)
