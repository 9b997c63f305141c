"""Qwen3-Reranker: a chat model asked whether a document meets the requirements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...checks import check_count, check_text, check_texts
from ...encoders.runtimes.base import Precision
from ...errors import InvalidInputError, ModelLoadError, require
from ...types import FloatArray
from ..base import Windowed
from ..windows import Pooling, check_pooling
from .causal import CausalModel
from .loading import keep_rows, load, open_source
from .prompting import Prompts, read, shorten
from .scoring import PromptReranker, Scorer, check_batch_tokens

_BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_ROOM = 16  # tokens that query and text need at the least


class Qwen3Reranker(PromptReranker):
    """Scores passages with Qwen/Qwen3-Reranker-0.6B, -4B or -8B (arXiv 2506.05176).

    The score is the probability of "yes" against "no" as the answer to the prompt of the model card. The beginning that
    all prompts of a call share, up to the document, is read once.

    Args:
        model: a hub name or a folder.
        instruction: what makes a document relevant, one sentence, in English whatever the language of the texts, as
            the model card advises; `score` takes another for one call.
        precision: "auto" (bfloat16 on a GPU, float32 on the CPU), "fp32", "fp16" or "bf16".
        device: a torch device; None takes the best there is.
        max_length: tokens of the whole prompt, of which the query gets at most three quarters; a document that does not
            fit beside it is read in overlapping windows, and `score_windows` names the best. The model's own limit
            where that is less.
        pooling: how the windows of a text make its score: "max" is the best window's, "top3" the mean of the three
            best, "first" the first window's, without reading the others (what truncation would give).
        batch_tokens: the most tokens in a pass; None takes 4,096 on the CPU, 16,384 on a GPU.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, or not a Qwen3 with a language head.
        MissingDependencyError: torch or transformers is not installed.
        InvalidInputError: an argument is out of range.

    Example:
        >>> reranker = Qwen3Reranker("Qwen/Qwen3-Reranker-0.6B")  # doctest: +SKIP
        >>> reranker.score("how often is a task retried?", ["Five times.", "Tea is served at five."])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path = "Qwen/Qwen3-Reranker-0.6B",
        *,
        instruction: str = "Given a web search query, retrieve relevant passages that answer the query",
        precision: Precision = "auto",
        device: str | None = None,
        max_length: int = 8192,
        pooling: Pooling = "max",
        batch_tokens: int | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        self.instruction = check_text(instruction, "instruction")
        check_count(max_length, "max_length", least=1)
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
        if source.architecture != "Qwen3ForCausalLM":
            raise ModelLoadError(
                f"{source.name!r} is a {source.architecture or 'model of unknown architecture'}; Qwen3Reranker runs "
                "Qwen3ForCausalLM, such as Qwen/Qwen3-Reranker-0.6B"
            )
        self.name = source.name
        self._tokenizer = source.tokenizer
        self._before, self._after = source.encode(_BEFORE), source.encode(_AFTER)
        self._max_length = min(max_length, int(source.config.get("max_position_embeddings", max_length)))
        self._room = self._max_length - len(self._before) - len(self._after)
        if self._room < _ROOM:
            least = self._max_length - self._room + _ROOM
            raise InvalidInputError(f"max_length={max_length} leaves no room beside the prompt; take {least} or more")
        answers = [source.first_token("yes"), source.first_token("no")]
        loaded = load(require("transformers", "torch").Qwen3ForCausalLM, source)
        keep_rows(loaded, answers)
        self._scorer = Scorer(CausalModel(loaded, source), self.name, batch_tokens)

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        """Return the probability that each text meets the query, float32 (n,) in [0, 1], in the order given.

        Args:
            query: what the texts should answer.
            texts: the candidates.
            instruction: for this call in place of the object's own.

        Raises:
            InvalidTextError: the query, the instruction or a text is not a string.
            InvalidInputError: query and instruction leave no room for a text that does not fit beside them.
            EmbeddingError: naming the position of a text for which the model returned NaN.
        """
        return self.score_windows(query, texts, instruction=instruction).scores

    def score_windows(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Windowed:
        """Return what `score` returns, and of each text that is read in windows the characters of the best.

        Raises:
            InvalidTextError, InvalidInputError, EmbeddingError: as `score`.
        """
        check_text(query, "query")
        instruction = self.instruction if instruction is None else check_text(instruction, "instruction")
        texts = check_texts(texts)
        if not texts:
            return Windowed(np.empty(0, dtype=np.float32), [])
        return self._scorer.score(self._prompts(query, texts, instruction), self._max_length)

    def _prompts(self, query: str, texts: list[str], instruction: str) -> Prompts:
        short = shorten(self._tokenizer, query, self._room * 3 // 4)
        asked = f"<Instruct>: {instruction}\n<Query>: {short}\n<Document>: "
        pieces = read(self._tokenizer, asked, texts, room=self._room, pooling=self._pooling, special=True)
        return Prompts(
            [np.array([*self._before, *ids[: self._room], *self._after], dtype=np.int32) for ids in pieces.ids],
            pieces.windows,
            self._pooling,
            cut=pieces.cut,
            query_cut=len(short) < len(query),
        )
