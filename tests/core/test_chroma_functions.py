"""BGE-M3 as Chroma's embedding functions, in collections and schemas of chromadb itself."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from checkpoints import forward_passes, write_m3
from chromadb import Schema, SparseVectorIndexConfig, VectorIndexConfig
from chromadb.api.types import EmbeddingFunction, SparseEmbeddingFunction
from chromadb.config import Settings
from chromadb.utils.embedding_functions import known_embedding_functions, sparse_known_embedding_functions

from hybrid_core import BgeM3Encoder, Bm25, HybridError, InvalidInputError, InvalidTextError, ModelMismatchError
from hybrid_core.chroma_functions import BgeM3ChromaFunction, BgeM3ChromaSparseFunction
from hybrid_core.encoders.functions import FunctionEncoder
from hybrid_core.encoders.one_pass import OnePass

TEXTS = ["A worker pulls tasks from the queue.", "图例显示在图表的右侧。", ""]
QUESTION = "how does a worker get its tasks?"
FUNCTIONS = [BgeM3ChromaFunction, BgeM3ChromaSparseFunction]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    made = chromadb.PersistentClient(str(tmp_path / "chroma"), settings=Settings(anonymized_telemetry=False))
    yield made
    made.close()


@pytest.fixture
def name() -> str:
    return f"docs-{uuid.uuid4().hex}"


def test_they_are_chromas_own_kind_and_registered(encoder: BgeM3Encoder) -> None:
    dense, sparse = BgeM3ChromaFunction(encoder), BgeM3ChromaSparseFunction(encoder)
    assert isinstance(dense, EmbeddingFunction)
    assert isinstance(sparse, SparseEmbeddingFunction)
    assert known_embedding_functions[dense.name()] is BgeM3ChromaFunction
    assert sparse_known_embedding_functions[sparse.name()] is BgeM3ChromaSparseFunction
    assert not dense.is_legacy()
    assert dense.default_space() in dense.supported_spaces()


def test_vectors_are_the_encoders(encoder: BgeM3Encoder) -> None:
    documents, queries = encoder.encode_documents(TEXTS), encoder.encode_queries([QUESTION])
    dense, sparse = BgeM3ChromaFunction(encoder), BgeM3ChromaSparseFunction(encoder)
    assert np.array_equal(dense(TEXTS), documents.dense)
    assert np.array_equal(dense.embed_query([QUESTION]), queries.dense)
    assert [dict(zip(v.indices, v.values, strict=True)) for v in sparse(TEXTS)] == [
        documents.sparse_row(i).as_dict() for i in range(3)
    ]
    [query] = sparse.embed_query([QUESTION])
    assert dict(zip(query.indices, query.values, strict=True)) == queries.sparse_row(0).as_dict()


def test_a_collection_finds_by_it_and_opens_again_without_being_given_it(
    client: Any, name: str, encoder: BgeM3Encoder
) -> None:
    collection = client.create_collection(name, embedding_function=BgeM3ChromaFunction(encoder))
    collection.add(ids=["a", "b", "c"], documents=TEXTS)
    found = collection.query(query_texts=[QUESTION], n_results=2)
    assert found["ids"][0][0] == "a"
    dense = encoder.encode_documents(TEXTS).dense @ encoder.encode_queries([QUESTION]).dense[0]
    assert found["distances"][0][0] == pytest.approx(1 - dense[0], abs=1e-5)
    again = client.get_collection(name)  # by the configuration that Chroma wrote
    assert again.query(query_texts=[QUESTION], n_results=2)["ids"] == found["ids"]
    assert again.query(query_texts=[QUESTION], n_results=2)["distances"] == found["distances"]


def test_a_schema_names_both_and_gives_both_back(encoder: BgeM3Encoder) -> None:
    schema = Schema().create_index(config=VectorIndexConfig(embedding_function=BgeM3ChromaFunction(encoder)))
    sparse = SparseVectorIndexConfig(embedding_function=BgeM3ChromaSparseFunction(encoder), source_key="#document")
    schema = schema.create_index(config=sparse, key="sparse")
    back = Schema.deserialize_from_json(json.loads(json.dumps(schema.serialize_to_json())))
    made = back.keys["sparse"].sparse_vector.sparse_vector_index.config.embedding_function
    assert type(made) is BgeM3ChromaSparseFunction
    assert made([TEXTS[0]]) == BgeM3ChromaSparseFunction(encoder)([TEXTS[0]])
    dense = back.defaults.float_list.vector_index.config.embedding_function
    assert type(dense) is BgeM3ChromaFunction


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_configuration_is_json_and_builds_an_equal_function(function: Any, encoder: BgeM3Encoder) -> None:
    made = function(encoder)
    config = json.loads(json.dumps(made.get_config()))
    function.validate_config(config)
    again = function.build_from_config(config)
    assert again.get_config() == made.get_config() == config
    for left, right in ((again(TEXTS), made(TEXTS)), (again.embed_query([QUESTION]), made.embed_query([QUESTION]))):
        assert len(left) == len(right)
        assert all(
            np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(left, right, strict=True)
        )


def test_the_settings_that_decide_a_vector_come_back(random_m3: Path) -> None:
    encoder = BgeM3Encoder(random_m3, device="cpu", max_length=6, passage_instruction="passage: ")
    made = BgeM3ChromaFunction(encoder)
    again = BgeM3ChromaFunction.build_from_config(made.get_config())
    text = ["a worker pulls many tasks from a long queue"]
    assert np.allclose(again(text), made(text), atol=1e-6)
    assert not np.allclose(made(text), BgeM3ChromaFunction(BgeM3Encoder(random_m3, device="cpu"))(text), atol=1e-3)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_building_loads_nothing_before_the_first_use(function: Any, encoder: BgeM3Encoder) -> None:
    config = {**function(encoder).get_config(), "model": "/no/such/folder"}
    made = function.build_from_config(config)
    with pytest.raises(HybridError, match="/no/such/folder"):
        made(TEXTS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_other_weights_under_the_name_are_noticed(function: Any, random_m3: Path, tmp_path: Path) -> None:
    config = function(BgeM3Encoder(random_m3, device="cpu")).get_config()
    other = write_m3(tmp_path / "other", seed=5)
    with pytest.raises(ModelMismatchError, match="digest"):
        function.build_from_config({**config, "model": str(other)})(TEXTS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_collection_cannot_go_on_with_another_model(function: Any, encoder: BgeM3Encoder, random_m3: Path) -> None:
    old, new = function(encoder), function(BgeM3Encoder(random_m3, device="cpu"))
    old.validate_config_update(old.get_config(), {**old.get_config(), "model": "the same, elsewhere"})
    with pytest.raises(ModelMismatchError, match="tiny"):
        old.validate_config_update(old.get_config(), new.get_config())


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "config", [{}, {"model": "tiny"}, {"model": "tiny", "digest": "0", "max_length": "8", "instruction": ""}]
)
def test_a_configuration_of_something_else_is_an_error(function: Any, config: dict[str, Any]) -> None:
    for read in (function.validate_config, function.build_from_config):
        with pytest.raises(InvalidInputError, match="its keys are"):
            read(config)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_bge_m3_can_be_named(function: Any) -> None:
    with pytest.raises(InvalidInputError, match="pass an object"):
        function("BAAI/bge-m3")
    other = FunctionEncoder("fixed", lambda texts: [[1.0]] * len(texts), lambda text: [1.0], sparse=Bm25())
    with pytest.raises(InvalidInputError, match="BgeM3Encoder"):
        function(other)


def test_a_text_that_is_none_is_the_cores_error(encoder: BgeM3Encoder) -> None:
    with pytest.raises(InvalidTextError):
        BgeM3ChromaFunction(encoder)(["\ud800"])


def test_over_one_pass_documents_and_questions_cost_one_pass_for_both() -> None:
    encoder = BgeM3Encoder.tiny()
    shared = OnePass(encoder)
    dense, sparse = BgeM3ChromaFunction(shared), BgeM3ChromaSparseFunction(shared)
    with forward_passes(encoder) as passes:
        dense(TEXTS)
        sparse(TEXTS)
        dense.embed_query([QUESTION])
        sparse.embed_query([QUESTION])
    assert passes == [3, 1]
