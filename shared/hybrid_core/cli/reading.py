"""Files to passages: text, Markdown, HTML, PDF and source code, split to a number of tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, InvalidTextError, require
from ..types import Passage

_MARKDOWN = {".md", ".mdx", ".markdown"}
_HTML = {".html", ".htm", ".xhtml"}
_PLAIN = {".txt", ".text", ".log", ".org", ".adoc", ".csv", ".tsv", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg"}
_PLAIN |= {".sh", ".sql", ".css"}
_CODE = {
    ".c": "c", ".h": "c", ".cc": "cpp", ".cpp": "cpp", ".hpp": "cpp", ".cs": "csharp", ".ex": "elixir",
    ".exs": "elixir", ".go": "go", ".hs": "haskell", ".java": "java", ".js": "js", ".jsx": "js", ".kt": "kotlin",
    ".lua": "lua", ".php": "php", ".pl": "perl", ".proto": "proto", ".ps1": "powershell", ".py": "python", ".r": "r",
    ".rb": "ruby", ".rs": "rust", ".rst": "rst", ".scala": "scala", ".sol": "sol", ".swift": "swift",
    ".tex": "latex", ".ts": "ts", ".tsx": "ts",
}  # fmt: skip
KNOWN = _MARKDOWN | _HTML | _PLAIN | set(_CODE) | {".pdf"}
_SEPARATORS = ["\n\n", "\n", "。", "！", "？", ". ", "! ", "? ", "；", "; ", "，", ", ", " ", ""]
_HEADINGS = [("#" * level, f"h{level}") for level in range(1, 5)]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a file with what is known of it."""

    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Splitter:
    """Splits files into passages.

    Attributes:
        token_count: counts a text's tokens, best by the encoder's own tokenizer.
        chunk_tokens: the most tokens of a passage.
    """

    token_count: Callable[[str], int]
    chunk_tokens: int

    def passages(self, path: Path) -> list[Passage]:
        """Read one file, given by its absolute path; a passage's id is that path and a number from 1.

        Raises:
            InvalidTextError: the file holds no text that could be read.
        """
        source = path.as_posix()
        parts = [part for section in _sections(path) for part in self._split(section, path.suffix.lower())]
        return [
            Passage(f"{source}#{i}", part.text, {"source": source, **part.metadata})
            for i, part in enumerate(parts, start=1)
        ]

    def _split(self, section: Section, suffix: str) -> Iterator[Section]:
        """Yield parts of a section, each headed by the section's title: a part alone would not say what it is about."""
        splitters = require("langchain_text_splitters", "files")
        heading = f"{section.metadata['title']}\n\n" if "title" in section.metadata else ""
        room = max(self.chunk_tokens - self.token_count(heading), self.chunk_tokens // 2)
        settings = {"chunk_size": room, "chunk_overlap": room // 8, "length_function": self.token_count}
        if suffix in _CODE:
            recursive = splitters.RecursiveCharacterTextSplitter.from_language(_CODE[suffix], **settings)
        else:
            recursive = splitters.RecursiveCharacterTextSplitter(
                separators=_SEPARATORS, keep_separator="end", **settings
            )
        for text in recursive.split_text(section.text):
            if text.strip():
                yield Section(heading + text.strip("\n"), section.metadata)


def find_files(paths: Sequence[Path], but: Path) -> list[Path]:
    """Return the absolute paths of files of a kind we read, folders searched to the bottom, in order of name.

    Hidden files and folders are passed over, and so is what lies in the folder `but`.

    Raises:
        InvalidInputError: a path does not exist, or is a file of another kind.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(os.path.realpath(path)):
                visible = sorted(name for name in folders if not name.startswith("."))
                folders[:] = [name for name in visible if os.path.join(folder, name) != os.path.realpath(but)]
                for name in sorted(names):
                    if not name.startswith(".") and Path(name).suffix.lower() in KNOWN:
                        found[absolute(Path(folder, name))] = None
        elif not path.exists():
            raise InvalidInputError(f"{path} does not exist")
        elif path.suffix.lower() not in KNOWN:
            raise InvalidInputError(f"{path} is of a kind that is not read; known are {' '.join(sorted(KNOWN))}")
        else:
            found[absolute(path)] = None
    return list(found)


def absolute(path: Path) -> Path:
    """Return the absolute path with links followed; a circle of links is left as it is, to fail when it is read."""
    return Path(os.path.realpath(path))


def _sections(path: Path) -> list[Section]:
    suffix = path.suffix.lower()
    if suffix == ".pdf":
        return _pdf(path)
    text = _decode(path)
    if suffix in _MARKDOWN:
        return _markdown(text)
    if suffix in _HTML:
        return _html(text)
    return [Section(text)]


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        guess = require("charset_normalizer", "files").from_bytes(data).best()
        if guess is None:
            raise InvalidTextError("it is neither UTF-8 nor any other text encoding") from None
        return str(guess)


def _markdown(text: str) -> list[Section]:
    """One section a heading; its title is the path of headings that lead to it."""
    splitters = require("langchain_text_splitters", "files")
    parts = splitters.MarkdownHeaderTextSplitter(_HEADINGS).split_text(text)
    sections = []
    for part in parts:
        title = " > ".join(part.metadata[name] for _, name in _HEADINGS if name in part.metadata)
        sections.append(Section(part.page_content, {"title": title} if title else {}))
    return sections


def _html(text: str) -> list[Section]:
    soup = require("bs4", "files").BeautifulSoup(text, "html.parser")
    title = soup.title.get_text(strip=True) if soup.title else ""
    for tag in soup(["script", "style", "noscript", "template", "head"]):
        tag.decompose()
    return [Section(soup.get_text("\n", strip=True), {"title": title} if title else {})]


def _pdf(path: Path) -> list[Section]:
    pypdf = require("pypdf", "files")
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except Exception as error:  # pypdf raises many kinds for a file that is damaged or encrypted
        raise InvalidTextError(f"it is no PDF that can be read: {error}") from error
    if not any(page.strip() for page in pages):
        raise InvalidTextError("its pages hold no text (a scan needs OCR first)")
    return [Section(page, {"page": number}) for number, page in enumerate(pages, start=1)]
