"""HybridRetriever as a tool, alone and in an agent whose model is a fake."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, create_retriever_tool

from langchain_hybrid import HybridRetriever

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of langchain-community, which it loads where that is installed
    from langchain_classic.agents import AgentExecutor, create_tool_calling_agent

pytestmark = pytest.mark.filterwarnings("ignore:This API is in beta")  # as_tool

QUESTION = "how does a worker get its tasks?"


class Model(FakeMessagesListChatModel):
    """Says what it is told to say, and notes which tools it was offered."""

    offered: list[str] = []  # noqa: RUF012  # a field of pydantic's

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        self.offered.extend(tool.name for tool in tools)
        return self


def as_tool(retriever: HybridRetriever) -> BaseTool:
    return retriever.as_tool(name="search_docs", description="Searches the documentation.")


def retriever_tool(retriever: HybridRetriever) -> BaseTool:
    return create_retriever_tool(
        retriever, "search_docs", "Searches the documentation.", response_format="content_and_artifact"
    )


def call(argument: str) -> ToolCall:
    return ToolCall(name="search_docs", args={argument: QUESTION}, id="call-1", type="tool_call")


async def test_create_retriever_tool_gives_text_and_documents(retriever: HybridRetriever) -> None:
    tool = retriever_tool(retriever)
    found = retriever.invoke(QUESTION)
    message = tool.invoke(call("query"))
    assert isinstance(message, ToolMessage)
    assert message.content == "\n\n".join(document.page_content for document in found)
    assert message.artifact == found
    assert (await tool.ainvoke(call("query"))).content == message.content


async def test_as_tool_gives_the_documents(retriever: HybridRetriever) -> None:
    tool = as_tool(retriever)
    assert (tool.name, tool.description) == ("search_docs", "Searches the documentation.")
    assert tool.invoke(QUESTION) == retriever.invoke(QUESTION)
    assert await tool.ainvoke(QUESTION) == retriever.invoke(QUESTION)


@pytest.mark.parametrize(("make", "argument"), [(retriever_tool, "query"), (as_tool, "__arg1")])
async def test_an_agent_calls_it_and_answers_from_what_it_found(
    retriever: HybridRetriever, make: Any, argument: str
) -> None:
    retriever.k = 1
    tool = make(retriever)
    prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])

    def executor() -> AgentExecutor:
        says = [AIMessage("", tool_calls=[call(argument)]), AIMessage("It pulls them.")]
        model = Model(responses=says, offered=[])
        agent = create_tool_calling_agent(model, [tool], prompt)
        assert model.offered == ["search_docs"]
        return AgentExecutor(agent=agent, tools=[tool], return_intermediate_steps=True)

    for result in (executor().invoke({"input": QUESTION}), await executor().ainvoke({"input": QUESTION})):
        assert result["output"] == "It pulls them."
        [(action, observation)] = result["intermediate_steps"]
        assert action.tool == "search_docs"
        assert "A worker pulls tasks from the queue." in str(observation)
