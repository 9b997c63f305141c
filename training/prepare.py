"""Turn Markdown pages into sections, split by page, and aligned pairs.

The split is decided by a hash of a page's name without its language, so that neither language of a held-out page is
ever trained on, and the same page falls on the same side on every machine.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_LEAST_CHARACTERS = {"zh": 40}  # a Chinese character says about as much as two English letters


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text under it, up to the next heading.

    Attributes:
        page: the page's name, the same in every language.
        language: "en", "zh", or "text" for a corpus of one language.
        number: the place of the section's heading among the page's headings.
        level: 1 for "#".
        title: the page's first heading.
        heading: cleaned of Markdown.
        parent: the heading above this one in the outline; empty at the top.
        body: the prose, heading and code not included.
    """

    page: str
    language: str
    number: int
    level: int
    title: str
    heading: str
    parent: str
    body: str

    @property
    def query(self) -> str:
        """The heading behind the one above it: "Overview" alone is a question that half of all pages answer."""
        same = not self.parent or self.parent == self.heading
        return self.heading if same else f"{self.parent} {self.heading}"


def read_pages(data: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each file of a .tar.gz or a folder, the archive's own top folder taken off."""
    if data.is_dir():
        for path in sorted(data.rglob("*")):
            if path.is_file():
                yield path.relative_to(data).as_posix(), _decode(path.name, path.read_bytes())
        return
    with tarfile.open(data) as archive:
        for member in archive:  # in the archive's order: a compressed file cannot be read at random
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name.partition("/")[2], _decode(member.name, file.read())


def _decode(name: str, content: bytes) -> str:
    return (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8", errors="replace")


def clean_heading(text: str) -> str:
    """Take Markdown off a heading: links, code marks, emphasis, anchors, tags."""
    text = re.sub(r"\{#.*?\}|<[^>]*>", " ", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+", " ", text.replace("`", "").replace("**", "")).strip()


def prose(text: str) -> str:
    """Take code blocks, link targets, tags and table rules out: what is left is what a heading announces."""
    text = re.sub(r"(?ms)^\s*(```|~~~).*?^\s*\1\s*$", " ", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[ \t]+", " ", re.sub(r"[`*|#]+|<[^>]*>|-{3,}", " ", text)).strip()


def split_page(page: str, language: str, text: str) -> list[Section]:
    """Split a page at its headings, code fences respected."""
    found: list[tuple[int, str, list[str]]] = [(0, "", [])]
    fence = ""
    for line in text.splitlines():
        mark = line.strip()[:3]
        if mark in ("```", "~~~") and (not fence or mark == fence):
            fence = "" if fence else mark
        match = None if fence else _HEADING.match(line)
        if match:
            found.append((len(match[1]), clean_heading(match[2]), []))
        else:
            found[-1][2].append(line)
    title = next((heading for _, heading, _ in found if heading), "")
    sections, above = [], [""] * 8
    for number, (level, heading, lines) in enumerate(found):
        above[level:] = [heading] * (8 - level)
        parent = above[level - 1] if level else ""
        sections.append(Section(page, language, number, level, title, heading, parent, prose("\n".join(lines))))
    return sections


def is_held_out(page: str) -> bool:
    """One page in ten, by a hash of its name."""
    return int(hashlib.sha1(page.encode(), usedforsecurity=False).hexdigest(), 16) % 10 == 0


def is_usable(section: Section) -> bool:
    """A section needs a heading to ask with and enough text to be found by."""
    return bool(section.heading) and len(section.body) >= _LEAST_CHARACTERS.get(section.language, 80)


def align(sections: list[Section]) -> list[tuple[int, int]]:
    """Return index pairs (English, Chinese) of sections on pages whose outlines are the same in both languages."""
    pages: dict[str, dict[str, list[int]]] = {}
    for i, section in enumerate(sections):
        pages.setdefault(section.page, {}).setdefault(section.language, []).append(i)
    pairs = []
    for sides in pages.values():
        left, right = (sides.get(language, []) for language in LANGUAGES)
        if left and [sections[i].level for i in left] == [sections[i].level for i in right]:
            pairs += list(zip(left, right, strict=True))
    return pairs


def main() -> None:
    """Write sections.jsonl, aligned.jsonl and blocks.jsonl into the work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a .tar.gz or a folder of Markdown pages")
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    files = sorted(read_pages(arguments.data))
    parallel = any(name.startswith(f"{LANGUAGES[0]}/") for name, _ in files)
    every: list[Section] = []
    blocks: list[dict[str, Any]] = []
    for name, text in files:
        first, _, rest = name.partition("/")
        if name.endswith("pairs.jsonl.gz"):
            blocks = [json.loads(line) for line in text.splitlines()]
        elif not name.endswith((".md", ".mdx")) or (parallel and first not in LANGUAGES):
            continue
        else:
            every += split_page(rest, first, text) if parallel else split_page(name, "text", text)
    pairs = [(i, j) for i, j in align(every) if is_usable(every[i]) and is_usable(every[j])]
    place = {i: k for k, i in enumerate(i for i, section in enumerate(every) if is_usable(section))}
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(every[i]), "query": every[i].query, "held_out": is_held_out(every[i].page)} for i in place]
    leaks = _mark_leaks(rows, blocks)
    _write(arguments.work / "sections.jsonl", rows)
    _write(arguments.work / "aligned.jsonl", [{"en": place[i], "zh": place[j]} for i, j in pairs])
    _write(arguments.work / "blocks.jsonl", blocks)
    for language in sorted({row["language"] for row in rows}):
        mine = [row for row in rows if row["language"] == language]
        held = sum(row["held_out"] for row in mine)
        print(f"{language}: {len(mine)} sections, {held} of them held out")
    print(f"{len(pairs)} aligned section pairs, {sum(is_held_out(every[i].page) for i, _ in pairs)} held out")
    print(f"{len(blocks)} aligned blocks; {leaks} training sections left out because a held-out page has the same text")


def _mark_leaks(rows: list[dict[str, Any]], blocks: list[dict[str, Any]]) -> int:
    """Keep text of held-out pages that other pages repeat (two editions of one manual) out of training.

    Sets "train" on every row and block and returns how many sections this cost.
    """
    held = {row["body"] for row in rows if row["held_out"]}
    for row in rows:
        row["train"] = not row["held_out"] and row["body"] not in held
    for block in blocks:
        block["held_out"] = is_held_out(block["page"])
    shown = {block[side] for block in blocks if block["held_out"] for side in LANGUAGES if len(block[side]) > 40}
    for block in blocks:
        block["train"] = not block["held_out"] and not shown & {block[side] for side in LANGUAGES}
    return sum(not row["train"] and not row["held_out"] for row in rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
