r"""A LlamaIndex chat engine: a follow-up is condensed into a question of its own, which hybrid retrieval then answers.

    python examples/llamaindex_chat.py                                      # small models, offline, a mock LLM
    python examples/llamaindex_chat.py --model BAAI/bge-m3 --reranker BAAI/bge-reranker-v2-m3 \
        --llm-url http://127.0.0.1:8000/v1 --llm-model my-model             # OPENAI_API_KEY, if the server wants one

Needs: pip install "bge-hybrid[torch,llamaindex]", and llama-index-llms-openai-like for --llm-url.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.chat_engine import CondensePlusContextChatEngine
from llama_index.core.llms import LLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import MarkdownNodeParser
from llama_index.core.schema import Document

from hybrid_core import BgeM3Encoder, CrossEncoderReranker
from llamaindex_hybrid import HybridRetriever

HANDBOOK = Path(__file__).parent / "handbook"
TURNS = ("How long is an access token valid?", "Which error do I get after that?")


def main() -> None:
    """Hold a conversation of two turns, of which the second cannot be understood without the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="*", default=TURNS)
    parser.add_argument("--model", default="tiny", help="hub name or folder; 'tiny' is the small model in the package")
    parser.add_argument("--reranker", default="tiny", help="likewise")
    parser.add_argument("--llm-url", help="an OpenAI-compatible server; without it, a mock model answers")
    parser.add_argument("--llm-model", default="default", help="the server's name of its model")
    args = parser.parse_args()
    encoder = BgeM3Encoder.tiny() if args.model == "tiny" else BgeM3Encoder(args.model)
    reranker = CrossEncoderReranker.tiny() if args.reranker == "tiny" else CrossEncoderReranker(args.reranker)

    pages = [
        Document(text=page.read_text(encoding="utf-8"), metadata={"page": page.name})
        for page in sorted(HANDBOOK.glob("*.md"))
    ]
    retriever = HybridRetriever.from_documents(
        pages, encoder=encoder, reranker=reranker, transformations=[MarkdownNodeParser()], k=2
    )
    llm = language_model(args.llm_url, args.llm_model)
    engine = CondensePlusContextChatEngine.from_defaults(retriever, llm=llm)
    for turn in args.turns:
        response = engine.chat(turn)
        print(f"\nuser: {turn}\n   searched for: {response.sources[0].raw_input['message']}")
        for source in response.source_nodes:
            stages = source.node.metadata["stage_scores"].items()
            reasons = ", ".join(f"{name} {stage['score']:.3f} #{stage['rank']}" for name, stage in stages)
            heading = source.node.get_content().split("\n")[0].lstrip("# ")
            print(f"   {source.node.metadata['page']}, {heading!r} ({reasons})")
        print(f"assistant: {response}")
    before = retriever.retrieve(args.turns[-1])[0].node.get_content().split("\n")[0].lstrip("# ")
    print(f"\nThe last turn alone, without the conversation, would have found {before!r} first.")


class Mock(MockLLM):
    """LlamaIndex's MockLLM, which echoes its prompt, cut down to what each of the engine's two prompts asks for."""

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Join the user's turns into one question, or quote the first section."""
        if "Standalone question:" in prompt:
            said = re.findall(r"(?:user|Follow Up Input): (.*)", prompt)
            return CompletionResponse(text=" ".join(said))
        section = prompt.split("\n## ")[1].split("\n\n")[1]
        return CompletionResponse(text=" ".join(section.split()))


def language_model(url: str | None, name: str) -> LLM:
    """Return the model behind the URL, or the mock one."""
    if url is None:
        print("answers: a mock model, which joins the turns and quotes the first section; --llm-url asks a real one")
        return Mock()
    try:
        from llama_index.llms.openai_like import OpenAILike
    except ImportError:
        raise SystemExit("--llm-url needs one more package: pip install llama-index-llms-openai-like") from None
    key = os.environ.get("OPENAI_API_KEY", "none")
    return OpenAILike(model=name, api_base=url, api_key=key, is_chat_model=True, context_window=8192)


if __name__ == "__main__":
    main()
