"""Encoders and rerankers as models of mteb, and what mteb files their results under."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import check_text
from ...encoders.base import Encoder
from ...errors import InvalidInputError, require
from ...rerankers.base import Reranker
from ...searching import check_part
from ...types import FloatArray

if TYPE_CHECKING:
    import torch
    from mteb.models import ModelMeta


class MtebEncoder:
    """The dense vectors of an encoder, for every kind of task: mteb's `EncoderProtocol`.

    Queries of retrieval are encoded as queries, all else as passages. The encoder chooses its batches itself. The other
    sides, and their fusion, are for `MtebSearch`.

    Args:
        encoder: the model.
        name: "organization/model", under which mteb keeps results; None is "bge-hybrid/" and the model's name.

    Raises:
        InvalidInputError: `encoder` is none, or the name has not that form.
        MissingDependencyError: mteb is not installed.

    Example:
        >>> model = MtebEncoder(BgeM3Encoder("BAAI/bge-m3"))
        >>> result = mteb.evaluate(model, mteb.get_tasks(tasks=["SciFact"]))
    """

    def __init__(self, encoder: Encoder, *, name: str | None = None) -> None:
        check_part(encoder, Encoder, "encoder")
        self.encoder = encoder
        self.mteb_model_meta: ModelMeta = encoder_meta(name, encoder, "dense")

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: Any = None, **options: Any) -> FloatArray:
        """Return (n, d) float32 unit rows for the texts of mteb's batches.

        Args:
            inputs: batches with the entry "text".
            prompt_type: "query" for queries; anything else is a passage.
            **options: what mteb says of the task, and `show_progress_bar`; batch sizes have no effect.

        Raises:
            InvalidInputError: another `precision` is asked for: an encoder has its own.
        """
        if options.get("precision") not in (None, "float32"):
            raise InvalidInputError(f"precision={options['precision']!r}: open the encoder with the precision wanted")
        texts = _texts(inputs)
        if prompt_type == "query":
            return self.encoder.encode_queries(texts).dense
        progress = bool(options.get("show_progress_bar", False))
        return self.encoder.encode_documents(texts, show_progress=progress).dense

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return the inner products (n, m), which of unit rows are cosines."""
        found: torch.Tensor = require("mteb.similarity_functions", "mteb").dot_score(embeddings1, embeddings2)
        return found

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return the inner products (n,) of rows of the same place."""
        found: torch.Tensor = require("mteb.similarity_functions", "mteb").pairwise_dot_score(embeddings1, embeddings2)
        return found


class MtebCrossEncoder:
    """A reranker for reranking tasks, and for what another model has found: mteb's `CrossEncoderProtocol`.

    Documents of one score mteb puts in descending order of id, where `rank` keeps the order given.

    Args:
        reranker: the model.
        name: as of `MtebEncoder`. After training a model anew in its folder, give it another name.

    Raises:
        InvalidInputError, MissingDependencyError: as `MtebEncoder`.

    Example:
        >>> task = mteb.get_task("SciFact").convert_to_reranking("predictions")
        >>> result = mteb.evaluate(MtebCrossEncoder(CrossEncoderReranker("BAAI/bge-reranker-v2-m3")), task)
    """

    def __init__(self, reranker: Reranker, *, name: str | None = None) -> None:
        check_part(reranker, Reranker, "reranker")
        self.reranker = reranker
        self.mteb_model_meta: ModelMeta = _meta(
            name, reranker.name, f"{reranker.name} {reranker!r}", {"model_type": ["cross-encoder"]}
        )

    def predict(
        self, inputs1: Iterable[Mapping[str, Any]], inputs2: Iterable[Mapping[str, Any]], **options: Any
    ) -> FloatArray:
        """Return a score (n,) float32 in [0, 1] for each pair of query and passage.

        Args:
            inputs1: batches with the queries as "text".
            inputs2: batches with the passages as "text", one a query.
            **options: what mteb says of the task; it has no effect.
        """
        places: dict[str, list[int]] = {}
        for i, query in enumerate(_texts(inputs1)):
            places.setdefault(query, []).append(i)
        passages = _texts(inputs2)
        scores = np.zeros(len(passages), dtype=np.float32)
        for query, own in places.items():  # a reranker's batches hold one query
            scores[own] = self.reranker.score(query, [passages[i] for i in own])
        return scores


def encoder_meta(name: str | None, encoder: Encoder, kind: str, settings: Mapping[str, Any] | None = None) -> ModelMeta:
    """Return what mteb files an encoder's results under.

    Args:
        name: "organization/model", None for one of the encoder's.
        encoder: the model.
        kind: in mteb's words: "dense", "sparse" or "hybrid".
        settings: what decides results besides the encoder.

    Raises:
        InvalidInputError: the name has another form.
    """
    made_by = encoder.fingerprint
    shape = {"embed_dim": made_by.dimension, "max_tokens": made_by.max_length or None, "similarity_fn_name": "cosine"}
    return _meta(
        name,
        made_by.model,
        f"{encoder!r} {made_by.as_dict()}",
        {**shape, "model_type": [kind], "experiment_kwargs": settings},
    )


def _meta(name: str | None, model: str, identity: str, fields: Mapping[str, Any]) -> ModelMeta:
    """Return what mteb files results under: the name, and a hash of what else decides them."""
    if name is None:
        name = f"bge-hybrid/{model.rstrip('/').rpartition('/')[2] or 'model'}"
    elif not re.fullmatch(r"[^/]+/[^/]+", check_text(name, "name")):
        raise InvalidInputError(f"name={name!r:.80} must be an organisation, a slash and a model, as mteb has it")
    revision = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    form = require("mteb.models", "mteb").ModelMeta
    unknown = form.create_empty().model_dump()  # most of what mteb asks about a model does not concern a result
    made: ModelMeta = form(**{**unknown, "name": name, "revision": revision, **fields})
    return made


def _texts(batches: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the texts of mteb's batches, in their order."""
    texts: list[str] = []
    for batch in batches:
        if "text" not in batch:
            raise InvalidInputError(f"a batch has {', '.join(batch)}, no 'text'; only tasks over text can be run")
        texts += batch["text"]
    return texts
