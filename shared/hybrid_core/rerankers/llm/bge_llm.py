"""The language models among BGE's rerankers: Gemma, MiniCPM layer by layer, and Gemma 2 with compression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import check_count, check_text, check_texts
from ...encoders.runtimes.base import Precision
from ...errors import InvalidInputError, ModelLoadError, require
from ...types import FloatArray
from ..base import Windowed
from ..windows import Pooling, check_pooling
from . import gemma2, minicpm
from .causal import CausalModel
from .loading import Source, keep_rows, load, open_source, special_id
from .prompting import Prompts, read
from .scoring import LogitModel, PromptReranker, Scorer, check_batch_tokens

_ASK = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'."
)
_ASK_LIGHTWEIGHT = "Predict whether passage B contains an answer to query A."


class BgeLlmReranker(PromptReranker):
    """Scores passages with BAAI/bge-reranker-v2-gemma, -v2-minicpm-layerwise or -v2.5-gemma2-lightweight.

    The scores are those of FlagEmbedding's FlagLLMReranker, LayerWiseFlagLLMReranker and LightWeightFlagLLMReranker
    with `normalize=True`; which of them is told by the checkpoint. Models fine-tuned with FlagEmbedding from any
    language model that transformers has run as the first. Neither FlagEmbedding nor code from the checkpoint is used.

    Args:
        model: a hub name or a folder.
        instruction: what the model is asked of query A and passage B, FlagEmbedding's `prompt`; None is the one it was
            trained with. `score` takes another for one call.
        cutoff_layer: score after this many layers (8 to 40 of minicpm-layerwise, 8 to 42 of gemma2-lightweight), which
            saves time and memory in proportion; None is all.
        compress_ratio: 2, 4 or 8 tokens of the passage become one (gemma2-lightweight); 1 compresses nothing.
        compress_layers: the layers before which that happens, below the cutoff.
        precision: "auto" (bfloat16 on a GPU, float32 on the CPU), "fp32", "fp16" or "bf16".
        device: a torch device; None takes the best there is.
        max_length: tokens of query and passage, of which a query gets at most three quarters; a passage that does not
            fit beside it is read in overlapping windows, and `score_windows` names the best.
        pooling: how the windows of a text make its score: "max" is the best window's, "top3" the mean of the three
            best, "first" the first window's, without reading the others (what truncation would give).
        batch_tokens: the most tokens in a pass; None takes 4,096 on the CPU, 16,384 on a GPU.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, or not a language model.
        MissingDependencyError: torch or transformers is not installed.
        InvalidInputError: an argument is out of range, or not one of this model's.

    Example:
        >>> reranker = BgeLlmReranker("BAAI/bge-reranker-v2-minicpm-layerwise", cutoff_layer=28)  # doctest: +SKIP
        >>> reranker.score("how often is a task retried?", ["Five times.", "Tea is served at five."])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path = "BAAI/bge-reranker-v2-gemma",
        *,
        instruction: str | None = None,
        cutoff_layer: int | None = None,
        compress_ratio: int = 1,
        compress_layers: Sequence[int] = (8,),
        precision: Precision = "auto",
        device: str | None = None,
        max_length: int = 1024,
        pooling: Pooling = "max",
        batch_tokens: int | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        if instruction is not None:
            check_text(instruction, "instruction")
        self._max_length = check_count(max_length, "max_length", least=8)
        self._pooling = check_pooling(pooling)
        check_batch_tokens(batch_tokens)
        source = open_source(
            model,
            device=device,
            precision=precision,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        self.name = source.name
        asked = _ASK_LIGHTWEIGHT if source.architecture == gemma2.ARCHITECTURE else _ASK
        self.instruction = asked if instruction is None else instruction
        self._tokenizer = source.tokenizer
        self._begin = _begin(source)
        try:
            runtime = _open(source, cutoff_layer, compress_ratio, compress_layers)
        except KeyError as error:
            raise ModelLoadError(f"config.json of {self.name!r} has no {error}") from error
        self._scorer = Scorer(runtime, self.name, batch_tokens)

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        """Return sigmoid(logit) of each text, float32 (n,) in [0, 1], in the order given.

        Args:
            query: what the texts should answer.
            texts: the candidates.
            instruction: for this call in place of the object's own.

        Raises:
            InvalidTextError: the query, the instruction or a text is not a string.
            EmbeddingError: naming the position of a text for which the model returned NaN.
        """
        return self.score_windows(query, texts, instruction=instruction).scores

    def score_windows(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Windowed:
        """Return what `score` returns, and of each text that is read in windows the characters of the best.

        Raises:
            InvalidTextError, EmbeddingError: as `score`.
        """
        check_text(query, "query")
        instruction = self.instruction if instruction is None else check_text(instruction, "instruction")
        texts = check_texts(texts)
        if not texts:
            return Windowed(np.empty(0, dtype=np.float32), [])
        return self._scorer.score(self._prompts(query, texts, instruction), self._max_length)

    def _prompts(self, query: str, texts: list[str], instruction: str) -> Prompts:
        """Put together, token by token as FlagEmbedding does, three lines: A: query, B: passage, instruction."""
        encoded = self._tokenizer.encode_batch_fast([f"A: {query}", "\n", instruction], add_special_tokens=False)
        asked, newline, ask = (item.ids for item in encoded)
        most = self._max_length * 3 // 4
        before = [*self._begin, *asked[:most], *newline]
        after = [*newline, *ask]
        room = min(self._max_length, self._max_length + len(after) - len(before))
        pieces = read(self._tokenizer, "B: ", texts, room=room, pooling=self._pooling)
        return Prompts(
            [np.array([*before, *ids[:room], *after], dtype=np.int32) for ids in pieces.ids],
            pieces.windows,
            self._pooling,
            cut=pieces.cut,
            query_cut=len(asked) > most,
            before=len(before),
            after=len(after),
        )


def _open(source: Source, cutoff_layer: int | None, compress_ratio: int, compress_layers: Sequence[int]) -> LogitModel:
    if source.architecture == gemma2.ARCHITECTURE:
        return gemma2.LightweightGemma2(source, cutoff_layer, compress_ratio, compress_layers)
    if compress_ratio != 1:
        raise InvalidInputError(
            f"compress_ratio={compress_ratio!r} is for BAAI/bge-reranker-v2.5-gemma2-lightweight; {source.name!r} does "
            "not compress: leave it out"
        )
    if source.architecture == minicpm.ARCHITECTURE:
        return minicpm.load_minicpm(source, cutoff_layer)
    if cutoff_layer is not None:
        raise InvalidInputError(
            f"cutoff_layer={cutoff_layer!r} is for BAAI/bge-reranker-v2-minicpm-layerwise and "
            f"-v2.5-gemma2-lightweight; {source.name!r} scores after its last layer only: leave it out"
        )
    return _open_causal(source)


def _open_causal(source: Source) -> CausalModel:
    kinds: Any = require("transformers", "torch")
    if not source.architecture.endswith("ForCausalLM") or not hasattr(kinds, source.architecture):
        raise ModelLoadError(
            f"{source.name!r} is a {source.architecture or 'model of unknown architecture'}, which is no language "
            "model of transformers; for a model with a classification head use CrossEncoderReranker"
        )
    yes = source.first_token("Yes")
    model = load(getattr(kinds, source.architecture), source)
    keep_rows(model, [yes])
    return CausalModel(model, source)


def _begin(source: Source) -> list[int]:
    """Return the token at the beginning, where the model has one; plain models must not use it as padding too."""
    begin = special_id(source, "bos")
    layered = source.architecture in (gemma2.ARCHITECTURE, minicpm.ARCHITECTURE)
    return [] if begin is None or (not layered and begin == special_id(source, "pad")) else [begin]
