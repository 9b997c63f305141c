r"""A LlamaIndex query engine: hybrid retrieval, a reranker as postprocessor, sources with scores, metadata filters.

    python examples/llamaindex_engine.py                                    # small models, offline, a mock LLM
    python examples/llamaindex_engine.py --model BAAI/bge-m3 --reranker BAAI/bge-reranker-v2-m3 \
        --llm-url http://127.0.0.1:8000/v1 --llm-model my-model             # OPENAI_API_KEY, if the server wants one

Needs: pip install "bge-hybrid[torch,llamaindex]", and llama-index-llms-openai-like for --llm-url.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.llms import LLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import MarkdownNodeParser
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import Document
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridIndex
from llamaindex_hybrid import BgeReranker, HybridRetriever

HANDBOOK = Path(__file__).parent / "handbook"
CHINESE = MetadataFilters(filters=[MetadataFilter(key="language", value="zh")])
QUESTIONS = (
    ("What happens when a worker is stopped?", None),
    ("error BW-4017", None),
    ("split-traffic", CHINESE),
    ("What happens when a worker is stopped?", CHINESE),
)


def main() -> None:
    """Ask with and without a filter, and print each answer with its sources."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="hub name or folder; 'tiny' is the small model in the package")
    parser.add_argument("--reranker", default="tiny", help="likewise")
    parser.add_argument("--min-score", type=float, default=0.1, help="the reranker's; what scores less is left out")
    parser.add_argument("--llm-url", help="an OpenAI-compatible server; without it, a mock model answers")
    parser.add_argument("--llm-model", default="default", help="the server's name of its model")
    args = parser.parse_args()
    encoder = BgeM3Encoder.tiny() if args.model == "tiny" else BgeM3Encoder(args.model)
    scorer = CrossEncoderReranker.tiny() if args.reranker == "tiny" else CrossEncoderReranker(args.reranker)
    reranker = BgeReranker(reranker=scorer, top_n=2, min_score=args.min_score)
    llm = language_model(args.llm_url, args.llm_model)

    nodes = MarkdownNodeParser().get_nodes_from_documents(pages())
    with HybridIndex.open(None, encoder=encoder) as index:
        HybridRetriever(index).add_nodes(nodes)
        for question, filters in QUESTIONS:
            engine = RetrieverQueryEngine.from_args(
                HybridRetriever(index, k=8, filter=filters), node_postprocessors=[reranker], llm=llm
            )
            ask(engine, question, "Chinese pages only" if filters else "all pages")


def pages() -> list[Document]:
    """Read the handbook; a page's language is metadata to filter by."""
    return [
        Document(
            text=page.read_text(encoding="utf-8"),
            metadata={"page": page.name, "language": "zh" if ".zh" in page.name else "en"},
        )
        for page in sorted(HANDBOOK.glob("*.md"))
    ]


def ask(engine: RetrieverQueryEngine, question: str, scope: str) -> None:
    """Print the answer and, for each source, the reranker's score and what put it among the candidates."""
    response = engine.query(question)
    print(f"\nQ: {question} ({scope})\nA: {response}")
    for source in response.source_nodes:
        stages = source.node.metadata["stage_scores"].items()
        reasons = ", ".join(f"{name} {stage['score']:.3f} #{stage['rank']}" for name, stage in stages)
        heading = source.node.get_content().split("\n")[0].lstrip("# ")
        print(f"   {source.score:.3f} {source.node.metadata['page']}, {heading!r} ({reasons})")


class Quoting(MockLLM):
    """LlamaIndex's MockLLM, which echoes its prompt, cut down to the first section in it."""

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Return what the first section says under its heading."""
        section = prompt.split("\n## ")[1].split("\n-----")[0].split("\n\n")[1]
        return CompletionResponse(text=" ".join(section.split()))


def language_model(url: str | None, name: str) -> LLM:
    """Return the model behind the URL, or the mock one."""
    if url is None:
        print("answers: a mock model, which quotes the first section; --llm-url asks a real one")
        return Quoting()
    try:
        from llama_index.llms.openai_like import OpenAILike
    except ImportError:
        raise SystemExit("--llm-url needs one more package: pip install llama-index-llms-openai-like") from None
    key = os.environ.get("OPENAI_API_KEY", "none")
    return OpenAILike(model=name, api_base=url, api_key=key, is_chat_model=True, context_window=8192)


if __name__ == "__main__":
    main()
