"""Metadata with the reasons in it: the same passage's, whatever the scores."""

from __future__ import annotations

import copy
import json

import pytest

from hybrid_core import BgeM3Encoder, HybridIndex
from hybrid_core.reasons import REASONS, ReasonedMetadata


def test_scores_do_not_make_a_difference_and_anything_else_does() -> None:
    first = ReasonedMetadata(page=3, relevance_score=0.9, stage_scores={"dense": 1}, best_window=[0, 4])
    assert first == ReasonedMetadata(page=3, relevance_score=0.1)
    assert (first != ReasonedMetadata(page=3)) is False
    assert first != ReasonedMetadata(page=4, relevance_score=0.9, stage_scores={"dense": 1}, best_window=[0, 4])
    assert first != 3


def test_beside_a_plain_dict_it_is_one() -> None:
    metadata = ReasonedMetadata(page=3, relevance_score=0.9)
    whole, part = {"page": 3, "relevance_score": 0.9}, {"page": 3}
    assert metadata == whole
    assert whole == metadata
    assert metadata != part
    assert part != metadata
    assert json.loads(json.dumps(metadata)) == metadata
    assert type(copy.deepcopy(metadata)) is ReasonedMetadata
    with pytest.raises(TypeError, match="unhashable"):
        hash(metadata)


def test_the_reasons_are_what_a_hit_adds(encoder: BgeM3Encoder) -> None:
    index = HybridIndex.open(None, encoder=encoder)
    index.add(["A worker pulls tasks."], metadatas=[{"page": 3}])
    [hit] = index.search("worker")
    assert set(hit.annotated_metadata()) - {"page"} <= set(REASONS)
