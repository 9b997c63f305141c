"""BgeM3SparseEmbeddings beside BgeM3Embeddings in the store of langchain-milvus."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from checkpoints import forward_passes
from langchain_core.documents import Document
from their_hybrid import QUESTION, TEXTS, assert_one_pass_each, named

from hybrid_core import BgeM3Encoder
from hybrid_core.encoders.one_pass import OnePass
from langchain_hybrid import BgeM3Embeddings, BgeM3SparseEmbeddings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pymilvus
    from langchain_milvus import Milvus
    from langchain_milvus.utils.sparse import BaseSparseEmbedding


async def test_for_milvus_the_same_in_its_class_and_no_empty_vector(encoder: BgeM3Encoder) -> None:
    sparse, theirs = BgeM3SparseEmbeddings(encoder), BgeM3SparseEmbeddings(encoder).for_milvus()
    assert isinstance(theirs, BaseSparseEmbedding)
    expected = sparse.embed_documents(TEXTS)
    assert expected[1] == {}
    expected[1] = {encoder.fingerprint.vocabulary: 1.0}
    assert theirs.embed_documents(TEXTS) == await theirs.aembed_documents(TEXTS) == expected
    assert theirs.embed_query(QUESTION) == await theirs.aembed_query(QUESTION) == sparse.embed_query(QUESTION)
    assert theirs.embed_documents([]) == []


@pytest.mark.filterwarnings("ignore")  # of pymilvus
def test_its_hybrid_search_takes_one_pass_a_document_and_one_a_question(
    documents: list[Document], tmp_path: Path
) -> None:
    alone = BgeM3Encoder.tiny()
    shared = OnePass(alone)
    documents = [*documents, Document("", id="blank")]
    with forward_passes(alone) as passes:
        store = Milvus.from_documents(
            named(documents),
            [BgeM3Embeddings(shared), BgeM3SparseEmbeddings(shared).for_milvus()],
            ids=[str(document.id) for document in documents],
            vector_field=["dense", "sparse"],
            connection_args={"uri": str(tmp_path / "milvus.db")},
            index_params=[
                {"metric_type": "IP", "index_type": "FLAT"},
                {"metric_type": "IP", "index_type": "SPARSE_INVERTED_INDEX", "params": {"drop_ratio_build": 0}},
            ],
            search_params=[{"metric_type": "IP"}, {"metric_type": "IP"}],
            consistency_level="Strong",
        )
        assert_one_pass_each(store, passes, alone, documents)
        store.client.close()
