"""The same questions to EnsembleRetriever + CrossEncoderReranker and to HybridRetriever, side by side.

    python examples/migrate_langchain.py                                    # small models, offline
    python examples/migrate_langchain.py --model BAAI/bge-m3 --reranker BAAI/bge-reranker-v2-m3

Both load the same two checkpoints and answer the ten questions of `bge-hybrid demo`. docs/migration/
from-ensemble-retriever.md tells what the output means. No language model takes part: this is what one would be given.

Needs: pip install "bge-hybrid[torch,langchain]" langchain-classic langchain-community langchain-chroma rank-bm25
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple

from langchain_chroma import Chroma
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker as LangChainReranker
from langchain_community.cross_encoders import HuggingFaceCrossEncoder
from langchain_community.embeddings import HuggingFaceEmbeddings
from langchain_community.retrievers import BM25Retriever
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from transformers import AutoTokenizer
from transformers.utils import logging

from hybrid_core import BgeM3Encoder, CrossEncoderReranker
from langchain_hybrid import HybridRetriever

MODELS = files("hybrid_core") / "models"
DEPTH = 10  # candidates from each side, here and there
LATE = Document("LNT-5501 means that the disk of the log server is full.", id="late", metadata={"id": "late"})
ROW = "{:<52}{:>12}{:>12}{:>12}"


def ensemble(
    documents: list[Document], embeddings: Any, scorer: Any, words: Callable[[str], list[str]]
) -> ContextualCompressionRetriever:
    """Chroma and BM25, joined by EnsembleRetriever, reranked by CrossEncoderReranker."""
    chroma = Chroma(f"sections-{id(words)}", embeddings)
    chroma.add_documents(documents)
    dense = chroma.as_retriever(search_kwargs={"k": DEPTH})
    bm25 = BM25Retriever.from_documents(documents, preprocess_func=words, k=DEPTH)
    joined = EnsembleRetriever(retrievers=[bm25, dense], id_key="id")
    best = LangChainReranker(model=scorer, top_n=DEPTH)
    return ContextualCompressionRetriever(base_compressor=best, base_retriever=joined)


def hybrid(documents: list[Document], encoder: Any, reranker: Any) -> HybridRetriever:
    """The same with HybridRetriever: BGE-M3's own sparse weights take the place of BM25."""
    settings = {"k": DEPTH, "candidates": DEPTH}
    return HybridRetriever.from_documents(documents, encoder=encoder, reranker=reranker, **settings)


class Side(NamedTuple):
    """The parts of a pipeline that are compared."""

    whole: BaseRetriever
    first: Callable[[str], list[Document]]  # before the cross-encoder
    words: Callable[[str], list[Document]]  # BM25, or sparse search
    chinese: Callable[[str], list[Document]]  # filtered by {"lang": "zh"}
    add: Callable[[list[Document]], Any]
    lines: int


def parts_of_ensemble(whole: ContextualCompressionRetriever) -> Side:
    """Take it apart again."""
    bm25, dense = whole.base_retriever.retrievers

    def chinese(question: str) -> list[Document]:
        dense.search_kwargs["filter"] = {"lang": "zh"}  # BM25Retriever has nothing of the kind
        return whole.invoke(question)

    return Side(
        whole, whole.base_retriever.invoke, bm25.invoke, chinese, dense.vectorstore.add_documents, lines(ensemble)
    )


def parts_of_hybrid(whole: HybridRetriever) -> Side:
    """The same of HybridRetriever, which is asked for its parts by settings of a call."""
    return Side(
        whole,
        partial(whole.invoke, rerank=False),
        partial(whole.invoke, mode="sparse", rerank=False),
        partial(whole.invoke, filter={"lang": "zh"}),
        whole.add_documents,
        lines(hybrid),
    )


def main() -> None:
    """Build both, ask both, add to both, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="hub name or folder; 'tiny' is the small model in the package")
    parser.add_argument("--reranker", default="tiny", help="likewise")
    args = parser.parse_args()
    model = str(MODELS / "tiny_m3") if args.model == "tiny" else args.model
    scoring = str(MODELS / "tiny_reranker") if args.reranker == "tiny" else args.reranker
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rows, questions = read("corpus.jsonl"), read("questions.jsonl")
    documents = [Document(row["text"], id=row["id"], metadata={**row["metadata"], "id": row["id"]}) for row in rows]
    embeddings, scorer = HuggingFaceEmbeddings(model_name=model), HuggingFaceCrossEncoder(model_name=scoring)
    encoder, reranker = BgeM3Encoder(model), CrossEncoderReranker(scoring)
    subwords = AutoTokenizer.from_pretrained(model).tokenize
    work: Counter[str] = Counter()
    for part, method, what in (
        (embeddings.client, "encode", "texts"),
        (encoder, "encode_documents", "texts"),
        (encoder, "encode_queries", "texts"),
        (scorer.client, "predict", "pairs"),
        (reranker, "score_windows", "pairs"),
    ):
        counted(part, method, work, what)
    columns = [
        facts(parts_of_ensemble(ensemble(documents, embeddings, scorer, str.split)), documents, questions, work),
        facts(parts_of_ensemble(ensemble(documents, embeddings, scorer, subwords)), documents, questions, work),
        facts(parts_of_hybrid(hybrid(documents, encoder, reranker)), documents, questions, work),
    ]
    print(ROW.format("", "ensemble", "subwords", "hybrid"))
    for name in columns[0]:
        print(ROW.format(name, *(column[name] for column in columns)))


def facts(
    side: Side, documents: list[Document], questions: list[dict[str, Any]], work: Counter[str]
) -> dict[str, object]:
    """Put a pipeline through its paces; `work` counts what its models are given meanwhile."""
    found: dict[str, object] = {f"texts encoded to index {len(documents)} sections": work["texts"]}
    work.clear()
    answers = [side.whole.invoke(asked["question"]) for asked in questions]
    found["texts encoded for 10 questions"] = work["texts"]
    found["pairs that the cross-encoder scored for them"] = work["pairs"]
    for number, (asked, answer) in enumerate(zip(questions, answers, strict=True), start=1):
        ranks = f"{rank(side.first(asked['question']), asked)} > {rank(answer, asked)}"
        found[f"   rank for question {number} ({asked['kind']})"] = ranks
    found["stages whose scores a result carries"] = len(answers[1][0].metadata.get("stage_scores", ()))
    same = asyncio.run(side.whole.ainvoke(questions[1]["question"])) == answers[1]
    found["ainvoke() finds what invoke() finds"] = yes(same)
    english = [document for document in side.chinese("limit the rate of requests") if document.metadata["lang"] == "en"]
    found["English sections found when asked for Chinese ones"] = len(english)
    work.clear()
    side.add(documents)
    found["texts encoded when all are added again"] = work["texts"]
    side.add([LATE])
    found["words of a section added later are searched"] = yes("late" in ids(side.words("LNT-5501")))
    found["lines that build it"] = side.lines
    work.clear()
    return found


def rank(found: list[Document], asked: dict[str, Any]) -> str:
    """Return the place of the first section that answers the question."""
    return next((str(place) for place, id_ in enumerate(ids(found), start=1) if id_ in asked["relevant"]), "-")


def ids(found: list[Document]) -> list[str]:
    """Return the documents' ids."""
    return [document.metadata["id"] for document in found]


def lines(build: Callable[..., Any]) -> int:
    """Return how many lines are under a function's docstring."""
    return len(inspect.getsource(build).split('"""')[2].strip().splitlines())


def yes(holds: bool) -> str:
    """Return the word."""
    return "yes" if holds else "no"


def read(name: str) -> list[dict[str, Any]]:
    """Return the rows of a file of the demo."""
    lines = (files("hybrid_core") / "demo" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def counted(part: Any, method: str, work: Counter[str], what: str) -> None:
    """Count the texts or pairs that a method is given, in its last argument."""
    run = getattr(part, method)

    def counting(*args: Any, **kwargs: Any) -> Any:
        work[what] += len(args[-1])
        return run(*args, **kwargs)

    setattr(part, method, counting)


if __name__ == "__main__":
    main()
