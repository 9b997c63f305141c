"""Questions that a language model asks: any framework's model fits, and answers of every shape are read or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from evaluation_files import CORPUS, TEXTS
from langchain_core.language_models import FakeListChatModel
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.llms import MockLLM

from hybrid_core import BgeM3Encoder, HybridIndex, InvalidInputError, Passage
from hybrid_core.evaluation import evaluate, named_systems, synthetic_llm_set
from hybrid_core.evaluation.synthetic_llm import PROMPT, questions_in

JOBS = Passage("jobs", "A failed job is tried again. Why is it tried again?\nIt waits.")


def passage_of(prompt: str) -> str:
    return prompt.partition("Passage:\n")[2].strip()


def says(answer: str) -> Callable[[str], str]:
    return lambda prompt: answer


def asker(prompt: str) -> str:
    """Answer as a good model would: a question of its own about each passage."""
    id_ = next(id_ for id_, text in TEXTS.items() if text == passage_of(prompt))
    return json.dumps([f"What is known of the {id_}?", f"Where is the {id_} explained?"])


def test_each_passage_is_asked_for_by_its_own_question() -> None:
    found = synthetic_llm_set(CORPUS, asker, count=5)
    assert found.corpus == tuple(CORPUS)
    assert len(found.queries) == 5
    for query, text in found.queries.items():
        [(id_, grade)] = found.qrels[query].items()
        assert (text, grade) == (f"What is known of the {id_}?", 1)
    assert list(found.queries) == [f"llm-{i}" for i in range(1, 6)]


def test_several_questions_a_passage_may_be_asked_for() -> None:
    found = synthetic_llm_set(CORPUS, asker, count=3, each=2)
    assert len(found.queries) == 6
    assert len({id_ for grades in found.qrels.values() for id_ in grades}) == 3


def test_a_seed_repeats_the_choice_whatever_the_order_of_the_corpus() -> None:
    first = synthetic_llm_set(CORPUS, asker, count=4, seed=1)
    again = synthetic_llm_set(CORPUS[::-1], asker, count=4, seed=1)
    other = synthetic_llm_set(CORPUS, asker, count=4, seed=2)
    assert (first.queries, first.qrels) == (again.queries, again.qrels)
    assert first.qrels != other.qrels


def test_results_say_that_it_is_synthetic(encoder: BgeM3Encoder) -> None:
    made = synthetic_llm_set(CORPUS, asker, count=5)
    with HybridIndex.open(None, encoder=encoder) as index:
        index.add(made.corpus)
        found = evaluate(index, made, named_systems(["dense", "rrf"], encoder=encoder))
    assert found.as_dict(queries=False)["synthetic"] is True
    assert list(found.mean_by_kind("rrf")) == ["llm"]


def test_a_chat_model_of_langchain_asks() -> None:
    llm = FakeListChatModel(responses=['```json\n["When are jobs repeated?"]\n```'])
    found = synthetic_llm_set([JOBS], lambda prompt: llm.invoke(prompt).text)
    assert found.queries == {"llm-1": "When are jobs repeated?"}


def test_an_llm_of_llama_index_asks() -> None:
    class Says(MockLLM):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            assert passage_of(prompt) == JOBS.text
            return CompletionResponse(text='["When are jobs repeated?"]')

    llm = Says()
    found = synthetic_llm_set([JOBS], lambda prompt: str(llm.complete(prompt)))
    assert found.queries == {"llm-1": "When are jobs repeated?"}


@pytest.mark.parametrize(
    ("answer", "questions"),
    [
        ('["One?", "Two?"]', ["One?", "Two?"]),
        ('Here you are [as asked]:\n```json\n["One?",\n "Two?"]\n```\nHave fun!', ["One?", "Two?"]),
        ('{"questions": ["One?"]}', ["One?"]),
        ('[{"question": "One?"}, {"question": "Two?"}, {"answer": "no"}]', ["One?", "Two?"]),
        ('["One?", 3, null, {"q": 1}, "Two?"]', ["One?", "Two?"]),
        ('<think>They want ["Wrong?"]</think>["One?"]', ["One?"]),
        ('<think>never ended ["Wrong?"]', []),
        ("Sure! Two questions:\n1. One?\n2) Two?\n", ["One?", "Two?"]),
        ("- **One?**\n* “Two?”\n• 'Three?'", ["One?", "Two?", "Three?"]),
        ("Q1: One?\nQ2. Two?", ["One?", "Two?"]),
        ("1、为什么任务会重试？\n（完）", ["为什么任务会重试？"]),
        ('["One?", "Two?', []),  # cut off
        ('["a  question\\n over lines"]', ["a question over lines"]),
        ("I cannot help with that.", []),
        ("[1, 2]", []),
        ("", []),
        ("[" * 5_000, []),
    ],
)
def test_an_answer_is_read_in_many_shapes(answer: str, questions: list[str]) -> None:
    assert questions_in(answer) == questions


@pytest.mark.parametrize(
    "answer",
    ["", "No.", "[]", '[""]', '["???"]', json.dumps(["long " * 80]), '["Why is it tried again?"]', '["failed  job"]'],
)
def test_a_passage_without_a_good_question_gives_way_to_the_next(answer: str) -> None:
    other = Passage("other", "Queues hold tasks.")

    def ask(prompt: str) -> str:
        return answer if passage_of(prompt) == JOBS.text else '["What holds tasks?"]'

    found = synthetic_llm_set([JOBS, other], ask, count=1)
    assert (found.queries, found.qrels) == ({"llm-1": "What holds tasks?"}, {"llm-1": {"other": 1}})


def test_a_question_is_asked_once() -> None:
    found = synthetic_llm_set(CORPUS, says('["What is this?", "what is THIS?"]'), count=3, each=2)
    assert list(found.queries.values()) == ["What is this?"]


def test_a_model_that_never_answers_well_is_not_asked_for_ever() -> None:
    calls = []

    def ask(prompt: str) -> str:
        calls.append(prompt)
        return "I am only a mock."

    with pytest.raises(InvalidInputError, match=r"6 passages gave no question; the first answer was 'I am only a mock"):
        synthetic_llm_set(CORPUS, ask, count=3)
    assert len(calls) == 6
    with pytest.raises(InvalidInputError, match="gave no question"):  # LlamaIndex's mock repeats the prompt
        synthetic_llm_set([Passage("a", "One sentence.")], lambda prompt: str(MockLLM().complete(prompt)))


def test_an_answer_that_is_no_text_names_what_to_return() -> None:
    llm = FakeListChatModel(responses=["[]"])
    with pytest.raises(InvalidInputError, match=re.escape("llm.invoke(prompt).text")):
        synthetic_llm_set([JOBS], lambda prompt: llm.invoke(prompt))  # type: ignore[arg-type, return-value]


def test_what_the_model_raises_comes_through() -> None:
    def ask(prompt: str) -> str:
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError, match="no answer"):
        synthetic_llm_set([JOBS], ask)


def test_the_prompt_holds_the_passage_and_may_be_ones_own() -> None:
    prompts = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return '["When are jobs repeated?"]'

    curly = Passage("curly", 'Write {"count": 3} and {passage} as they are.')
    synthetic_llm_set([curly], ask, each=2)
    synthetic_llm_set([curly], ask, prompt="Stelle {count} Frage: {passage} {}")
    assert prompts[0] == PROMPT.format(count=2, passage=curly.text)
    assert prompts[1] == f"Stelle 1 Frage: {curly.text} {{}}"
    with pytest.raises(InvalidInputError, match=re.escape("lacks {passage}")):
        synthetic_llm_set([JOBS], ask, prompt="Ask me something.")


def test_blank_passages_are_not_asked_about_and_arguments_are_checked() -> None:
    found = synthetic_llm_set([Passage("blank", " \n"), JOBS], says('["When are jobs repeated?"]'))
    assert found.qrels == {"llm-1": {"jobs": 1}}
    with pytest.raises(InvalidInputError, match="count=0"):
        synthetic_llm_set(CORPUS, asker, count=0)
    with pytest.raises(InvalidInputError, match="each=0"):
        synthetic_llm_set(CORPUS, asker, each=0)
    with pytest.raises(InvalidInputError, match="same id"):
        synthetic_llm_set([JOBS, JOBS], asker)
    with pytest.raises(InvalidInputError, match="0 passages gave no question"):
        synthetic_llm_set([], asker)
