"""What stands on the transformer, in float32: BGE-M3's three heads, or the classifier of a cross-encoder."""

from __future__ import annotations

import numpy as np

from ..errors import ModelLoadError
from .graph import GraphWriter
from .linear import Float, Linear
from .weights import Weights

_LEAST_LENGTH = 1e-12  # of a vector that is normalised, as in torch


def add_m3_heads(graph: GraphWriter, states: str, heads: Weights, hidden: int) -> None:
    """Add the outputs of arXiv 2402.03216, section 3.2.

    "dense" (texts, d), "weights" (tokens,), and "multi" (others, d) with a row for each token that the input "others"
    names, which costs nothing where it names none.

    Args:
        graph: gets nodes and tensors.
        states: (tokens, d) last states.
        heads: sparse_linear.weight and colbert_linear.weight with their biases.
        hidden: d.

    Raises:
        ModelLoadError: a head does not fit the hidden size.
    """
    dense = graph.node("Gather", "dense/rows", [states, "first"])
    graph.output(_unit(graph, "dense", dense), "dense", ["texts", hidden])
    weights = _linear(graph, "sparse_linear", states, heads, 1, hidden)
    weights = graph.node("Squeeze", "sparse_linear/row", [weights, graph.ints(1)])
    graph.output(graph.node("Relu", "sparse_linear/positive", [weights]), "weights", ["tokens"])
    others = graph.input("others", ["others"], np.int64)
    multi = graph.node("Gather", "colbert_linear/rows", [states, others])
    size = heads.rows("colbert_linear.weight") or hidden
    multi = _linear(graph, "colbert_linear", multi, heads, size, hidden)
    graph.output(_unit(graph, "colbert_linear", multi), "multi", ["others", size])


def add_classifier(graph: GraphWriter, first: str, weights: Weights, hidden: int) -> None:
    """Add the output "logits" (texts,): a layer with tanh (BERT's pooler), and one of one label.

    Args:
        graph: gets nodes and tensors.
        first: (texts, d) last states of the first tokens.
        weights: of the model, its head included.
        hidden: d.

    Raises:
        ModelLoadError: the model has no such head, or one with more labels.
    """
    roberta = weights.rows("classifier.weight") is None
    wide, out = ("classifier.dense", "classifier.out_proj") if roberta else ("bert.pooler.dense", "classifier")
    missing = [f"{name}.{part}" for name in (wide, out) for part in ("weight", "bias")]
    missing = [key for key in missing if weights.rows(key) is None]
    if missing:
        raise ModelLoadError(
            f"{weights.name!r} is no reranker: it lacks the weights {', '.join(missing)}, which would be random. "
            "Use a model such as BAAI/bge-reranker-v2-m3"
        )
    labels = weights.rows(f"{out}.weight")
    if labels != 1:
        raise ModelLoadError(
            f"{weights.name!r} has {labels} labels; a reranker has one. Use a model such as BAAI/bge-reranker-v2-m3"
        )
    pooled = graph.node("Tanh", f"{wide}/tanh", [_linear(graph, wide, first, weights, hidden, hidden)])
    logits = _linear(graph, out, pooled, weights, 1, hidden)
    graph.output(graph.node("Squeeze", f"{out}/row", [logits, graph.ints(1)]), "logits", ["texts"])


def _linear(graph: GraphWriter, name: str, x: str, weights: Weights, rows: int, columns: int) -> str:
    layer = Linear(weights(f"{name}.weight", rows, columns), weights(f"{name}.bias", rows))
    [value] = Float().linear(graph, x, {name: layer})
    return value


def _unit(graph: GraphWriter, name: str, rows: str) -> str:
    """Add rows scaled to unit length; a row of zeros stays so."""
    length = graph.node("ReduceL2", f"{name}/length", [rows, graph.ints(1)])
    length = graph.node("Max", f"{name}/length_above_zero", [length, graph.number(_LEAST_LENGTH)])
    return graph.node("Div", f"{name}/unit", [rows, length])
