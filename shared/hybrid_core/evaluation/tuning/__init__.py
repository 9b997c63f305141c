"""Tuning: the settings that answer questions with known answers best, or nearly so at the least cost.

    recall, costs  ->  grid, ranking  ->  choice, ending  ->  tuner  ->  result

Each question is encoded, recalled and reranked once; every setting of the grid is evaluated from that. What is chosen
is measured on questions that had no say in it.
"""

from .grid import Grid
from .result import Trial, Tuning
from .tuner import tune

__all__ = ["Grid", "Trial", "Tuning", "tune"]
