r"""A LangChain agent with hybrid retrieval as its tool: the model decides what to search for, and answers from that.

    python examples/langchain_agent.py                                      # small models, offline, a mock LLM
    python examples/langchain_agent.py "your question" --model BAAI/bge-m3 --reranker BAAI/bge-reranker-v2-m3 \
        --llm-url http://127.0.0.1:8000/v1 --llm-model my-model             # OPENAI_API_KEY, if the server wants one

Needs: pip install "bge-hybrid[torch,langchain]" langchain, and langchain-openai for --llm-url, whose model must be able
to call tools.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.tools import create_retriever_tool

from hybrid_core import BgeM3Encoder, CrossEncoderReranker
from langchain_hybrid import HybridRetriever

HANDBOOK = Path(__file__).parent / "handbook"
QUESTIONS = ("How often is a failed task tried again?", "worker.drain_timeout", "怎样把一部分流量发送到新版本？")
SYSTEM = "Look everything up with search_handbook before you answer, and name the page that the answer is on."


def main() -> None:
    """Give the retriever to an agent as a tool, and print what it called, what it got, and what it said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    parser.add_argument("--model", default="tiny", help="hub name or folder; 'tiny' is the small model in the package")
    parser.add_argument("--reranker", default="tiny", help="likewise")
    parser.add_argument("--llm-url", help="an OpenAI-compatible server; without it, a mock model answers")
    parser.add_argument("--llm-model", default="default", help="the server's name of its model")
    args = parser.parse_args()
    encoder = BgeM3Encoder.tiny() if args.model == "tiny" else BgeM3Encoder(args.model)
    reranker = CrossEncoderReranker.tiny() if args.reranker == "tiny" else CrossEncoderReranker(args.reranker)

    retriever = HybridRetriever.from_documents(sections(), encoder=encoder, reranker=reranker, k=3, min_score=0.1)
    tool = create_retriever_tool(
        retriever,
        "search_handbook",
        "Searches the handbook of Brightwater, in English and Chinese. Takes a question, a name or an error code.",
        document_prompt=PromptTemplate.from_template("{source}: {page_content}"),
        response_format="content_and_artifact",  # the model reads the text; the documents keep their scores
    )
    agent = create_agent(chat_model(args.llm_url, args.llm_model), [tool], system_prompt=SYSTEM)
    for question in args.questions:
        print(f"\nQ: {question}")
        for message in agent.invoke({"messages": [("user", question)]})["messages"]:
            show(message)


def sections() -> list[Document]:
    """Read the handbook, a document a section."""
    return [
        Document(part.strip(), metadata={"source": page.name})
        for page in sorted(HANDBOOK.glob("*.md"))
        for part in re.split(r"^#+ ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if "\n\n" in part.strip()  # more than a heading
    ]


def show(message: BaseMessage) -> None:
    """Print a step: the call of the tool, what it returned with the scores, or the answer."""
    if isinstance(message, AIMessage) and message.tool_calls:
        for call in message.tool_calls:
            print(f"   calls {call['name']}({', '.join(map(repr, call['args'].values()))})")
    elif isinstance(message, ToolMessage):
        for document in message.artifact or []:
            stages = document.metadata["stage_scores"].items()
            reasons = ", ".join(f"{name} {stage['score']:.3f} #{stage['rank']}" for name, stage in stages)
            heading = document.page_content.split("\n")[0]
            print(f"   gets {document.metadata['source']}, {heading!r} ({reasons})")
    elif isinstance(message, AIMessage):
        print(f"A: {message.content}")


class Mock(FakeChatModel):
    """LangChain's fake chat model, made to call the first tool with the question and to quote what comes back."""

    tool: str = ""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable:
        """Remember the tool's name."""
        return self.model_copy(update={"tool": tools[0].name})

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            page, _, text = last.text.partition(": ")  # "workers.md: heading", a blank line, what it says
            quoted = " ".join(text.split("\n\n")[1].split()) if text else ""
            said = AIMessage(f"{quoted} ({page})" if quoted else "I found nothing about this.")
        else:
            said = AIMessage("", tool_calls=[{"name": self.tool, "args": {"query": last.text}, "id": "call-1"}])
        return ChatResult(generations=[ChatGeneration(message=said)])


def chat_model(url: str | None, name: str) -> BaseChatModel:
    """Return the model behind the URL, or the mock one."""
    if url is None:
        print(
            "answers: a mock model, which searches for the question and quotes what it finds; --llm-url asks a real one"
        )
        return Mock()
    try:
        from langchain_openai import ChatOpenAI
    except ImportError:
        raise SystemExit("--llm-url needs one more package: pip install langchain-openai") from None
    return ChatOpenAI(base_url=url, model=name, api_key=os.environ.get("OPENAI_API_KEY", "none"))


if __name__ == "__main__":
    main()
