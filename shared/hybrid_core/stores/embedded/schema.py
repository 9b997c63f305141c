"""The tables of the truth, how vectors are written in them, and which format this release reads."""

from __future__ import annotations

import numpy as np

from ...types import IntArray, SparseVector

FORMAT = 2  # 1: dense vectors in the database too, see `migration`
FILE = "passages.sqlite3"

# A passage's place is the number of its row in the file of dense vectors. It is never given to another, so "what is new
# since" is two questions: places from n on, which views ask too, and deletions from m on.
TABLES = """
CREATE TABLE IF NOT EXISTS info (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS passages (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    text_hash BLOB NOT NULL,
    metadata TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS passages_by_text ON passages (text_hash);
CREATE TABLE IF NOT EXISTS sparse (place INTEGER PRIMARY KEY, tokens BLOB NOT NULL, weights BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deletions (number INTEGER PRIMARY KEY, place INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS blocks (place INTEGER PRIMARY KEY, count INTEGER NOT NULL, checksum INTEGER NOT NULL);
"""
FORGET_VIEWS = "DELETE FROM info WHERE key IN ('dense_view', 'sparse_view')"  # they know places of before
SET = "INSERT OR REPLACE INTO info (key, value) VALUES (?, ?)"


def pack_tokens(tokens: IntArray) -> bytes:
    """Return ascending token ids as bytes: the steps between them in 16 bits where they fit, else as they are."""
    steps = np.diff(tokens, prepend=0)
    if len(steps) and int(steps.max()) > 0xFFFF:
        return tokens.astype("<i4").tobytes()
    return steps.astype("<u2").tobytes()


def unpack_sparse(tokens: bytes, weights: bytes) -> SparseVector:
    """Return a sparse vector from what is stored."""
    values = np.frombuffer(weights, dtype="<f4")
    if len(tokens) == 4 * len(values):
        return SparseVector(np.frombuffer(tokens, dtype="<i4"), values)
    return SparseVector(np.frombuffer(tokens, dtype="<u2").cumsum(dtype=np.int32), values)
