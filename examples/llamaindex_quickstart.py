"""A LlamaIndex query engine over hybrid retrieval: index, retrieve, rerank, answer with the sources.

    python examples/llamaindex_quickstart.py                         # the small model in the package, offline
    python examples/llamaindex_quickstart.py --model BAAI/bge-m3     # the real one (2.3 GB, downloaded once)

The answering model is LlamaIndex's MockLLM, which only echoes its prompt: put your own LLM there.
"""

from __future__ import annotations

import argparse

from llama_index.core.llms.mock import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode

from hybrid_core import BgeM3Encoder, LateInteractionReranker
from llamaindex_hybrid import BgeReranker, HybridRetriever

NODES = [
    TextNode(id_="stop", text="A worker that receives SIGTERM finishes its running task first."),
    TextNode(id_="key", text="Set worker.drain_timeout to the seconds a worker may take to stop."),
    TextNode(id_="limit", text="网关按客户端地址限制每秒的请求数，超出时返回 429。"),
    TextNode(id_="legend", text="A chart's legend lists its series; click an entry to hide it."),
]


def main() -> None:
    """Ask three questions: a paraphrase, an exact key, and one across languages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="hub name or folder; 'tiny' is the small model in the package")
    model = parser.parse_args().model
    encoder = BgeM3Encoder.tiny() if model == "tiny" else BgeM3Encoder(model)

    engine = RetrieverQueryEngine.from_args(
        HybridRetriever.from_nodes(NODES, encoder=encoder, k=4),
        node_postprocessors=[BgeReranker(reranker=LateInteractionReranker(encoder), top_n=2)],
        llm=MockLLM(),
    )
    for question in ("what happens when a worker is stopped?", "worker.drain_timeout", "How are requests limited?"):
        response = engine.query(question)
        print(f"{question}\n  answer from (echo): {len(str(response))} characters of prompt")
        for source in response.source_nodes:
            stages = source.node.metadata["stage_scores"]
            reasons = ", ".join(f"{name} #{stage['rank']}" for name, stage in stages.items())
            print(f"  [{source.node_id}] {source.score:.3f} ({reasons}): {source.text}")
        print()


if __name__ == "__main__":
    main()
