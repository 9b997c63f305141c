"""Questions that a language model asks of passages, for a corpus that has none.

The model is a function from a prompt to an answer, so any framework's fits:

    lambda prompt: llm.invoke(prompt).text          # LangChain's chat models
    lambda prompt: str(llm.complete(prompt))        # LlamaIndex's LLMs

They read more like people's questions than those of `synthetic_set`, but only the passage that was shown is judged:
where others answer as well, figures come out too low, for every system.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from ..checks import check_count, check_text
from ..errors import InvalidInputError
from ..types import Passage
from .datasets import EvaluationSet

Ask: TypeAlias = Callable[[str], str]

PROMPT = """\
Write {count} question(s) that somebody might type into a search engine and that the passage below answers.
Write in the language of the passage. Use words of your own, not those of the passage. Each question must make sense to
somebody who has not seen the passage, so do not mention it.
Answer with a JSON list of strings and nothing else.

Passage:
{passage}
"""

_LONGEST = 300  # characters of a question; what is longer is an essay
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_MARK = re.compile(r"^(?:[-*•]|\(?\d+\s*[.):、]|Q\d*\s*[.:])\s*", re.IGNORECASE)
_QUOTES = "\"'“”‘’「」`*, "


def synthetic_llm_set(
    corpus: Sequence[Passage],
    ask: Ask,
    *,
    count: int = 100,
    each: int = 1,
    prompt: str = PROMPT,
    seed: int = 0,
    name: str = "synthetic-llm",
) -> EvaluationSet:
    """Make an evaluation set of a corpus by asking a language model for questions.

    An answer is read as a JSON list of strings, wherever in the answer it stands; where there is none, every line that
    ends with a question mark counts. A question that is blank, longer than 300 characters, quoted from its passage or
    asked before is left out. A passage without a good question gives way to the next, until `count` passages have
    some, or twice as many calls were made.

    Args:
        corpus: passages with distinct ids.
        ask: gives a language model's answer to a prompt. What it raises ends the call.
        count: how many passages are asked about, at most.
        each: how many questions a passage, at most.
        prompt: what the model is asked; {passage} and {count} are replaced.
        seed: which passages are chosen.
        name: of the set.

    Returns:
        A set over the same corpus, each question of the kind "llm", which marks results and reports as synthetic.

    Raises:
        InvalidInputError: no answer had a good question (the first is quoted), an answer is no string, or an argument
            is out of range.
    """
    check_count(count, "count", least=1)
    check_count(each, "each", least=1)
    if "{passage}" not in check_text(prompt, "prompt"):
        raise InvalidInputError("the prompt lacks {passage}, where the passage goes")
    passages = {passage.id: passage for passage in corpus if passage.text.strip()}
    if len({passage.id for passage in corpus}) != len(corpus):
        raise InvalidInputError("two passages have the same id; ids must be distinct")
    order = sorted(passages)
    random.Random(seed).shuffle(order)  # noqa: S311 - a choice that can be repeated, no secret
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    asked: set[str] = set()
    first = ""
    used = 0
    for id_ in order[: 2 * count]:
        if used == count:
            break
        text = passages[id_].text
        answer = ask(prompt.replace("{count}", str(each)).replace("{passage}", text))
        if not isinstance(answer, str):
            raise InvalidInputError(
                f"the language model's answer is {answer!r:.80} ({type(answer).__name__}); ask must return a str, such "
                "as llm.invoke(prompt).text or str(llm.complete(prompt))"
            )
        first = first or answer
        good = 0
        for question in questions_in(answer):
            if good < each and _is_good(question, text) and question.casefold() not in asked:
                good += 1
                asked.add(question.casefold())
                query = f"llm-{len(queries) + 1}"
                queries[query], qrels[query] = question, {id_: 1}
        used += good > 0
    if not queries:
        raise InvalidInputError(
            f"{min(len(order), 2 * count)} passages gave no question; the first answer was {first!r:.200}. A JSON list "
            "of strings is needed"
        )
    return EvaluationSet(name, tuple(corpus), queries, qrels, kinds=dict.fromkeys(queries, "llm"))


def questions_in(answer: str) -> list[str]:
    """Return the questions of a language model's answer: its first JSON list, or the lines that end as questions do.

    What stands in <think> is passed over. An item of the list may be a string or an object with a "question".
    """
    text = _THOUGHT.sub("", answer)
    items = next(_lists(text), None)
    if items is not None:
        found = [item.get("question") if isinstance(item, dict) else item for item in items]
        return [" ".join(item.split()) for item in found if isinstance(item, str)]
    whole = (line.strip() for line in text.splitlines())
    lines = (_MARK.sub("", line.strip(_QUOTES)).strip(_QUOTES) for line in whole if not line.startswith(("[", "{")))
    return [" ".join(line.split()) for line in lines if line.endswith(("?", "？"))]


def _lists(text: str) -> Iterator[list[object]]:
    """Yield the JSON lists of strings or objects in a text, in their order."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\[", text):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except ValueError:
            continue
        except RecursionError:  # thousands of brackets, and each would be as deep
            return
        if any(isinstance(item, str) or (isinstance(item, dict) and "question" in item) for item in found):
            yield found


def _is_good(question: str, passage: str) -> bool:
    quoted = question.casefold() in " ".join(passage.split()).casefold()
    return any(c.isalpha() for c in question) and len(question) <= _LONGEST and not quoted
