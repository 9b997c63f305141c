"""Texts to terms: Unicode words, stemmed; Chinese, Japanese and Korean as pairs of characters."""

from __future__ import annotations

import threading
import unicodedata
from typing import Any

from ...errors import InvalidInputError, require

_LONGEST = 255  # characters of a term, as in Lucene's StandardTokenizer
_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}ー"
_FIRST = rf"[[\p{{L}}\p{{N}}]--[{_CJK}]]"
_NEXT = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_CJK}]]"
_NUMBER = r"[.,](?<=\p{N}.)(?=\p{N})"  # "3.14", "1,000" and "2.0.1" are terms
_APOSTROPHE = r"'(?<=\p{L}.)(?=\p{L})"  # "don't"; the English stemmer takes "'s" off
_ASIA = "\u1100"  # Hangul begins here, the other scripts of pairs further on
# apostrophes in their other forms; what stands within words without being seen
_PLAIN = dict.fromkeys(map(ord, "’ʼ‘"), "'") | dict.fromkeys((0xAD, 0x200C, 0x200D, 0x2060, 0xFEFF))


class Words:
    """Splits texts into terms.

    A text is normalised (NFKC, case folding), so that full-width and half-width forms and ligatures are one. A word is
    a run of letters, marks and digits; "_" and all other characters separate words, but for "." and "," between digits,
    and in English for apostrophes between letters. A word is cut to its first 255 characters and stemmed by the
    language's Snowball stemmer. A run of Han, Hiragana, Katakana and Hangul becomes its overlapping pairs of
    characters, a run of one character that character, as Lucene's CJKBigramFilter makes them. Languages may be mixed in
    a text: a stemmer changes words of other scripts little or not at all. Thai, Lao, Khmer and Burmese, which are
    written without spaces, are not taken apart.

    No stop words are left out: they weigh next to nothing by their inverse document frequency, and some questions
    consist of them.

    Args:
        language: a Snowball stemmer, such as "english"; None leaves words as they are.

    Raises:
        InvalidInputError: there is no such stemmer.
        MissingDependencyError: PyStemmer or regex is not installed.
    """

    def __init__(self, language: str | None) -> None:
        regex = require("regex", "bm25")
        join = f"{_NUMBER}|{_APOSTROPHE}" if language == "english" else _NUMBER
        self._pattern: Any = regex.compile(rf"(?V1){_FIRST}{_NEXT}*+(?:(?:{join}){_NEXT}++)*+|[{_CJK}]+")
        self._cjk: Any = regex.compile(rf"[{_CJK}]")
        self._turkish = language == "turkish"
        self._stemmer: Any = None
        self.version = "1"  # of the rules above; another one makes other terms
        if language is not None:
            snowball = require("Stemmer", "bm25")
            if language not in snowball.algorithms():
                raise InvalidInputError(
                    f"language={language!r} must be one of {', '.join(snowball.algorithms())}, or None for no "
                    "stemming, which suits Chinese, Japanese and Korean as well as any"
                )
            self._stemmer = snowball.Stemmer(language)
            # its rules change with the first two numbers
            self.version += ", Snowball " + ".".join(snowball.version().split(".")[:2])
        self._lock = threading.Lock()

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text, in order, repeats included."""
        text = unicodedata.normalize("NFKC", text)
        if self._turkish:
            text = text.replace("I", "ı")
        # folding may leave decomposed characters, and of "İ" a dot that only Turkish writes
        text = unicodedata.normalize("NFKC", text.casefold()).replace("i\u0307", "i").translate(_PLAIN)
        words: list[str] = []
        pairs: list[str] = []
        for found in self._pattern.findall(text):
            if found < _ASIA or not self._cjk.match(found):
                words.append(found[:_LONGEST])
            elif len(found) == 1:
                pairs.append(found)
            else:
                pairs += [found[i : i + 2] for i in range(len(found) - 1)]
        if self._stemmer is not None:
            with self._lock:  # a stemmer is not for two threads at once
                words = self._stemmer.stemWords(words)
        return words + pairs
