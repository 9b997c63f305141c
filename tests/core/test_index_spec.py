"""IndexSpec: an index as plain data, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hybrid_core import (
    BgeM3Encoder,
    Budget,
    CrossEncoderReranker,
    DistributionBased,
    EncoderSpec,
    HybridError,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    ModelMismatchError,
    ReciprocalRank,
    WeightedSum,
)
from hybrid_core.index_spec import IndexSpec, SpecifiedIndex, plain, read_plain
from hybrid_core.settings import Settings

FUSIONS = [
    ReciprocalRank(),
    ReciprocalRank(k=10, weights={"dense": 2.0}),
    WeightedSum(dense=0.7, sparse=0.3, normalization="minmax"),
    DistributionBased(weights={"sparse": 0.5}),
]


def tiny(folder: Path, **settings: Any) -> IndexSpec:
    return IndexSpec(path=str(folder), encoder=EncoderSpec.tiny(), device="cpu", **settings)


def test_only_what_is_not_default_is_written_and_the_small_model_by_its_name(tmp_path: Path) -> None:
    assert IndexSpec(path="here").as_dict() == {"path": "here", "encoder": {}}
    spec = IndexSpec(path="here", encoder=EncoderSpec(model="a/b", max_length=99, revision="c0ffee"), reranker="late")
    assert spec.as_dict() == {
        "path": "here",
        "encoder": {"model": "a/b", "max_length": 99, "revision": "c0ffee"},
        "reranker": "late",
    }
    assert tiny(tmp_path).as_dict() == {"path": str(tmp_path), "encoder": {"model": "tiny"}, "device": "cpu"}


@pytest.mark.parametrize("fusion", [None, *FUSIONS], ids=repr)
def test_what_is_written_reads_back_equal_through_json(fusion: Any, tmp_path: Path) -> None:
    settings = Settings(fusion=fusion, candidates=20, note="tuned")
    for spec in (
        tiny(tmp_path, reranker="tiny", settings=settings),
        IndexSpec(path="here", encoder=EncoderSpec(cache_dir="/models", local_files_only=True), settings=settings),
    ):
        assert IndexSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec


@pytest.mark.parametrize("fusion", FUSIONS, ids=repr)
def test_a_fusion_reads_back_equal(fusion: Any) -> None:
    assert read_plain(json.loads(json.dumps(plain(fusion)))) == fusion
    assert read_plain(fusion) is fusion


def test_plain_forms_of_the_other_parts(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    assert plain(None) is None
    assert plain(Budget(milliseconds=50)) == {"milliseconds": 50, "min_candidates": 3, "max_candidates": 50}
    with tiny(tmp_path).open() as index:
        assert plain(index) == tiny(tmp_path).as_dict()
    with pytest.raises(InvalidInputError, match=r"IndexSpec.open"):
        plain(HybridIndex.open(None, encoder=encoder))
    with pytest.raises(InvalidInputError, match="fusion"):
        plain(lambda lists: [])


@pytest.mark.parametrize(
    ("reranker", "kind"), [(None, type(None)), ("tiny", CrossEncoderReranker), ("late", LateInteractionReranker)]
)
def test_it_opens_the_index_that_was_there(tmp_path: Path, encoder: BgeM3Encoder, reranker: Any, kind: type) -> None:
    with HybridIndex.open(tmp_path, encoder=encoder) as index:
        index.add(["A worker pulls tasks."], ids=["a"])
    spec = tiny(tmp_path, reranker=reranker, settings=Settings(k=1, fusion=WeightedSum.from_alpha(0.5)))
    with spec.open() as index:
        assert isinstance(index, SpecifiedIndex)
        assert index.spec == spec
        assert type(index.reranker) is kind
        assert index.fusion == WeightedSum.from_alpha(0.5)
        assert index.search("worker")[0].passage.id == "a"
        assert index.settings.k == 1
    with read_plain(spec.as_dict()) as index:  # type: ignore[attr-defined]
        assert index.search("worker")[0].passage.id == "a"


def test_the_encoders_settings_are_the_specs(tmp_path: Path, random_m3: Path) -> None:
    encoder = EncoderSpec(model=random_m3, max_length=7, passage_instruction="passage: ")
    with IndexSpec(path=str(tmp_path), encoder=encoder, device="cpu").open() as index:
        made = index.encoder.fingerprint
        assert (made.max_length, made.instruction, made.model) == (7, "passage: ", str(random_m3.resolve()))


def test_another_model_than_the_one_it_was_built_with_is_an_error(
    tmp_path: Path, encoder: BgeM3Encoder, random_m3: Path
) -> None:
    with HybridIndex.open(tmp_path, encoder=encoder) as index:
        index.add(["A worker pulls tasks."])
    with pytest.raises(ModelMismatchError, match="tiny"):
        IndexSpec(path=str(tmp_path), encoder=EncoderSpec(model=random_m3), device="cpu").open()
    with pytest.raises(HybridError, match="no-such-model"):
        tiny(tmp_path, reranker="./no-such-model").open()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"path": ""},
        {"path": None},
        {"path": "here", "api_key": "secret"},
        {"path": "here", "encoder": "BAAI/bge-m3"},
        {"path": "here", "encoder": {"trust": True}},
        {"path": "here", "reranker": 3},
        {"path": "here", "device": 0},
        {"path": "here", "fusion": {"name": "WeightedSum"}},
        {"path": "here", "settings": {"fusion": {"name": "open"}}},
        {"path": "here", "settings": {"k": -1}},
        {"path": "here", "settings": {"rounds": 1}},
        ["here"],
    ],
)
def test_what_is_no_plain_form_is_an_error(data: Any) -> None:
    with pytest.raises(InvalidInputError):
        IndexSpec.from_dict(data)


def test_what_has_no_plain_form_comes_back_as_it_is(encoder: BgeM3Encoder) -> None:
    index = HybridIndex.open(None, encoder=encoder)
    assert read_plain(index) is index
    assert read_plain(None) is None
    with pytest.raises(InvalidInputError, match="settings"):
        IndexSpec(path="here", settings={"k": 1})  # type: ignore[arg-type]
