"""Every public name of `hybrid_core` in use, for type checkers: nothing here is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_type

import numpy as np

from hybrid_core import (
    AllOf,
    And,
    AnyOf,
    BackendUnavailableError,
    BgeLlmReranker,
    BgeM3ChromaFunction,
    BgeM3ChromaSparseFunction,
    BgeM3Encoder,
    Bm25,
    Budget,
    CalibratedReranker,
    Calibration,
    Cascade,
    Contains,
    CrossEncoderReranker,
    DistributionBased,
    DuplicateIdError,
    EmbeddingError,
    Encoder,
    EncoderSpec,
    Encoding,
    Eq,
    Exists,
    Filter,
    FilterError,
    Fingerprint,
    FunctionEncoder,
    Fusion,
    Gt,
    Gte,
    Hit,
    HybridError,
    HybridIndex,
    In,
    IndexCorruptError,
    IndexLockedError,
    IndexSpec,
    InstructedReranker,
    InvalidInputError,
    InvalidTextError,
    LateInteractionReranker,
    Lt,
    Lte,
    MetadataError,
    MilvusStore,
    MissingDependencyError,
    ModelError,
    ModelLoadError,
    ModelMismatchError,
    MonoT5Reranker,
    Ne,
    Nin,
    Not,
    OnePass,
    Or,
    Passage,
    QdrantNames,
    QdrantStore,
    Qwen3Reranker,
    Ranked,
    ReciprocalRank,
    RemoteEncoder,
    RemoteReranker,
    Reranker,
    RerankStage,
    Scored,
    Selection,
    SentenceTransformerEncoder,
    Settings,
    SparseSide,
    SparseVector,
    SpecifiedIndex,
    Splade,
    StageScore,
    StorageError,
    StorageFullError,
    Store,
    TeiSparse,
    TextMatch,
    TokenMatch,
    WeightedSum,
    WindowedReranker,
    WorkerPool,
    parse_filter,
)
from hybrid_core.types import FloatArray


def encoders() -> list[Encoder]:
    """Each kind of encoder is an Encoder."""
    m3 = BgeM3Encoder("BAAI/bge-m3", precision="bf16", device="cuda", backend="auto", max_length=8192)
    sides: list[SparseSide] = [Bm25(language="german"), Splade("a/splade", device="cpu"), TeiSparse("http://tei:80")]
    pool = WorkerPool(EncoderSpec(model="BAAI/bge-m3"), devices=["cuda:0", "cuda:1"])
    assert_type(pool.encode_documents(["a"], multi=True), Encoding)
    return [
        m3,
        BgeM3Encoder.tiny(),
        OnePass(m3, most_bytes=1 << 20),
        SentenceTransformerEncoder("a/model", sparse=sides[0], batch_size=8),
        FunctionEncoder("mine", lambda texts: [[1.0] for _ in texts], lambda text: [1.0], sparse=sides[1]),
        RemoteEncoder("http://tei:80", api="tei", sparse=sides[2], timeout=5.0),
        pool,
    ]


async def encodings(encoder: BgeM3Encoder) -> None:
    """An encoding has dense rows, sparse rows and, if asked for, multi-vectors."""
    encoding = encoder.encode_documents(["a text"], multi=True, show_progress=True)
    assert_type(encoding, Encoding)
    assert_type(encoding.dense, FloatArray)
    assert_type(encoding.multi, tuple[FloatArray, ...] | None)
    row = encoding.sparse_row(0)
    assert_type(row, SparseVector)
    assert_type(row.as_dict(), dict[int, float])
    assert_type(await encoder.aencode_queries(["a question"]), Encoding)
    assert_type(Encoding.join([encoding, encoding.rows([0])]), Encoding)
    assert_type(SparseVector.from_dict({1: 0.5}), SparseVector)
    assert_type(encoder.fingerprint, Fingerprint)
    assert_type(encoder.fingerprint.differences(encoder.fingerprint), list[str])
    assert_type(encoder.tokens([1, 2]), list[str])


def filters() -> list[Filter]:
    """Each filter is a Filter, and so is what a dict says."""
    made: list[Filter] = [
        Eq("lang", "en"),
        Ne("lang", None),
        Gt("page", 1),
        Gte("page", 1.5),
        Lt("day", "2026-01-01"),
        Lte("page", 9),
        In("page", [1, 2]),
        Nin("page", [3]),
        Contains("tags", "jobs"),
        AnyOf("tags", ["jobs"]),
        AllOf("tags", ["jobs", "queue"]),
        Exists("page"),
        TextMatch("title", "queue", ignore_case=False),
    ]
    both = And(made[0], Or(made[1], Not(made[2])))
    assert_type(parse_filter({"page": {"$gt": 1}}), Filter)
    return [*made, both, parse_filter(both)]


class MyFusion:
    """A fusion of one's own needs no base class."""

    def __call__(self, lists: Any) -> list[Scored]:
        """Join the lists."""
        return [Scored("id", 1.0)]


class MyReranker:
    """A reranker of one's own needs none either."""

    name = "mine"
    instruction = "what answers the question"

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        """Score texts."""
        return np.zeros(len(texts), dtype=np.float32)


def fusions() -> list[Fusion]:
    """Each fusion is a Fusion."""
    assert_type(WeightedSum.from_alpha(0.7), WeightedSum)
    return [
        ReciprocalRank(k=60.0, weights={"dense": 1.0, "sparse": 0.5}),
        WeightedSum(dense=1.0, sparse=0.3, normalization="none"),
        DistributionBased(),
        MyFusion(),
    ]


def rerankers(encoder: BgeM3Encoder) -> list[Reranker]:
    """Each reranker is a Reranker; some take instructions, some read in windows."""
    cross = CrossEncoderReranker("BAAI/bge-reranker-v2-m3", pooling="max", max_length=512)
    late = LateInteractionReranker(encoder)
    instructed: list[InstructedReranker] = [Qwen3Reranker(), BgeLlmReranker(cutoff_layer=28), MyReranker()]
    windowed: WindowedReranker = cross
    assert_type(windowed.score_windows("a question", ["a text"]).scores, FloatArray)
    assert_type(instructed[0].instruction, str)
    calibration = Calibration.of(cross, [("a question", "a text", True)], method="platt")
    calibration.to_json("calibration.json")
    return [
        cross,
        CrossEncoderReranker.tiny(),
        late,
        MonoT5Reranker(),
        *instructed,
        RemoteReranker("http://tei:80", api="tei", scale="probability"),
        CalibratedReranker(cross, Calibration.from_json("calibration.json")),
        Cascade([(late, 50), (cross, None)]),
    ]


def precision_stage(reranker: Reranker) -> None:
    """The precision stage alone."""
    stage = RerankStage(reranker)
    budget = Budget(milliseconds=100, min_candidates=3, max_candidates=50)
    ranked = stage.rank("a question", ["a text"], top_n=5, budget=budget, min_score=0.3)
    assert_type(ranked, list[Ranked])
    assert_type(ranked[0].position, int)
    assert_type(ranked[0].score, float | None)
    assert_type(ranked[0].window, tuple[int, int] | None)


def index(encoder: Encoder, reranker: Reranker, folder: Path) -> None:
    """An index from beginning to end."""
    settings = Settings(k=5, candidates=50, fusion=WeightedSum.from_alpha(0.5), rerank=True, min_score=0.1)
    with HybridIndex.open(folder, encoder=encoder, reranker=reranker, settings=settings) as opened:
        assert_type(opened, HybridIndex)
        assert_type(opened.add(["a text"], ids=["a"], metadatas=[{"lang": "en"}]), list[str])
        assert_type(opened.upsert([Passage("b", "another", {"page": 3})]), list[str])
        assert_type(opened.get(["a", "b"]), list[Passage | None])
        hits = opened.search(
            "a question",
            5,
            50,
            {"lang": "en"},
            "hybrid",
            rerank=True,
            fusion=ReciprocalRank(),
            budget=Budget(milliseconds=100),
            min_score=0.2,
            instruction=None,
            selection=Selection(diversity=0.3, near_duplicates=0.95, per_parent=2, parent="source"),
        )
        assert_type(hits, list[Hit])
        stage: StageScore = hits[0].stages["dense"]
        assert_type(stage.rank, int)
        assert_type(hits[0].passage, Passage)
        assert_type(opened.explain("a question")[0].matches, tuple[TokenMatch, ...])
        assert_type(opened.search_vectors(np.zeros(1024), SparseVector.from_dict({1: 1.0}), k=3), list[Hit])
        assert_type(opened.delete(filter=Eq("lang", "en")), int)
        assert_type(len(opened), int)


def stores(fingerprint: Fingerprint) -> list[Store]:
    """Stores that are databases."""
    return [
        QdrantStore("http://localhost:6333", fingerprint, names=QdrantNames.langchain(), adopt=True),
        QdrantStore(":memory:", fingerprint, names=QdrantNames(dense="", text="page_content")),
        MilvusStore("milvus.db", fingerprint, collection="docs", indexed=["lang"]),
    ]


def specs() -> None:
    """A subclass is opened as itself, so that a spec gives a SpecifiedIndex."""
    spec = IndexSpec(path="my-index", encoder=EncoderSpec.tiny(), reranker="tiny")
    assert_type(spec.open(), SpecifiedIndex)
    assert_type(SpecifiedIndex.open("my-index", encoder=BgeM3Encoder.tiny()), SpecifiedIndex)
    with spec.open() as opened:
        assert_type(opened.spec, IndexSpec)
    assert_type(IndexSpec.from_dict(spec.as_dict()), IndexSpec)


def chroma(encoder: Encoder) -> None:
    """The functions for Chroma's own collections."""
    dense, sparse = BgeM3ChromaFunction(encoder), BgeM3ChromaSparseFunction(encoder)
    assert_type(dense.name(), str)
    assert_type(sparse.get_config(), dict[str, Any])


def errors(opened: HybridIndex) -> str:
    """Each error is a HybridError and one of Python's own."""
    bad_input: list[type[ValueError]] = [
        InvalidInputError,
        InvalidTextError,
        MetadataError,
        FilterError,
        DuplicateIdError,
        ModelMismatchError,
    ]
    storage: list[type[OSError]] = [StorageError, StorageFullError, IndexLockedError, IndexCorruptError]
    model: list[type[RuntimeError]] = [ModelError, ModelLoadError, EmbeddingError]
    every: list[type[HybridError]] = [InvalidInputError, StorageError, ModelError]
    try:
        opened.add(["a text"])
    except BackendUnavailableError as error:
        connection: ConnectionError = error
        return str(connection)
    except MissingDependencyError as error:
        missing: ImportError = error
        return str(missing)
    return str([bad_input, storage, model, every])
