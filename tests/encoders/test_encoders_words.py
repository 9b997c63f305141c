"""How texts become terms."""

from __future__ import annotations

import sys

import pytest

from hybrid_core import InvalidInputError, MissingDependencyError
from hybrid_core.encoders.sparse_sides.words import Words


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        (" \n\t…!? -- 🙂 _", []),
        ("Max_Length, snake-case/path.Name", ["max", "length", "snake", "case", "path", "name"]),
        ("3.14 1,000.5 v2.0.1 end.", ["3.14", "1,000.5", "v2.0.1", "end"]),
        ("ＦＵＬＬ ﬁne Straße İo ΣΊΣΥΦΟΣ", ["full", "fine", "strasse", "io", "σίσυφοσ"]),
        ("a\u0301le co\u00adop हिन्दी", ["ále", "coop", "हिन्दी"]),
        ("it's John’s", ["it", "s", "john", "s"]),
        ("网关限流", ["网关", "关限", "限流"]),
        ("网 关", ["网", "关"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("한국어 ｶﾞﾗｽ", ["한국", "국어", "ガラ", "ラス"]),
        ("Worker池子3个 v2版", ["worker", "3", "v2", "池子", "个", "版"]),
    ],
)
def test_words_without_a_stemmer(text: str, terms: list[str]) -> None:
    assert Words(None).terms(text) == terms


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("english", "Workers don't pull John’s queued tasks", ["worker", "don't", "pull", "john", "queu", "task"]),
        ("english", "the workers 网关限流 retried", ["the", "worker", "retri", "网关", "关限", "限流"]),
        ("german", "Häuser und Straßen", ["haus", "und", "strass"]),
        ("french", "L'avion d’aujourd'hui", ["l", "avion", "d", "aujourd", "hui"]),
        ("russian", "Книги", ["книг"]),
        ("turkish", "KIZLAR İstanbul'da", ["kız", "istanbul", "da"]),
    ],
)
def test_words_are_stemmed_in_their_language_and_others_may_be_among_them(
    language: str, text: str, terms: list[str]
) -> None:
    assert Words(language).terms(text) == terms


def test_a_word_is_cut_and_a_text_of_megabytes_is_read() -> None:
    assert Words("english").terms("x" * 1_000) == ["x" * 255]
    assert len(Words("english").terms("3.1" * 300_000 + " 网" * 300_000)) == 300_001


@pytest.mark.parametrize("language", ["chinese", "English", "", "en", 7])
def test_a_language_without_a_stemmer_is_refused_and_those_there_are_named(language: str) -> None:
    with pytest.raises(InvalidInputError, match=r"language=.* must be one of arabic.*english.*yiddish, or None"):
        Words(language)


@pytest.mark.parametrize("module", ["regex", "Stemmer"])
def test_without_its_libraries_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r'pip install "bge-hybrid\[bm25\]"'):
        Words("english")
