r"""A LangChain RAG chain over a folder: answers stream, cite their sections, and refuse where nothing is relevant.

    python examples/langchain_rag.py                                        # small models, offline, a mock LLM
    python examples/langchain_rag.py --folder docs --into my-index          # your folder, into an index that stays
    python examples/langchain_rag.py --model BAAI/bge-m3 --reranker BAAI/bge-reranker-v2-m3 \
        --llm-url http://127.0.0.1:8000/v1 --llm-model my-model             # OPENAI_API_KEY, if the server wants one

Needs: pip install "bge-hybrid[torch,langchain,files]" langchain-community, and langchain-openai for --llm-url.
(langchain-community is being retired by its makers; any other loader that gives Documents will do.)
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from pathlib import Path

from langchain_classic.indexes import SQLRecordManager
from langchain_community.document_loaders import DirectoryLoader, TextLoader
from langchain_core.documents import Document
from langchain_core.indexing import index
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_text_splitters import RecursiveCharacterTextSplitter

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridIndex
from langchain_hybrid import HybridRetriever, HybridVectorStore

HANDBOOK = Path(__file__).parent / "handbook"
QUESTIONS = (
    "What happens when a worker is stopped?",
    "BW-4017",
    "怎样把一部分流量发送到新版本？",
    "Who won the world cup in 1998?",
)
SECTION = 80  # tokens, which suits the short pages of the handbook; some hundreds suit longer ones
REFUSAL = "I found nothing relevant to this question."
PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from the numbered sections alone, briefly, and cite each one you use by its number: [1]."),
        ("human", "{sections}\n\nQuestion: {question}"),
    ]
)


def main() -> None:
    """Index the folder twice, then ask each question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    parser.add_argument("--folder", type=Path, default=HANDBOOK, help="what to index: .md and .txt files")
    parser.add_argument("--into", type=Path, help="where the index stays; without it, it goes when the program ends")
    parser.add_argument("--model", default="tiny", help="hub name or folder; 'tiny' is the small model in the package")
    parser.add_argument("--reranker", default="tiny", help="likewise")
    parser.add_argument("--min-score", type=float, default=0.1, help="the reranker's; what scores less is left out")
    parser.add_argument("--llm-url", help="an OpenAI-compatible server; without it, a mock model answers")
    parser.add_argument("--llm-model", default="default", help="the server's name of its model")
    args = parser.parse_args()
    encoder = BgeM3Encoder.tiny() if args.model == "tiny" else BgeM3Encoder(args.model)
    reranker = CrossEncoderReranker.tiny() if args.reranker == "tiny" else CrossEncoderReranker(args.reranker)
    model = chat_model(args.llm_url, args.llm_model)

    with tempfile.TemporaryDirectory() as temporary:
        kept: Path = args.into or Path(temporary)
        kept.mkdir(parents=True, exist_ok=True)
        with HybridIndex.open(kept / "index", encoder=encoder, reranker=reranker) as opened:
            for attempt in ("first", "again"):  # the second finds everything in place and embeds nothing
                print(f"indexed, {attempt}: {fill(opened, load(args.folder, encoder), kept / 'records.sqlite')}")
            chain = rag(HybridRetriever(index=opened, k=3, min_score=args.min_score), model)
            for question in args.questions:
                ask(chain, question)


def load(folder: Path, encoder: BgeM3Encoder) -> list[Document]:
    """Read a folder and split it into sections of at most SECTION of the model's tokens."""
    loader = DirectoryLoader(
        str(folder), glob=["**/*.md", "**/*.txt"], loader_cls=TextLoader, loader_kwargs={"encoding": "utf-8"}
    )
    splitter = RecursiveCharacterTextSplitter(
        separators=["\n## ", "\n\n", "\n", " ", ""],
        chunk_size=SECTION,
        chunk_overlap=0,
        length_function=encoder.token_count,
    )
    sections = splitter.split_documents(loader.load())
    for section in sections:
        section.metadata["source"] = Path(section.metadata["source"]).relative_to(folder).as_posix()
    return sections


def fill(opened: HybridIndex, sections: list[Document], records: Path) -> dict[str, int]:
    """Bring the index up to date by LangChain's own indexing API: new sections are added, those gone are deleted."""
    manager = SQLRecordManager("handbook", db_url=f"sqlite:///{records}")
    manager.create_schema()
    done = index(
        sections, manager, HybridVectorStore(opened), cleanup="full", source_id_key="source", key_encoder="sha256"
    )
    manager.engine.dispose()
    return {key.removeprefix("num_"): count for key, count in done.items()}


def rag(retriever: HybridRetriever, model: Runnable) -> Runnable:
    """Return the chain: question in; documents and answer out, the refusal if no document is relevant."""
    answer = RunnablePassthrough.assign(sections=lambda found: numbered(found["documents"])) | PROMPT | model
    return RunnableParallel(documents=retriever, question=RunnablePassthrough()).assign(
        answer=RunnableBranch((lambda found: not found["documents"], lambda _: REFUSAL), answer | StrOutputParser())
    )


def numbered(documents: list[Document]) -> str:
    """Return the sections as the model sees them."""
    return "\n\n".join(f"[{i}] {d.metadata['source']}\n{d.page_content}" for i, d in enumerate(documents, start=1))


def ask(chain: Runnable, question: str) -> None:
    """Print the answer as it comes, then its sources with the score and the rank of each stage."""
    documents: list[Document] = []
    answer = ""
    print(f"\nQ: {question}\nA: ", end="")
    for step in chain.stream(question):
        documents = step.get("documents", documents)
        answer += step.get("answer", "")
        print(step.get("answer", ""), end="", flush=True)
    print()
    for i, document in enumerate(documents, start=1):
        mark = "cited" if f"[{i}]" in answer else "found"
        stages = document.metadata["stage_scores"].items()
        reasons = ", ".join(f"{name} {stage['score']:.3f} #{stage['rank']}" for name, stage in stages)
        print(f"   [{i}] {mark}: {document.metadata['source']} ({reasons})")


def chat_model(url: str | None, name: str) -> Runnable:
    """Return the model behind the URL, or the mock one."""
    if url is None:
        print("answers: LangChain's GenericFakeChatModel, which quotes the first section; --llm-url asks a real model")
        return RunnableLambda(quoting)
    try:
        from langchain_openai import ChatOpenAI
    except ImportError:
        raise SystemExit("--llm-url needs one more package: pip install langchain-openai") from None
    return ChatOpenAI(base_url=url, model=name, api_key=os.environ.get("OPENAI_API_KEY", "none"))


def quoting(prompt: PromptValue) -> GenericFakeChatModel:
    """Return a mock model whose answer is the first sentence of section [1] with its citation."""
    section = re.split(r"\n\n(?:\[2\] |Question: )", prompt.messages[-1].content)[0].split("\n", 1)[1]
    sentence = re.split(r"(?<=[.。])(?:\s|(?<=。))", max(section.split("\n\n"), key=len).replace("\n", " "))[0]
    return GenericFakeChatModel(messages=iter([f"{sentence} [1]"]))


if __name__ == "__main__":
    main()
