"""MiniCPM with a scoring head after each of its upper layers, as bge-reranker-v2-minicpm-layerwise has it.

MiniCPM is Llama with three factors: on the embeddings, on what each layer adds, and on attention (arXiv 2404.06395).
So is Granite, which transformers brings: given MiniCPM's factors it computes the same.
"""

from __future__ import annotations

import math

from ...encoders.runtimes.weights import read_weights
from ...errors import ModelLoadError, require
from .causal import CausalModel
from .layers import check_cutoff, lower_layers, take_head
from .loading import Source, load, replace_head

ARCHITECTURE = "LayerWiseMiniCPMForCausalLM"
_COPIED = """vocab_size hidden_size intermediate_size num_attention_heads num_key_value_heads hidden_act rms_norm_eps
    max_position_embeddings rope_theta attention_bias""".split()


def load_minicpm(source: Source, cutoff_layer: int | None) -> CausalModel:
    """Load the layers up to a cutoff and the head that scores after it; the layers beyond are not kept.

    Raises:
        ModelLoadError: a weight is missing, or the variant is one that is not computed here.
        InvalidInputError: there is no head after that layer.
    """
    transformers, config = require("transformers", "torch"), source.config
    layers, start = int(config["num_hidden_layers"]), int(config["start_layer"])
    cutoff = check_cutoff(cutoff_layer, range(start, layers + 1), source.name)
    for key, wanted in (("head_type", "simple"), ("head_multi", True), ("rope_scaling", None)):
        if config.get(key) != wanted:
            raise ModelLoadError(f"{source.name!r} has {key}={config.get(key)!r}; only {wanted!r} is computed here")
    state = read_weights(source.folder, source.name)
    head = take_head(state, cutoff - start, source.name)
    settings = {
        **{key: config[key] for key in _COPIED},
        "num_hidden_layers": cutoff,
        "embedding_multiplier": config["scale_emb"],
        "residual_multiplier": config["scale_depth"] / math.sqrt(layers),  # of the whole model, whatever the cutoff
        "attention_multiplier": (config["hidden_size"] // config["num_attention_heads"]) ** -0.5,
        "tie_word_embeddings": True,
    }
    model = load(transformers.GraniteForCausalLM, source, settings=settings, state=lower_layers(state, cutoff))
    replace_head(model, head)
    return CausalModel(model, source)
