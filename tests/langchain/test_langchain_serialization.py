"""HybridRetriever written by dumpd and read by load: settings, path and names, never weights or secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd, dumps, load
from langchain_core.runnables import RunnableLambda
from pydantic import SecretStr, ValidationError

from hybrid_core import (
    BgeM3Encoder,
    Budget,
    EncoderSpec,
    Eq,
    HybridIndex,
    RemoteReranker,
    Selection,
    WeightedSum,
)
from hybrid_core.index_spec import IndexSpec
from langchain_hybrid import HybridRetriever

QUESTION = "how does a worker get its tasks?"
CANARY = "sk-canary-5f1c"
TRUSTED: dict[str, Any] = {"allowed_objects": [HybridRetriever], "valid_namespaces": ["langchain_hybrid"]}

pytestmark = pytest.mark.filterwarnings("ignore:The function `load` is in beta")


@pytest.fixture
def spec(tmp_path: Path, encoder: BgeM3Encoder, documents: list[Document]) -> IndexSpec:
    """An index in a folder, that a spec opens with a reranker."""
    path = tmp_path / "index"
    HybridRetriever.from_documents(documents, encoder=encoder, path=path).index.close()
    return IndexSpec(path=str(path), encoder=EncoderSpec.tiny(), reranker="tiny", device="cpu")


def through_json(retriever: Any) -> Any:
    return load(json.loads(json.dumps(dumpd(retriever))), **TRUSTED)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"k": 2, "candidates": 4, "mode": "dense", "rerank": False},
    {"filter": {"lang": "zh"}, "min_score": 0.0},
    {"fusion": WeightedSum(dense=0.6, sparse=0.4, normalization="minmax"), "rerank": False},
    {"selection": Selection(near_duplicates=0.95, per_parent=2, parent="lang"), "k": 4},
    {"budget": Budget(milliseconds=60_000), "k": 3, "tags": ["mine"], "metadata": {"team": "docs"}, "name": "Docs"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_what_is_read_back_finds_and_scores_the_same(spec: IndexSpec, settings: dict[str, Any]) -> None:
    with spec.open() as index:
        retriever = HybridRetriever(index=index, **settings)
        assert retriever.index is index
        written = dumpd(retriever)
        expected = retriever.invoke(QUESTION)
        again = load(json.loads(json.dumps(written)), **TRUSTED)
        with again.index:
            found = again.invoke(QUESTION)
            assert [d.id for d in found] == [d.id for d in expected]
            assert [d.metadata["relevance_score"] for d in found] == pytest.approx(
                [d.metadata["relevance_score"] for d in expected]
            )
            for name in HybridRetriever.model_fields:
                if name != "index":
                    assert getattr(again, name) == getattr(retriever, name)
            assert dumpd(again) == written


def test_what_is_written_is_names_and_settings(spec: IndexSpec) -> None:
    with spec.open() as index:
        written = dumpd(HybridRetriever(index=index, k=2))
    assert written["id"] == ["langchain_hybrid", "retriever", "HybridRetriever"]
    assert written["kwargs"] == {
        "index": {"path": spec.path, "encoder": {"model": "tiny"}, "reranker": "tiny", "device": "cpu"},
        "k": 2,
        "mode": "hybrid",
    }  # the rest is left to the index's settings
    assert HybridRetriever.is_lc_serializable()


def test_inside_a_chain_it_comes_back_too(spec: IndexSpec) -> None:
    with spec.open() as index:
        written = dumpd(HybridRetriever(index=index, k=1) | RunnableLambda(len))
        retriever = written["kwargs"]["first"]
    with load(retriever, **TRUSTED).index as again:
        assert len(again) == 6


@pytest.mark.parametrize("kind", ["live index", "filter object", "own fusion"])
def test_what_holds_live_objects_is_marked_as_not_to_be_loaded(
    spec: IndexSpec, retriever: HybridRetriever, kind: str
) -> None:
    with spec.open() as index:
        made: HybridRetriever = {
            "live index": retriever,
            "filter object": HybridRetriever(index=index, filter=Eq("lang", "zh")),
            "own fusion": HybridRetriever(index=index, fusion=lambda lists: []),
        }[kind]
        written = dumpd(made)
        assert written["type"] == "not_implemented"
        with pytest.raises(NotImplementedError):
            load(written, **TRUSTED)


def test_no_key_is_written(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    reranker = RemoteReranker("http://127.0.0.1:9", api="cohere", model="rerank-v3.5", api_key=SecretStr(CANARY))
    retriever = HybridRetriever.from_texts(["a"], encoder=encoder, reranker=reranker, tags=["x"])
    assert retriever.lc_secrets == {}
    for text in (dumps(retriever), repr(retriever), str(retriever.model_dump()), json.dumps(dumpd(retriever))):
        assert CANARY not in text
    assert "index" not in retriever.model_dump()


def test_without_the_allow_list_nothing_is_opened(spec: IndexSpec) -> None:
    with spec.open() as index:
        written = dumpd(HybridRetriever(index=index))
    with pytest.raises(ValueError, match="not allowed"):
        load(written, allowed_objects="core")
    with pytest.raises(ValueError, match=r"[Nn]amespace"):
        load(written, allowed_objects=[HybridRetriever])


def test_a_manifest_with_more_or_wrong_in_it_is_an_error_and_opens_nothing(spec: IndexSpec, tmp_path: Path) -> None:
    with spec.open() as index:
        written = dumpd(HybridRetriever(index=index))
    elsewhere = tmp_path / "elsewhere"
    for wrong in (
        {"path": str(elsewhere), "trust": True},
        {"encoder": {}},
        {"path": str(elsewhere), "encoder": "tiny"},
    ):
        with pytest.raises((ValidationError, ValueError)):
            load({**written, "kwargs": {"index": wrong}}, **TRUSTED)
    assert not elsewhere.exists()


def test_documents_with_lc_dicts_in_their_metadata_stay_data(retriever: HybridRetriever) -> None:
    evil = {"lc": 1, "type": "constructor", "id": ["langchain_hybrid", "retriever", "HybridRetriever"], "kwargs": {}}
    retriever.add_documents([Document("a trap for workers", metadata={"evil": evil}, id="trap")])
    [found] = retriever.invoke("trap", k=1)
    assert found.metadata["evil"] == evil
    assert json.loads(dumps(found))["kwargs"]["metadata"]["evil"] != evil  # LangChain writes it escaped
    [back] = load(dumpd([found]), allowed_objects=[Document])
    assert back.metadata["evil"] == evil


def test_a_spec_in_place_of_the_index_opens_it(spec: IndexSpec) -> None:
    made = HybridRetriever(index=spec.as_dict(), k=1)  # type: ignore[arg-type]  # as a configuration file has it
    with made.index:
        assert made.invoke(QUESTION)[0].id == "queue"
        assert isinstance(made.index, HybridIndex)
