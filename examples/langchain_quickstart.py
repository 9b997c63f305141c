"""A LangChain RAG chain over hybrid retrieval: index, retrieve, rerank, answer with the sources.

    python examples/langchain_quickstart.py                          # the small model in the package, offline
    python examples/langchain_quickstart.py --model BAAI/bge-m3      # the real one (2.3 GB, downloaded once)

The answering model is LangChain's ParrotFakeChatModel, which only echoes its prompt: put your own chat model there.
"""

from __future__ import annotations

import argparse

from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from hybrid_core import BgeM3Encoder, LateInteractionReranker
from langchain_hybrid import HybridRetriever

DOCUMENTS = [
    Document(
        "A worker that receives SIGTERM finishes its running task first.", metadata={"page": "workers"}, id="stop"
    ),
    Document(
        "Set worker.drain_timeout to the seconds a worker may take to stop.", metadata={"page": "workers"}, id="key"
    ),
    Document("网关按客户端地址限制每秒的请求数，超出时返回 429。", metadata={"page": "gateway"}, id="limit"),
    Document("A chart's legend lists its series; click an entry to hide it.", metadata={"page": "charts"}, id="legend"),
]


def main() -> None:
    """Ask three questions: a paraphrase, an exact key, and one across languages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="hub name or folder; 'tiny' is the small model in the package")
    model = parser.parse_args().model
    encoder = BgeM3Encoder.tiny() if model == "tiny" else BgeM3Encoder(model)

    retriever = HybridRetriever.from_documents(
        DOCUMENTS, encoder=encoder, reranker=LateInteractionReranker(encoder), k=2
    )
    prompt = ChatPromptTemplate.from_template("Answer from these sections:\n{sections}\n\nQuestion: {question}")
    chain = (
        {"documents": retriever, "question": RunnablePassthrough()}
        | RunnablePassthrough.assign(sections=lambda inputs: "\n".join(d.page_content for d in inputs["documents"]))
        | RunnablePassthrough.assign(answer=prompt | ParrotFakeChatModel())
    )
    for question in ("what happens when a worker is stopped?", "worker.drain_timeout", "How are requests limited?"):
        result = chain.invoke(question)
        print(f"{question}\n  answer from (echo): {len(result['answer'].content)} characters of prompt")
        for document in result["documents"]:
            stages = document.metadata["stage_scores"]
            reasons = ", ".join(f"{name} #{stage['rank']}" for name, stage in stages.items())
            print(f"  [{document.id}] {document.metadata['relevance_score']:.3f} ({reasons}): {document.page_content}")
        print()


if __name__ == "__main__":
    main()
