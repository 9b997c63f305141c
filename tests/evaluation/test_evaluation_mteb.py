"""Models and tasks of the mteb package: what mteb measures of a model of ours is what we measure ourselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import datasets
import mteb
import numpy as np
import pytest
from mteb._create_dataloaders import _retrieval_texts
from mteb.mocks.mock_tasks import MockInstructionReranking, MockRetrievalDialogTask, MockRetrievalTask, MockSTSTask
from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol
from mteb.types import PromptType

from hybrid_core import (
    BgeM3Encoder,
    CrossEncoderReranker,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    Scored,
    WeightedSum,
)
from hybrid_core.evaluation import (
    Evaluation,
    EvaluationSet,
    MtebCrossEncoder,
    MtebEncoder,
    MtebSearch,
    System,
    evaluate,
    mteb_task,
)
from hybrid_core.evaluation.mteb.search import falling, query_text

OURS = {"ndcg_at_10": "nDCG@10", "recall_at_10": "R@10", "precision_at_10": "P@10", "map_at_1000": "AP"}
OURS |= {"mrr_at_1000": "RR", "hit_rate_at_1": "Success@1"}
BATCH = [{"text": ["how is a job tried again?", "限流"]}, {"text": ["a third"]}]


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def systems(encoder: BgeM3Encoder, reranker: CrossEncoderReranker) -> dict[str, System]:
    made = [
        System("dense", mode="dense", candidates=12),
        System("sparse", mode="sparse", candidates=12),
        System("rrf", candidates=12),
        System("few", fusion=WeightedSum.from_alpha(0.7), candidates=3),
        System("rerank", reranker=reranker, candidates=12),
        System("late", reranker=LateInteractionReranker(encoder), candidates=12),
    ]
    return {system.name: system for system in made}


@pytest.fixture(scope="module")
def ours(small_index: HybridIndex, small_set: EvaluationSet, systems: dict[str, System]) -> Evaluation:
    return evaluate(small_index, small_set, list(systems.values()), metrics=list(OURS.values()))


def scores(model: Any, task: mteb.AbsTask, **options: Any) -> dict[str, Any]:
    found = mteb.evaluate(model, task, cache=options.pop("cache", None), show_progress_bar=False, **options)
    return dict(found.task_results[0].scores["test"][0])


def local(dataset: EvaluationSet) -> mteb.AbsTask:
    return mteb_task(dataset, languages=["eng-Latn", "zho-Hans"])


def same(theirs: dict[str, Any], found: Evaluation, system: str) -> None:
    means = found.system(system).means
    assert {name: theirs[name] for name in OURS} == {
        name: pytest.approx(means[metric], abs=6e-6)  # mteb rounds to five digits
        for name, metric in OURS.items()
    }


def test_the_models_are_those_of_mtebs_protocols(encoder: BgeM3Encoder, reranker: CrossEncoderReranker) -> None:
    models = [MtebEncoder(encoder), MtebCrossEncoder(reranker), MtebSearch(encoder, System("rrf"))]
    protocols = [EncoderProtocol, CrossEncoderProtocol, SearchProtocol]
    fits = [[isinstance(model, protocol) for protocol in protocols] for model in models]
    assert fits == np.eye(3, dtype=bool).tolist()


def test_an_encoder_scores_in_mteb_as_its_dense_side_does_here(
    encoder: BgeM3Encoder, small_set: EvaluationSet, ours: Evaluation
) -> None:
    same(scores(MtebEncoder(encoder), local(small_set)), ours, "dense")


@pytest.mark.parametrize("name", ["dense", "sparse", "rrf", "few", "rerank", "late"])
def test_a_system_scores_in_mteb_as_it_does_here(
    encoder: BgeM3Encoder, small_set: EvaluationSet, systems: dict[str, System], ours: Evaluation, name: str
) -> None:
    same(scores(MtebSearch(encoder, systems[name]), local(small_set)), ours, name)


@pytest.mark.parametrize("whole", [False, True], ids=["cross-encoder", "system"])
def test_what_a_system_found_is_reranked_in_mteb_as_here(
    encoder: BgeM3Encoder,
    reranker: CrossEncoderReranker,
    small_set: EvaluationSet,
    systems: dict[str, System],
    ours: Evaluation,
    tmp_path: Path,
    whole: bool,
) -> None:
    task = local(small_set)
    scores(MtebSearch(encoder, systems["rrf"]), task, prediction_folder=tmp_path)
    model = MtebSearch(encoder, systems["rerank"]) if whole else MtebCrossEncoder(reranker)
    same(scores(model, task.convert_to_reranking(tmp_path, top_k=12)), ours, "rerank")


def test_a_reranking_task_ranks_only_what_it_gives(encoder: BgeM3Encoder, small_set: EvaluationSet) -> None:
    model = MtebSearch(encoder, System("rrf", candidates=3))
    rows = [{"id": passage.id, "text": passage.text} for passage in small_set.corpus]
    where = {"task_metadata": local(small_set).metadata, "hf_split": "test", "hf_subset": "default"}
    model.index(rows, encode_kwargs={}, **where)
    given = {"q1": ["queue", "cache", "retry", "index", "proxy"]}
    asked = [{"id": "q1", "text": small_set.queries["q1"]}, {"id": "q2", "text": small_set.queries["q2"]}]
    found = model.search(asked, top_k=10, top_ranked=given, **where)
    assert sorted(found["q1"]) == sorted(given["q1"])
    assert next(iter(found["q1"])) == "retry"
    assert found["q2"] == {}


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("encoder", MockRetrievalDialogTask),
        ("encoder", MockInstructionReranking),
        ("encoder", MockSTSTask),
        ("cross-encoder", MockInstructionReranking),
        ("system", MockRetrievalTask),
        ("system", MockRetrievalDialogTask),
        ("system", MockInstructionReranking),
    ],
)
def test_mtebs_own_trial_tasks_run(
    encoder: BgeM3Encoder, reranker: CrossEncoderReranker, kind: str, task: Callable[[], mteb.AbsTask]
) -> None:
    models = {
        "encoder": MtebEncoder(encoder),
        "cross-encoder": MtebCrossEncoder(reranker),
        "system": MtebSearch(encoder, System("rrf")),
    }
    assert -1 <= scores(models[kind], task())["main_score"] <= 1


def test_queries_and_passages_are_encoded_as_such() -> None:
    folder = Path(str(files("hybrid_core") / "models" / "tiny_m3"))
    encoder = BgeM3Encoder(folder, device="cpu", query_instruction="find: ")
    model = MtebEncoder(encoder)
    texts = [text for batch in BATCH for text in batch["text"]]
    asked = model.encode(BATCH, prompt_type=PromptType.query)
    np.testing.assert_array_equal(asked, encoder.encode_queries(texts).dense)
    passages = encoder.encode_documents(texts).dense
    assert not np.array_equal(asked, passages)
    for kind in (PromptType.document, None):
        np.testing.assert_array_equal(model.encode(BATCH, prompt_type=kind), passages)


def test_similarities_are_inner_products(encoder: BgeM3Encoder) -> None:
    model = MtebEncoder(encoder)
    rows = model.encode(BATCH)
    np.testing.assert_allclose(model.similarity(rows, rows[:2]).numpy(), rows @ rows[:2].T, rtol=1e-6)
    turned = rows[[2, 0, 1]]
    np.testing.assert_allclose(model.similarity_pairwise(rows, turned).numpy(), (rows * turned).sum(axis=1), rtol=1e-5)


def test_pairs_are_scored_in_their_order_one_call_a_query(reranker: CrossEncoderReranker) -> None:
    queries = [{"text": ["stop a worker", "限流", "stop a worker"]}]
    passages = [{"text": ["SIGTERM ends it"]}, {"text": ["网关限流", "a cache"]}]
    found = MtebCrossEncoder(reranker).predict(queries, passages)
    expected = [
        reranker.score("stop a worker", ["SIGTERM ends it"])[0],
        reranker.score("限流", ["网关限流"])[0],
        reranker.score("stop a worker", ["a cache"])[0],
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "plain"}],
        [{"text": "plain", "instruction": "only recent ones"}],
        [{"text": ["first", "second"]}],
        [{"text": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}]}],
        [{"text": [{"role": "user", "content": "hello"}], "instruction": "be brief"}],
    ],
)
@pytest.mark.filterwarnings("ignore:Conversations are a list of strings")
def test_a_query_is_read_as_mteb_reads_it(rows: list[dict[str, Any]]) -> None:
    table = datasets.Dataset.from_list([{"id": "q", **row} for row in rows])
    assert [query_text(row) for row in table] == list(_retrieval_texts(table, PromptType.query))


def test_a_passage_is_read_as_mteb_reads_it(encoder: BgeM3Encoder, tmp_path: Path, small_set: EvaluationSet) -> None:
    rows = [{"id": "a", "title": "Title", "text": "text "}, {"id": "b", "title": "", "text": " alone"}]
    table = datasets.Dataset.from_list(rows)
    model = MtebSearch(encoder, System("rrf"), folder=tmp_path)
    where = {"task_metadata": local(small_set).metadata, "hf_split": "test", "hf_subset": "default"}
    model.index(table, encode_kwargs={}, **where)
    model.search([{"id": "q", "text": "alone"}], top_k=5, **where)
    with HybridIndex.open(tmp_path / "small" / "default-test", encoder=encoder) as index:
        found = [passage.text for passage in index.get(["a", "b"]) if passage is not None]
    assert found == list(_retrieval_texts(table, PromptType.document)) == ["Title text", "alone"]


def test_a_kept_index_is_used_again_and_follows_the_corpus(
    encoder: BgeM3Encoder, tmp_path: Path, small_set: EvaluationSet, systems: dict[str, System], ours: Evaluation
) -> None:
    model = MtebSearch(encoder, systems["rrf"], folder=tmp_path)
    where = {"task_metadata": local(small_set).metadata, "hf_split": "test", "hf_subset": "default"}
    model.index([{"id": "gone", "text": "how long is the wait before a failed job is tried again?"}], **where)
    same(scores(model, local(small_set)), ours, "rrf")
    same(scores(model, local(small_set)), ours, "rrf")


def test_equal_scores_fall_so_that_mteb_keeps_our_order() -> None:
    given = [Scored("b", 0.5), Scored("c", 0.5), Scored("a", 0.5), Scored("d", 0.1)]
    found = falling(given)
    assert list(found) == ["b", "c", "a", "d"]
    assert sorted(found, key=lambda id_: (-np.float32(found[id_]), id_)) == list(found)
    assert found == pytest.approx(dict(given), rel=1e-6)


def test_mteb_keeps_results_of_each_setting_apart(
    encoder: BgeM3Encoder, small_set: EvaluationSet, systems: dict[str, System], ours: Evaluation, tmp_path: Path
) -> None:
    cache = mteb.ResultCache(tmp_path)
    for _ in range(2):  # the second time from the cache
        for name in ("dense", "sparse", "few"):
            same(scores(MtebSearch(encoder, systems[name]), local(small_set), cache=cache), ours, name)
    assert len(list(tmp_path.rglob("small.json"))) == 3
    identities = {MtebEncoder(one).mteb_model_meta.revision for one in (encoder, BgeM3Encoder.tiny(max_length=64))}
    assert len(identities) == 2


def test_a_changed_set_is_another_revision_of_its_task(small_set: EvaluationSet) -> None:
    first = local(small_set).metadata.dataset["revision"]
    graded = EvaluationSet("small", small_set.corpus, small_set.queries, {**small_set.qrels, "q6": {"login": 2}})
    fewer = EvaluationSet("small", small_set.corpus[:-1], small_set.queries, {**small_set.qrels, "q3": {"limit": 1}})
    assert len({first, *(local(one).metadata.dataset["revision"] for one in (graded, fewer))}) == 3
    assert local(small_set).metadata.dataset["revision"] == first


def test_a_name_may_be_given(encoder: BgeM3Encoder, reranker: CrossEncoderReranker) -> None:
    assert MtebEncoder(encoder, name="me/mine").mteb_model_meta.name == "me/mine"
    assert MtebEncoder(encoder).mteb_model_meta.name == "bge-hybrid/tiny"
    assert MtebSearch(encoder, System("s", mode="sparse")).mteb_model_meta.model_type == ["sparse"]
    assert MtebCrossEncoder(reranker).mteb_model_meta.is_cross_encoder
    for name in ("mine", "/mine", "me/", "a/b/c", ""):
        with pytest.raises(InvalidInputError, match="organisation"):
            MtebEncoder(encoder, name=name)


def test_what_cannot_be_run_is_refused(
    encoder: BgeM3Encoder, small_set: EvaluationSet, systems: dict[str, System]
) -> None:
    with pytest.raises(InvalidInputError, match="is no encoder"):
        MtebEncoder("BAAI/bge-m3")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="is no reranker"):
        MtebCrossEncoder(encoder)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="is no system"):
        MtebSearch(encoder, "rrf")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="precision='int8'"):
        MtebEncoder(encoder).encode(BATCH, precision="int8")
    with pytest.raises(InvalidInputError, match="no 'text'"):
        MtebEncoder(encoder).encode([{"image": []}])
    with pytest.raises(InvalidInputError, match="call index first"):
        MtebSearch(encoder, systems["rrf"]).search([], top_k=1)
    with pytest.raises(InvalidInputError, match="k=7"):
        mteb_task(small_set, k=7)
    with pytest.raises(InvalidInputError, match="language 'English' must be"):
        mteb_task(small_set, languages=["English"])
