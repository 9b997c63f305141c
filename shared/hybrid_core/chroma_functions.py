"""BGE-M3 as Chroma's embedding functions, dense and sparse; importing this module loads chromadb and registers both.

Chroma writes the name and the configuration of a collection's functions beside it, and builds them from that when the
collection is opened without them. That works where this module has been imported before. A function built so loads its
model at its first use, and checks that it is the model which the collection was written with.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space, SparseEmbeddingFunction, SparseVectors
from chromadb.base_types import SparseVector
from chromadb.utils.embedding_functions import register_embedding_function, register_sparse_embedding_function

from .encoders.base import Encoder
from .encoders.bge_m3 import BgeM3Encoder
from .encoders.checkpoint import TINY
from .errors import InvalidInputError, ModelMismatchError
from .types import Encoding

_KEYS = {"model": str, "digest": str, "max_length": int, "instruction": str}


class _Model:
    """An encoder, or what it takes to load it when it is needed."""

    def __init__(self, config: Mapping[str, Any], encoder: Encoder | None = None) -> None:
        self.config = dict(config)
        self._encoder = encoder
        self._lock = threading.Lock()

    @classmethod
    def of(cls, encoder: object) -> _Model:
        if not isinstance(encoder, Encoder):
            raise InvalidInputError(f"encoder={encoder!r:.80} is no encoder; pass an object, not a name")
        made_by = encoder.fingerprint
        if made_by.sparse or made_by.pooling != "cls":
            raise InvalidInputError(f"{encoder!r} is no BgeM3Encoder, and no configuration of Chroma's could name it")
        return cls({key: getattr(made_by, key) for key in _KEYS}, encoder)

    def __deepcopy__(self, memo: object) -> _Model:
        return self  # Chroma copies schemas; the model in them stays one

    def get(self) -> Encoder:
        with self._lock:
            if self._encoder is None:
                self._encoder = _load(**self.config)
            return self._encoder

    def queries(self, texts: Documents) -> Encoding:
        return self.get().encode_queries(list(texts))

    def documents(self, texts: Documents) -> Encoding:
        return self.get().encode_documents(list(texts))


@register_embedding_function
class BgeM3ChromaFunction(EmbeddingFunction[Documents]):
    """BGE-M3's dense vectors for Chroma's collections.

    Over one encoder, this and the sparse function run the model once a question; over one `OnePass(encoder)`, once a
    document, too. The configuration names the model, its digest, and how passages are prepared. How queries are, and
    the device, are the encoder's own affair: to choose them, pass the function to `get_collection`.

    Args:
        encoder: a loaded BgeM3Encoder, or one that wraps it.

    Raises:
        InvalidInputError: it is another kind of encoder.

    Example:
        >>> function = BgeM3ChromaFunction(BgeM3Encoder.tiny())
        >>> collection = chromadb.EphemeralClient().create_collection("docs", embedding_function=function)
        >>> collection.add(ids=["a"], documents=["A worker pulls tasks."])
    """

    def __init__(self, encoder: Encoder) -> None:
        self._model = _Model.of(encoder)

    def __call__(self, input: Documents) -> Embeddings:
        """Return the unit vectors of documents."""
        return list(self._model.documents(input).dense)

    def embed_query(self, input: Documents) -> Embeddings:
        """Return the unit vectors of queries."""
        return list(self._model.queries(input).dense)

    @staticmethod
    def name() -> str:
        """Return the name under which Chroma finds this class."""
        return "bge_hybrid_m3"

    def default_space(self) -> Space:
        """Return the distance that a collection gets unasked."""
        return "cosine"

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> BgeM3ChromaFunction:
        """Return the function of a configuration; the model is loaded at the first use."""
        _check_config(config)
        function = object.__new__(BgeM3ChromaFunction)
        function._model = _Model(config)
        return function

    def get_config(self) -> dict[str, Any]:
        """Return what names the model, as JSON can hold it."""
        return dict(self._model.config)

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Raise ModelMismatchError if a collection is to go on with another model."""
        _check_same(old_config, new_config)

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raise InvalidInputError unless `get_config` could have written this."""
        _check_config(config)


@register_sparse_embedding_function
class BgeM3ChromaSparseFunction(SparseEmbeddingFunction[Documents]):
    """BGE-M3's sparse vectors for the sparse indexes of Chroma's schemas; otherwise as `BgeM3ChromaFunction`.

    Chroma searches sparse indexes in its cloud; on one machine it does not, while HybridIndex does.

    Example:
        >>> schema = Schema().create_index(
        ...     SparseVectorIndexConfig(embedding_function=BgeM3ChromaSparseFunction(encoder), source_key="#document"),
        ...     key="sparse",
        ... )  # doctest: +SKIP
    """

    def __init__(self, encoder: Encoder) -> None:
        self._model = _Model.of(encoder)

    def __call__(self, input: Documents) -> SparseVectors:
        """Return the token weights of documents."""
        return _sparse(self._model.documents(input))

    def embed_query(self, input: Documents) -> SparseVectors:
        """Return the token weights of queries."""
        return _sparse(self._model.queries(input))

    @staticmethod
    def name() -> str:
        """Return the name under which Chroma finds this class."""
        return "bge_hybrid_m3_sparse"

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> BgeM3ChromaSparseFunction:
        """Return the function of a configuration; the model is loaded at the first use."""
        _check_config(config)
        function = object.__new__(BgeM3ChromaSparseFunction)
        function._model = _Model(config)
        return function

    def get_config(self) -> dict[str, Any]:
        """Return what names the model, as JSON can hold it."""
        return dict(self._model.config)

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Raise ModelMismatchError if a collection is to go on with another model."""
        _check_same(old_config, new_config)

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raise InvalidInputError unless `get_config` could have written this."""
        _check_config(config)


def _load(model: str, digest: str, max_length: int, instruction: str) -> Encoder:
    if model == TINY and not instruction:
        encoder = BgeM3Encoder.tiny(max_length=max_length)
    else:
        encoder = BgeM3Encoder(model, max_length=max_length, passage_instruction=instruction)
    if encoder.fingerprint.digest != digest:
        raise ModelMismatchError(
            f"the collection was written with {model!r} of digest {digest}, and what is to be had under that name now "
            f"has {encoder.fingerprint.digest}; pass the function with the right encoder to get_collection"
        )
    return encoder


def _check_config(config: Mapping[str, Any]) -> None:
    if set(config) != set(_KEYS) or any(type(config[key]) is not kind for key, kind in _KEYS.items()):
        raise InvalidInputError(f"{dict(config)!r:.200} is no configuration of this function; its keys are {[*_KEYS]}")


def _check_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    different = [key for key in _KEYS if key != "model" and old.get(key) != new.get(key)]
    if different:
        raise ModelMismatchError(
            f"the collection was written with {old.get('model')!r}, and cannot go on with {new.get('model')!r}, which "
            f"differs in {', '.join(different)}"
        )


def _sparse(encoding: Encoding) -> SparseVectors:
    rows = [encoding.sparse_row(i) for i in range(len(encoding))]
    return [SparseVector(row.indices.tolist(), row.values.tolist()) for row in rows]
