"""The demo: one corpus, one index, and the same hits through the core, LangChain and LlamaIndex."""

from __future__ import annotations

import json
import tempfile
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..encoders.bge_m3 import BgeM3Encoder
from ..pipeline import HybridIndex
from ..rerankers.cross_encoder import CrossEncoderReranker
from ..types import Hit, Passage
from .tables import STAGES, make_console, matched

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable
    from llama_index.core.query_engine import RetrieverQueryEngine

_TOP = 3
_CANDIDATES = 25
_PROMPT = "Answer from these sections.\n\n{sections}\n\nQuestion: {question}"


def run() -> None:
    """Index the corpus in the package, ask its questions, and print how each stage orders the sections."""
    console = make_console()
    start = time.perf_counter()
    corpus = [Passage(**row) for row in _read("corpus.jsonl")]
    questions = _read("questions.jsonl")
    encoder, reranker = BgeM3Encoder.tiny(), CrossEncoderReranker.tiny()
    with (
        tempfile.TemporaryDirectory() as folder,
        HybridIndex.open(folder, encoder=encoder, reranker=reranker) as index,
    ):
        console.print(f"[bold]bge-hybrid demo[/]: documentation of an imaginary platform\n{encoder!r}, {reranker!r}")
        index.add(corpus)
        languages = [passage.metadata["lang"] for passage in corpus]
        console.print(
            f"{len(index)} sections indexed ({languages.count('en')} English, {languages.count('zh')} Chinese). "
            "For each question: the first sections by dense and by sparse search, fused (RRF), and reranked (by a "
            "cross-encoder). [green]✓[/] marks a section that holds the answer.\n"
        )
        chain, engine = _langchain(index), _llamaindex(index)
        for number, question in enumerate(questions, start=1):
            hits = index.explain(question["question"], k=_CANDIDATES, candidates=_CANDIDATES)
            console.print(f"[bold]{number}. {escape(question['question'])}[/] [dim]({question['kind']})[/]")
            console.print(_orders(hits, set(question["relevant"])))
            console.print(f"   matched tokens of the first hit: {escape(matched(hits[0].matches)) or 'none'}")
            _ask_both(console, chain, engine, question["question"], hits)
    seconds = time.perf_counter() - start
    console.print(f"{len(questions)} questions in {seconds:.1f} s, imports and model loading included.")
    console.print(
        "The models are small (7 and 6 MB) and the questions were chosen to show each stage, failures included: this "
        "is a demonstration, no evaluation."
    )


def _orders(hits: list[Hit], relevant: set[str]) -> Table:
    """Return a table of the first sections in the order of each stage."""
    table = Table(box=None, padding=(0, 3, 0, 3), header_style="dim")
    columns = []
    for stage in STAGES:
        table.add_column(f"{stage} (answer at {_answer_rank(hits, stage, relevant)})", no_wrap=True)
        ranked = sorted((hit for hit in hits if stage in hit.stages), key=lambda hit: hit.stages[stage].rank)
        columns.append([_name(hit.passage.id, relevant) for hit in ranked[:_TOP]])
    for row in range(_TOP):
        table.add_row(*(column[row] if row < len(column) else "-" for column in columns))
    return table


def _answer_rank(hits: list[Hit], stage: str, relevant: set[str]) -> str:
    ranks = [hit.stages[stage].rank for hit in hits if hit.passage.id in relevant and stage in hit.stages]
    return f"#{min(ranks)}" if ranks else f"> {_CANDIDATES}"


def _name(id_: str, relevant: set[str]) -> str:
    return f"[green]✓ {id_}[/]" if id_ in relevant else f"  {id_}"


def _ask_both(
    console: Console, chain: Runnable[str, Any], engine: RetrieverQueryEngine, question: str, hits: list[Hit]
) -> None:
    """Ask the chain and the engine, and say what they answered from."""
    expected = [hit.passage.id for hit in hits[:_TOP]]
    answer = chain.invoke(question)
    response = engine.query(question)
    for name, ids, text in (
        ("LangChain chain", [document.id for document in answer["documents"]], answer["answer"].content),
        ("LlamaIndex engine", [node.node_id for node in response.source_nodes], str(response)),
    ):
        agrees = "the same sections" if ids == expected else f"other sections: {ids}"
        console.print(f"   {name}: {agrees}; the mock model echoes {len(text)} characters of prompt", highlight=False)
    console.print()


def _langchain(index: HybridIndex) -> Runnable[str, Any]:
    """An LCEL chain; ParrotFakeChatModel is LangChain's own mock, which answers with its prompt."""
    from langchain_core.documents import Document
    from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnablePassthrough

    from langchain_hybrid import HybridRetriever

    def sections(inputs: dict[str, list[Document]]) -> str:
        return "\n\n".join(f"[{document.id}] {document.page_content}" for document in inputs["documents"])

    prompt = ChatPromptTemplate.from_template(_PROMPT)
    return (
        {"documents": HybridRetriever(index=index, k=_TOP, candidates=_CANDIDATES), "question": RunnablePassthrough()}
        | RunnablePassthrough.assign(sections=sections)
        | RunnablePassthrough.assign(answer=prompt | ParrotFakeChatModel())
    )


def _llamaindex(index: HybridIndex) -> RetrieverQueryEngine:
    """A query engine; MockLLM is LlamaIndex's own mock, which answers with its prompt."""
    from llama_index.core.llms.mock import MockLLM
    from llama_index.core.query_engine import RetrieverQueryEngine

    from llamaindex_hybrid import HybridRetriever

    return RetrieverQueryEngine.from_args(HybridRetriever(index, k=_TOP, candidates=_CANDIDATES), llm=MockLLM())


def _read(name: str) -> list[dict[str, Any]]:
    text = (files("hybrid_core") / "demo" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
