"""Questions made from passages: what is asked cannot be read where it should be found, and a seed repeats them."""

from __future__ import annotations

import pytest
from evaluation_files import CORPUS

from hybrid_core import BgeM3Encoder, HybridIndex, InvalidInputError, Passage
from hybrid_core.evaluation import evaluate, named_systems, synthetic_set

SECTIONS = [
    Passage(
        f"s{i}",
        f"How to {verb} a {noun}\nFirst open the {noun} page in the console. Then choose to {verb} it from the menu and "
        f"wait for {i} seconds until the list shows it. The {noun} is written to the audit log afterwards.",
    )
    for i, (verb, noun) in enumerate(
        [("create", "worker"), ("delete", "queue"), ("rotate", "secret"), ("restore", "backup"), ("merge", "branch")]
    )
]
CHINESE = [
    Passage("z1", "限流插件按客户端地址统计请求次数。超过上限的请求会被网关直接拒绝并写入日志。管理员可以调整上限。"),
    Passage("z2", "定时任务在每天凌晨执行一次。上一次运行还没有结束时调度器会跳过这一次。日志写明跳过的原因。"),
    Passage("z3", "管理员可以在控制台查看日志。日志保存三十天以后会被自动删除并释放空间。请求次数也在那里。"),
]
# chunks of one section, each headed by its title, as `bge-hybrid index` splits files
CHUNKS = [
    Passage("guide#1", "Guide > Retries\n\nA failed job is tried again.", {"title": "Guide > Retries"}),
    Passage("guide#2", "Guide > Retries\n\nThe wait doubles every time.", {"title": "Guide > Retries"}),
    Passage("guide#3", "Guide > Queues\n\nA worker pulls the oldest job.", {"title": "Guide > Queues"}),
]


def flat(text: str) -> str:
    return " ".join(text.split()).casefold()


def test_what_is_asked_is_taken_out_of_what_should_be_found() -> None:
    found = synthetic_set([*SECTIONS, *CHINESE, *CHUNKS], count=10, kinds=["heading", "sentence"])
    texts = {passage.id: passage.text for passage in found.corpus}
    kinds = set(found.kinds.values())
    assert kinds == {"heading", "sentence"}
    for query, question in found.queries.items():
        for id_ in found.qrels[query]:
            assert flat(question) not in flat(texts[id_]), query
            assert texts[id_].strip()


def test_headings_ask_for_all_that_stands_below_them() -> None:
    found = synthetic_set(CHUNKS, kinds=["heading"])
    asked = {question: set(found.qrels[query]) for query, question in found.queries.items()}
    assert asked == {"Guide Retries": {"guide#1", "guide#2"}, "Guide Queues": {"guide#3"}}
    assert [passage.text for passage in found.corpus] == [
        "A failed job is tried again.", "The wait doubles every time.", "A worker pulls the oldest job.",
    ]  # fmt: skip
    assert [passage.metadata for passage in found.corpus] == [passage.metadata for passage in CHUNKS]


def test_a_title_before_the_text_as_in_beir_is_a_heading() -> None:
    found = synthetic_set([Passage("a", "Jobs A failed job is tried again.", {"title": "Jobs"})], kinds=["heading"])
    assert (list(found.queries.values()), found.corpus[0].text) == (["Jobs"], "A failed job is tried again.")


@pytest.mark.parametrize(
    "text",
    [
        "A first line that is a sentence.\nAnd a second one.",
        "Heading alone",
        "Heading alone\n\n  ",
        "----\nNo letters above.",
        f"{'long ' * 30}\nAnd a text.",
        "Retries\nRetries are what this is about.",  # it can still be read below
    ],
)
def test_what_is_no_heading(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no question of kind heading"):
        synthetic_set([Passage("a", text)], kinds=["heading"])


def test_a_sentence_comes_from_the_middle_of_one_passage() -> None:
    found = synthetic_set(CHINESE, kinds=["sentence"])
    assert sorted(found.queries.values()) == sorted(passage.text.split("。")[1] + "。" for passage in CHINESE)
    by_id = {passage.id: passage.text for passage in found.corpus}
    assert by_id["z2"] == "定时任务在每天凌晨执行一次。 日志写明跳过的原因。"


def test_a_sentence_that_overlapping_chunks_share_is_not_asked() -> None:
    shared = "The wait between two attempts doubles every time."
    chunks = [
        Passage("a", f"A failed job is tried again. {shared} The first wait is one minute long."),
        Passage("b", f"Jobs may fail for many reasons. {shared} An operator can cancel it at any time."),
    ]
    with pytest.raises(InvalidInputError, match="no question of kind sentence"):
        synthetic_set(chunks, kinds=["sentence"])


def test_keywords_are_the_rarest_words_that_another_passage_has_too() -> None:
    corpus = [
        Passage("a", "common alpha beta gamma delta unique"),
        Passage("b", "common alpha beta common"),
        Passage("c", "common gamma delta common alpha"),
        Passage("d", "common words here"),
    ]
    found = synthetic_set(corpus, kinds=["keywords"])
    # alpha is in 3 of 4, beta, gamma and delta in 2, "unique" in one and "common" in all
    by_document = {next(iter(found.qrels[query])): question for query, question in found.queries.items()}
    assert by_document == {"a": "alpha beta gamma delta"}
    assert found.corpus == tuple(corpus)


def test_no_passage_is_asked_for_twice_and_every_kind_is_marked() -> None:
    found = synthetic_set([*SECTIONS, *CHINESE, *CORPUS], count=2)
    asked = [id_ for grades in found.qrels.values() for id_ in grades]
    assert len(asked) == len(set(asked))
    assert found.kinds.keys() == found.queries.keys()
    assert all(query.startswith(kind) for query, kind in found.kinds.items())
    assert set(found.kinds.values()) == {"heading", "sentence", "keywords"}


def test_a_seed_repeats_the_set_whatever_the_order_of_the_corpus() -> None:
    corpus = [*SECTIONS, *CHINESE, *CORPUS]
    first = synthetic_set(corpus, count=2, seed=1)
    again = synthetic_set(corpus[::-1], count=2, seed=1)
    other = synthetic_set(corpus, count=2, seed=2)
    assert (first.queries, first.qrels, first.kinds) == (again.queries, again.qrels, again.kinds)
    assert first.corpus == again.corpus[::-1]
    assert first.qrels != other.qrels


def test_a_set_can_be_evaluated(encoder: BgeM3Encoder) -> None:
    made = synthetic_set([*SECTIONS, *CHINESE, *CORPUS], count=3)
    with HybridIndex.open(None, encoder=encoder) as index:
        index.add(made.corpus)
        found = evaluate(index, made, named_systems(["dense", "rrf"], encoder=encoder))
    by_kind = found.mean_by_kind("rrf")
    assert list(by_kind) == ["heading", "sentence", "keywords"]
    weights = [list(made.kinds.values()).count(kind) / len(made.kinds) for kind in by_kind]
    expected = sum(w * value for w, value in zip(weights, by_kind.values(), strict=True))
    assert found.system("rrf").means["nDCG@10"] == pytest.approx(expected)
    assert found.as_dict(queries=False)["synthetic"] is True


def test_arguments_that_make_no_set() -> None:
    with pytest.raises(InvalidInputError, match="count=0"):
        synthetic_set(SECTIONS, count=0)
    with pytest.raises(InvalidInputError, match="title"):
        synthetic_set(SECTIONS, kinds=["title"])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="must be some of"):
        synthetic_set(SECTIONS, kinds=[])
    with pytest.raises(InvalidInputError, match="1 passages have the id of another"):
        synthetic_set([SECTIONS[0], SECTIONS[0]])
    with pytest.raises(InvalidInputError, match="0 passages give no question"):
        synthetic_set([])
