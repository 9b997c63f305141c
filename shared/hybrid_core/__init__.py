"""bge-hybrid's framework-free core: encoders, stores, fusion, rerankers, and the index that joins them.

Names are imported when first used, so that `import hybrid_core` loads neither torch nor chromadb.
"""

from typing import TYPE_CHECKING

from ._lazy import lazy_exports

if TYPE_CHECKING:
    from .choosing import Selection as Selection
    from .chroma_functions import BgeM3ChromaFunction as BgeM3ChromaFunction
    from .chroma_functions import BgeM3ChromaSparseFunction as BgeM3ChromaSparseFunction
    from .encoders.base import Encoder as Encoder
    from .encoders.bge_m3 import BgeM3Encoder as BgeM3Encoder
    from .encoders.encoder_spec import EncoderSpec as EncoderSpec
    from .encoders.functions import FunctionEncoder as FunctionEncoder
    from .encoders.one_pass import OnePass as OnePass
    from .encoders.pool import WorkerPool as WorkerPool
    from .encoders.remote import RemoteEncoder as RemoteEncoder
    from .encoders.remote import TeiSparse as TeiSparse
    from .encoders.sentence_transformer import SentenceTransformerEncoder as SentenceTransformerEncoder
    from .encoders.sparse_sides.base import SparseSide as SparseSide
    from .encoders.sparse_sides.bm25 import Bm25 as Bm25
    from .encoders.sparse_sides.splade import Splade as Splade
    from .errors import BackendUnavailableError as BackendUnavailableError
    from .errors import DuplicateIdError as DuplicateIdError
    from .errors import EmbeddingError as EmbeddingError
    from .errors import FilterError as FilterError
    from .errors import HybridError as HybridError
    from .errors import IndexCorruptError as IndexCorruptError
    from .errors import IndexLockedError as IndexLockedError
    from .errors import InvalidInputError as InvalidInputError
    from .errors import InvalidTextError as InvalidTextError
    from .errors import MetadataError as MetadataError
    from .errors import MissingDependencyError as MissingDependencyError
    from .errors import ModelError as ModelError
    from .errors import ModelLoadError as ModelLoadError
    from .errors import ModelMismatchError as ModelMismatchError
    from .errors import StorageError as StorageError
    from .errors import StorageFullError as StorageFullError
    from .filter_parsing import parse_filter as parse_filter
    from .filters import AllOf as AllOf
    from .filters import And as And
    from .filters import AnyOf as AnyOf
    from .filters import Contains as Contains
    from .filters import Eq as Eq
    from .filters import Exists as Exists
    from .filters import Filter as Filter
    from .filters import Gt as Gt
    from .filters import Gte as Gte
    from .filters import In as In
    from .filters import Lt as Lt
    from .filters import Lte as Lte
    from .filters import Ne as Ne
    from .filters import Nin as Nin
    from .filters import Not as Not
    from .filters import Or as Or
    from .filters import TextMatch as TextMatch
    from .fusion import DistributionBased as DistributionBased
    from .fusion import Fusion as Fusion
    from .fusion import ReciprocalRank as ReciprocalRank
    from .fusion import WeightedSum as WeightedSum
    from .index_spec import IndexSpec as IndexSpec
    from .index_spec import SpecifiedIndex as SpecifiedIndex
    from .pipeline import HybridIndex as HybridIndex
    from .rerankers.base import InstructedReranker as InstructedReranker
    from .rerankers.base import Reranker as Reranker
    from .rerankers.base import WindowedReranker as WindowedReranker
    from .rerankers.budget import Budget as Budget
    from .rerankers.calibrated import CalibratedReranker as CalibratedReranker
    from .rerankers.calibration import Calibration as Calibration
    from .rerankers.cascade import Cascade as Cascade
    from .rerankers.cross_encoder import CrossEncoderReranker as CrossEncoderReranker
    from .rerankers.late_interaction import LateInteractionReranker as LateInteractionReranker
    from .rerankers.llm.bge_llm import BgeLlmReranker as BgeLlmReranker
    from .rerankers.llm.mono_t5 import MonoT5Reranker as MonoT5Reranker
    from .rerankers.llm.qwen3 import Qwen3Reranker as Qwen3Reranker
    from .rerankers.remote import RemoteReranker as RemoteReranker
    from .rerankers.stage import Ranked as Ranked
    from .rerankers.stage import RerankStage as RerankStage
    from .settings import Settings as Settings
    from .stores.base import Store as Store
    from .stores.milvus import MilvusStore as MilvusStore
    from .stores.qdrant import QdrantNames as QdrantNames
    from .stores.qdrant import QdrantStore as QdrantStore
    from .types import Encoding as Encoding
    from .types import Fingerprint as Fingerprint
    from .types import Hit as Hit
    from .types import Passage as Passage
    from .types import Scored as Scored
    from .types import SparseVector as SparseVector
    from .types import StageScore as StageScore
    from .types import TokenMatch as TokenMatch

_ERRORS = """BackendUnavailableError DuplicateIdError EmbeddingError FilterError HybridError IndexCorruptError
    IndexLockedError InvalidInputError InvalidTextError MetadataError MissingDependencyError ModelError ModelLoadError
    ModelMismatchError StorageError StorageFullError"""
_FILTERS = "AllOf And AnyOf Contains Eq Exists Filter Gt Gte In Lt Lte Ne Nin Not Or TextMatch"

__getattr__, __all__ = lazy_exports(
    __name__,
    {
        **dict.fromkeys(_ERRORS.split(), ".errors"),
        **dict.fromkeys(_FILTERS.split(), ".filters"),
        **dict.fromkeys("Encoding Fingerprint Hit Passage Scored SparseVector StageScore TokenMatch".split(), ".types"),
        **dict.fromkeys("DistributionBased Fusion ReciprocalRank WeightedSum".split(), ".fusion"),
        "parse_filter": ".filter_parsing",
        "BgeM3ChromaFunction": ".chroma_functions",
        "BgeM3ChromaSparseFunction": ".chroma_functions",
        "BgeM3Encoder": ".encoders.bge_m3",
        "BgeLlmReranker": ".rerankers.llm.bge_llm",
        "Bm25": ".encoders.sparse_sides.bm25",
        "Budget": ".rerankers.budget",
        "CalibratedReranker": ".rerankers.calibrated",
        "Calibration": ".rerankers.calibration",
        "Cascade": ".rerankers.cascade",
        "CrossEncoderReranker": ".rerankers.cross_encoder",
        "Encoder": ".encoders.base",
        "EncoderSpec": ".encoders.encoder_spec",
        "FunctionEncoder": ".encoders.functions",
        "HybridIndex": ".pipeline",
        "LateInteractionReranker": ".rerankers.late_interaction",
        "IndexSpec": ".index_spec",
        "InstructedReranker": ".rerankers.base",
        "MilvusStore": ".stores.milvus",
        "MonoT5Reranker": ".rerankers.llm.mono_t5",
        "OnePass": ".encoders.one_pass",
        "QdrantNames": ".stores.qdrant",
        "QdrantStore": ".stores.qdrant",
        "Qwen3Reranker": ".rerankers.llm.qwen3",
        "Ranked": ".rerankers.stage",
        "RemoteEncoder": ".encoders.remote",
        "RemoteReranker": ".rerankers.remote",
        "RerankStage": ".rerankers.stage",
        "Reranker": ".rerankers.base",
        "Selection": ".choosing",
        "SentenceTransformerEncoder": ".encoders.sentence_transformer",
        "Settings": ".settings",
        "SparseSide": ".encoders.sparse_sides.base",
        "SpecifiedIndex": ".index_spec",
        "Splade": ".encoders.sparse_sides.splade",
        "Store": ".stores.base",
        "TeiSparse": ".encoders.remote",
        "WindowedReranker": ".rerankers.base",
        "WorkerPool": ".encoders.pool",
    },
)
