"""BgeM3Embedding, alone and under a vector store of LlamaIndex's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from checkpoints import forward_passes
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.schema import TextNode

from hybrid_core import BgeM3Encoder, InvalidTextError
from llamaindex_hybrid import BgeM3Embedding

QUESTION = "how does a worker get its tasks?"
TEXTS = ["A worker pulls tasks.", "网关限流。", "A worker pulls tasks."]


@pytest.fixture
def embedding(encoder: BgeM3Encoder) -> BgeM3Embedding:
    return BgeM3Embedding(encoder)


async def test_vectors_are_the_dense_vectors_of_the_encoder(embedding: BgeM3Embedding, encoder: BgeM3Encoder) -> None:
    query = encoder.encode_queries([QUESTION]).dense[0].tolist()
    assert embedding.get_query_embedding(QUESTION) == query
    assert await embedding.aget_query_embedding(QUESTION) == query
    alone = encoder.encode_documents(TEXTS[:1]).dense[0].tolist()
    assert embedding.get_text_embedding(TEXTS[0]) == alone
    assert await embedding.aget_text_embedding(TEXTS[0]) == alone
    batch = encoder.encode_documents(TEXTS).dense.tolist()
    assert embedding.get_text_embedding_batch(TEXTS) == batch
    assert await embedding.aget_text_embedding_batch(TEXTS) == batch


async def test_no_texts_give_no_vectors(embedding: BgeM3Embedding) -> None:
    assert embedding.get_text_embedding_batch([]) == []
    assert await embedding.aget_text_embedding_batch([]) == []


async def test_texts_go_to_the_encoder_together_unless_told_otherwise(encoder: BgeM3Encoder) -> None:
    texts = [f"worker {n}" for n in range(30)]
    with forward_passes(encoder) as passes:
        BgeM3Embedding(encoder).get_text_embedding_batch(texts)
        await BgeM3Embedding(encoder).aget_text_embedding_batch(texts)
        assert passes == [30, 30]
        passes.clear()
        BgeM3Embedding(encoder, embed_batch_size=20).get_text_embedding_batch(texts)
        assert passes == [20, 10]


def test_a_bad_text_is_an_error_naming_its_position(embedding: BgeM3Embedding) -> None:
    with pytest.raises(InvalidTextError, match="text 1"):
        embedding.get_text_embedding_batch(["fine", "\ud800"])
    with pytest.raises(InvalidTextError, match="query 0"):
        embedding.get_query_embedding("\ud800")


async def test_a_vector_store_index_ranks_by_the_encoders_cosine(
    embedding: BgeM3Embedding, encoder: BgeM3Encoder, nodes: list[TextNode]
) -> None:
    for node in nodes:
        node.metadata = {}  # LlamaIndex embeds metadata with the text
    retriever = VectorStoreIndex(nodes, embed_model=embedding).as_retriever(similarity_top_k=3)
    rows = encoder.encode_documents([node.text for node in nodes]).dense
    scores = rows @ encoder.encode_queries([QUESTION]).dense[0]
    expected = [nodes[i].node_id for i in np.argsort(-scores)[:3]]
    found = retriever.retrieve(QUESTION)
    assert [item.node.node_id for item in found] == expected
    assert [item.score for item in found] == pytest.approx(np.sort(scores)[::-1][:3].tolist(), abs=1e-5)
    assert [item.node.node_id for item in await retriever.aretrieve(QUESTION)] == expected
    assert "queue" in expected


def test_the_callback_manager_given_sees_each_embedding(encoder: BgeM3Encoder) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    embedding = BgeM3Embedding(encoder, callback_manager=CallbackManager([debug]))
    embedding.get_query_embedding(QUESTION)
    embedding.get_text_embedding_batch(TEXTS)
    assert len(debug.get_event_pairs(CBEventType.EMBEDDING)) == 2


def test_what_is_written_down_names_the_class_and_model_and_holds_no_weights(embedding: BgeM3Embedding) -> None:
    assert BgeM3Embedding.class_name() == "BgeM3Embedding"
    written = json.loads(json.dumps(embedding.to_dict()))
    assert (written["class_name"], written["model_name"]) == ("BgeM3Embedding", "tiny")
    assert len(json.dumps(written)) < 500
    assert "encoder" not in written


def test_the_encoder_can_be_shared_with_other_classes(embedding: BgeM3Embedding, encoder: BgeM3Encoder) -> None:
    assert embedding.encoder is encoder
