"""Texts to vectors: dense, sparse and multi-vectors in one forward pass."""
