"""FlagEmbedding's own rerankers over a checkpoint: what ours are compared with.

`FlagLLMReranker` runs on transformers 5 as it is. The other two do not: their model code is written for transformers
4.46, so here each gets back what it misses, and nothing else. What they then return is what FlagEmbedding 1.4.2 with
transformers 4.46.0 returns, to the last digits (checked by hand on these very checkpoints).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from safetensors.torch import load_file

from hybrid_core.types import FloatArray


def flag_scores(folder: Path, query: str, texts: Sequence[str], *, length: int, **options: Any) -> FloatArray:
    """Return the scores in [0, 1] that FlagEmbedding's class for this kind of checkpoint gives.

    Args:
        folder: of the checkpoint.
        query: the query.
        texts: the passages.
        length: FlagEmbedding's max_length.
        options: of its `compute_score`: cutoff_layers, compress_ratio, compress_layers, prompt.
    """
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    settings = {"devices": "cpu", "max_length": length, "normalize": True, "batch_size": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports and its loading warn of other projects' deprecations
        import FlagEmbedding

        if kind == "minicpm":
            with _minicpm():
                reranker = FlagEmbedding.LayerWiseFlagLLMReranker(str(folder), use_fp16=True, **settings)
        elif kind == "cost_wise_gemma":
            with _cost_wise_gemma():
                reranker = FlagEmbedding.LightWeightFlagLLMReranker(str(folder), use_fp16=True, **settings)
        else:
            reranker = FlagEmbedding.FlagLLMReranker(str(folder), use_fp16=False, **settings)
        scores = reranker.compute_score([(query, text) for text in texts], **options)
    return np.asarray(scores, dtype=np.float32)


@contextmanager
def _minicpm() -> Iterator[None]:
    """Let MiniCPM's model be made: without the rope_scaling that transformers 5 fills in, and without tied weights."""
    from FlagEmbedding.inference.reranker.decoder_only.models import configuration_minicpm_reranker as configuration
    from FlagEmbedding.inference.reranker.decoder_only.models import modeling_minicpm_reranker as modeling

    def load(folder: str, **_: Any) -> Any:
        config = configuration.LayerWiseMiniCPMConfig.from_pretrained(folder)
        config.rope_scaling = None
        return _filled(modeling.LayerWiseMiniCPMForCausalLM(config), Path(folder))

    model = modeling.LayerWiseMiniCPMForCausalLM
    with mock.patch.object(model, "_tied_weights_keys", None), mock.patch.object(model, "from_pretrained", load):
        yield


@contextmanager
def _cost_wise_gemma() -> Iterator[None]:
    """Let Gemma 2's layers be called as in transformers 4.46: with positions, and returning a tuple."""
    from FlagEmbedding.inference.reranker.decoder_only.models import gemma_config, gemma_model
    from transformers.models.gemma2.modeling_gemma2 import Gemma2DecoderLayer, Gemma2RotaryEmbedding

    class Layer(Gemma2DecoderLayer):  # type: ignore[misc]
        def __init__(self, config: Any, number: int) -> None:
            super().__init__(config, number)
            self.rotary = Gemma2RotaryEmbedding(config)

        def forward(self, states: Any, *, attention_mask: Any, position_ids: Any, **_: Any) -> tuple[Any]:
            places = self.rotary(states, position_ids)
            return (super().forward(states, attention_mask=attention_mask, position_embeddings=places),)

    def load(folder: str, **_: Any) -> Any:
        config = gemma_config.CostWiseGemmaConfig.from_pretrained(folder)
        config.attn_logit_softcapping = None  # the attention that it runs with in 4.46 passes over it; 5 would raise
        with mock.patch.object(gemma_model, "Gemma2DecoderLayer", Layer):
            return _filled(gemma_model.CostWiseGemmaForCausalLM(config), Path(folder))

    model = gemma_model.CostWiseGemmaForCausalLM
    with mock.patch.object(model, "_tied_weights_keys", None), mock.patch.object(model, "from_pretrained", load):
        yield


def _filled(model: Any, folder: Path) -> Any:
    """Return the model with the checkpoint's weights, each in its place."""
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    return model.eval()
