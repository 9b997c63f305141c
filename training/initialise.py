"""Start the word embeddings from latent semantic analysis of the corpus.

Texts that say the same in both languages are counted as one document, so that a word and its translation start out
near each other. What this is worth against a random start has not been measured.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from torch import nn

from .model import M3
from .retrieval import counts
from .sampler import Sampler


def documents(sampler: Sampler) -> list[list[int]]:
    """Return aligned texts joined, and every section by itself."""
    texts = sampler.texts
    joined = [a + b for a, b in sampler.blocks]
    joined += [t.query + t.body[:200] + texts[t.other].query + texts[t.other].body[:200] for t in texts if t.other >= 0]
    return joined + [t.query + t.body[:200] for t in texts]


def latent(rows: list[list[int]], vocabulary: int, dimension: int, seed: int) -> np.ndarray:
    """Return (vocabulary, dimension) rows of one length, by a randomised SVD of tf-idf."""
    tf = csr_array(counts(rows, vocabulary))
    df = np.bincount(tf.indices, minlength=vocabulary)
    tf.data = 1 + np.log(tf.data)
    matrix = tf @ diags_array(np.log1p(len(rows) / (df + 1.0)))
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix = csr_array(diags_array(1 / np.maximum(norms, 1e-6)) @ matrix).astype(np.float32)
    random = np.random.default_rng(seed)
    basis = random.standard_normal((vocabulary, dimension + 32)).astype(np.float32)
    for _ in range(4):
        basis, _ = np.linalg.qr(matrix.T @ (matrix @ basis))
    _, sizes, right = np.linalg.svd((matrix @ basis).T @ (matrix @ basis))
    found = (basis @ right.T)[:, :dimension] * sizes[:dimension] ** 0.25
    turn, _ = np.linalg.qr(random.standard_normal((dimension, dimension)))  # no head gets the large components alone
    found = found @ turn
    length = np.linalg.norm(found, axis=1, keepdims=True)
    blank = length[:, 0] < 1e-7
    found = found / np.maximum(length, 1e-7)
    found[blank] = random.standard_normal((int(blank.sum()), dimension)) / dimension**0.5
    return np.asarray(found, dtype=np.float32)


def start(model: M3, sampler: Sampler, seed: int) -> None:
    """Set the embeddings, and let values pass through attention, so that CLS starts as a mean of word vectors."""
    hidden = model.shape.hidden
    found = latent(documents(sampler), model.shape.vocabulary, hidden, seed)
    with torch.no_grad():
        model.transformer.embeddings.word_embeddings.weight[5:] = torch.from_numpy(found[5:]) * 0.05 * hidden**0.5
        for layer in model.transformer.layers:
            attention = layer.attention
            nn.init.eye_(attention["self"].value.weight)
            attention["output"].dense.weight.copy_(2.0 * torch.eye(hidden))
        model.transformer.embeddings.position_embeddings.weight.mul_(0.2)
        model.transformer.embeddings.token_type_embeddings.weight.mul_(0.2)
