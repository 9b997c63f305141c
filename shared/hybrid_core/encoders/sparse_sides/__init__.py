"""Sparse partners for encoders that have a dense side only."""
