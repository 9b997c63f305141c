"""monoT5: an encoder-decoder that answers true or false."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import check_count, check_text, check_texts
from ...encoders.runtimes.base import Precision
from ...errors import InvalidInputError, ModelLoadError, require
from ...types import FloatArray, IntArray
from ..base import Windowed
from ..windows import Pooling, check_pooling
from .loading import Source, keep_rows, load, open_source, special_id
from .prompting import Prompts, read, shorten
from .scoring import PromptReranker, Scorer, check_batch_tokens, pad, run_padded

_CLASSES = {"t5": "T5ForConditionalGeneration", "mt5": "MT5ForConditionalGeneration"}
_ANSWERS = {"t5": ("true", "false"), "mt5": ("yes", "no")}
_ROOM = 32  # tokens that the whole prompt needs at the least


class MonoT5Reranker(PromptReranker):
    """Scores passages with castorini's monoT5 models (arXiv 2003.06713) and with mT5 trained on mMARCO.

    The prompt is "Query: ... Document: ... Relevant:", the score the probability of "true" against "false" as the first
    word of the answer. The default model was trained for one epoch instead of ten: its card calls it the better one for
    texts other than MS MARCO's.

    Args:
        model: a hub name or a folder.
        answers: the words for relevant and not relevant that the model was trained with; None is ("true", "false") for
            T5 and ("yes", "no") for mT5, as castorini's models and unicamp-dl/mt5-base-mmarco-v2 have it.
            unicamp-dl/mt5-13b-mmarco-100k takes ("true", "false"), the Portuguese ptt5 models ("sim", "não").
        precision: "auto" (bfloat16 on a GPU, float32 on the CPU), "fp32", "fp16" or "bf16".
        device: a torch device; None takes the best there is.
        max_length: tokens of the whole prompt, 512 in training, of which the query gets at most three quarters; a
            document that does not fit beside it is read in overlapping windows, and `score_windows` names the best.
        pooling: how the windows of a text make its score: "max" is the best window's, "top3" the mean of the three
            best, "first" the first window's, without reading the others (what truncation would give).
        batch_tokens: the most tokens in a pass; None takes 4,096 on the CPU, 16,384 on a GPU.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, or not a T5 with a language head.
        MissingDependencyError: torch, transformers, or sentencepiece (for checkpoints without tokenizer.json) is not
            installed.
        InvalidInputError: an argument is out of range.

    Example:
        >>> reranker = MonoT5Reranker("castorini/monot5-base-msmarco-10k")  # doctest: +SKIP
        >>> reranker.score("how often is a task retried?", ["Five times.", "Tea is served at five."])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path = "castorini/monot5-base-msmarco-10k",
        *,
        answers: tuple[str, str] | None = None,
        precision: Precision = "auto",
        device: str | None = None,
        max_length: int = 512,
        pooling: Pooling = "max",
        batch_tokens: int | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        self._max_length = check_count(max_length, "max_length", least=_ROOM)
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
        kind = str(source.config.get("model_type"))
        if kind not in _ANSWERS:
            raise ModelLoadError(
                f"{source.name!r} is a {kind!r} model; MonoT5Reranker runs T5 and mT5, such as "
                "castorini/monot5-base-msmarco-10k"
            )
        self.name = source.name
        self._tokenizer = source.tokenizer
        self._relevant = source.encode("Relevant:")
        end = special_id(source, "eos")
        self._end = [1 if end is None else end]
        words = _ANSWERS[kind] if answers is None else answers
        tokens = _answer_tokens(source, words)
        loaded = load(getattr(require("transformers", "torch"), _CLASSES[kind]), source)
        keep_rows(loaded, tokens)
        self._scorer = Scorer(_EncoderDecoder(loaded, source), self.name, batch_tokens)

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return the probability that each text is relevant, float32 (n,) in [0, 1], in the order given.

        Raises:
            InvalidTextError: the query or a text is not a string.
            EmbeddingError: naming the position of a text for which the model returned NaN.
        """
        return self.score_windows(query, texts).scores

    def score_windows(self, query: str, texts: Sequence[str]) -> Windowed:
        """Return what `score` returns, and of each text that is read in windows the characters of the best.

        Raises:
            InvalidTextError, EmbeddingError: as `score`.
        """
        check_text(query, "query")
        texts = check_texts(texts)
        if not texts:
            return Windowed(np.empty(0, dtype=np.float32), [])
        return self._scorer.score(self._prompts(query, texts), self._max_length)

    def _prompts(self, query: str, texts: list[str]) -> Prompts:
        short = shorten(self._tokenizer, query, (self._max_length - _ROOM // 2) * 3 // 4)
        room = self._max_length - len(self._end)
        asked = f"Query: {short} Document: "
        pieces = read(self._tokenizer, asked, texts, " Relevant:", room=room, pooling=self._pooling)
        shorter = room - len(self._relevant)
        bodies = [ids if len(ids) <= room else [*ids[:shorter], *self._relevant] for ids in pieces.ids]
        return Prompts(
            [np.array([*ids, *self._end], dtype=np.int32) for ids in bodies],
            pieces.windows,
            self._pooling,
            cut=pieces.cut,
            query_cut=len(short) < len(query),
        )


class _EncoderDecoder:
    """Logits of the first word of the answer, yes against no."""

    def __init__(self, model: Any, source: Source) -> None:
        self._torch, self._model = require("torch", "torch"), model
        self.device, self.precision = source.device, source.precision
        self._start = int(source.config.get("decoder_start_token_id") or 0)  # the padding token, as T5 has it

    def run(self, prompts: Prompts, batch_tokens: int) -> FloatArray:
        """Return the logit of each prompt, float32 (n,)."""
        return run_padded(prompts.rows, self._pass, batch_tokens=batch_tokens, device=self.device)

    def _pass(self, rows: list[IntArray]) -> FloatArray:
        torch = self._torch
        ids, lengths = pad(rows)
        real = np.arange(ids.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            out = self._model(
                input_ids=torch.from_numpy(ids).to(self.device),
                attention_mask=torch.from_numpy(real.astype(np.int64)).to(self.device),
                decoder_input_ids=torch.full((len(rows), 1), self._start, device=self.device),
                use_cache=False,
            )
            logits: FloatArray = (out.logits[:, 0, 0] - out.logits[:, 0, 1]).float().cpu().numpy()
        return logits


def _answer_tokens(source: Source, answers: tuple[str, str]) -> list[int]:
    """Return the tokens that stand for relevant and not relevant.

    Raises:
        InvalidInputError: they are not two words, or begin with the same token.
    """
    if not isinstance(answers, (list, tuple)) or len(answers) != 2:
        raise InvalidInputError(f"answers={answers!r} must be two words: for relevant and for not relevant")
    tokens = [source.first_token(check_text(word, "an answer")) for word in answers]
    if tokens[0] == tokens[1]:
        raise InvalidInputError(f"answers={answers!r} begin with the same token of {source.name!r}; take others")
    return tokens
