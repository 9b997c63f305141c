"""HybridRetriever inside LangChain: callbacks, async, batches and chains."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough

from hybrid_core import InvalidInputError
from langchain_hybrid import HybridRetriever

QUESTION = "how does a worker get its tasks?"

QUESTIONS = [QUESTION, "网关限流", "how long is the wait?", "图例"]


class Recorder(BaseCallbackHandler):
    """Notes the retriever's callbacks in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
        self.calls.append(("start", query))

    def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        self.calls.append(("end", documents))

    def on_retriever_error(self, error: BaseException, **kwargs: Any) -> None:
        self.calls.append(("error", error))


class AsyncRecorder(AsyncCallbackHandler):
    """The same for handlers that are coroutines."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    async def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
        self.calls.append(("start", query))

    async def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        self.calls.append(("end", documents))

    async def on_retriever_error(self, error: BaseException, **kwargs: Any) -> None:
        self.calls.append(("error", error))


def test_invoke_fires_start_and_end_with_the_documents(retriever: HybridRetriever) -> None:
    recorder = Recorder()
    found = retriever.invoke(QUESTION, {"callbacks": [recorder]})
    assert recorder.calls == [("start", QUESTION), ("end", found)]


@pytest.mark.parametrize("recorder_class", [Recorder, AsyncRecorder])
async def test_ainvoke_fires_start_and_end_with_the_documents(
    retriever: HybridRetriever, recorder_class: type[Recorder | AsyncRecorder]
) -> None:
    recorder = recorder_class()
    found = await retriever.ainvoke(QUESTION, {"callbacks": [recorder]})
    assert recorder.calls == [("start", QUESTION), ("end", found)]


def test_an_error_in_invoke_reaches_on_retriever_error(retriever: HybridRetriever) -> None:
    recorder = Recorder()
    with pytest.raises(InvalidInputError) as raised:
        retriever.invoke(QUESTION, {"callbacks": [recorder]}, k=-1)
    assert recorder.calls == [("start", QUESTION), ("error", raised.value)]


async def test_an_error_in_ainvoke_reaches_on_retriever_error(retriever: HybridRetriever) -> None:
    recorder = AsyncRecorder()
    with pytest.raises(InvalidInputError) as raised:
        await retriever.ainvoke(QUESTION, {"callbacks": [recorder]}, k=-1)
    assert recorder.calls == [("start", QUESTION), ("error", raised.value)]


async def test_ainvoke_takes_the_same_overrides_and_returns_the_same(retriever: HybridRetriever) -> None:
    for overrides in ({}, {"k": 2}, {"filter": {"lang": "zh"}}, {"mode": "dense", "candidates": 3, "k": 3}):
        found = await retriever.ainvoke(QUESTION, **overrides)
        assert found == retriever.invoke(QUESTION, **overrides)
        assert found


async def test_batch_and_abatch_return_what_invoke_returns(retriever: HybridRetriever) -> None:
    expected = [retriever.invoke(question) for question in QUESTIONS]
    assert retriever.batch(QUESTIONS) == expected
    assert await retriever.abatch(QUESTIONS) == expected


def make_chain(retriever: HybridRetriever) -> Runnable[str, str]:
    def join(documents: list[Document]) -> str:
        return "\n".join(f"[{document.id}] {document.page_content}" for document in documents)

    prompt = ChatPromptTemplate.from_template("{context}\nQ: {question}")
    sources = {"context": retriever | join, "question": RunnablePassthrough()}
    return sources | prompt | ParrotFakeChatModel() | StrOutputParser()


async def test_a_chain_answers_from_the_documents_found(retriever: HybridRetriever) -> None:
    retriever.k = 2
    first, second = retriever.invoke(QUESTION)
    expected = f"[{first.id}] {first.page_content}\n[{second.id}] {second.page_content}\nQ: {QUESTION}"
    chain = make_chain(retriever)
    assert chain.invoke(QUESTION) == expected
    assert await chain.ainvoke(QUESTION) == expected
    assert "".join([part async for part in chain.astream(QUESTION)]) == expected
    assert first.id == "queue"
