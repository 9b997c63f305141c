"""`bge-hybrid index`: which files are read, as what, and what happens to those that cannot be."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_files import CODE, GBK, NOTES, PAGES, pdf

from hybrid_core import BgeM3Encoder, HybridIndex, Passage

Command = Callable[..., Any]
Stored = Callable[[], dict[str, Passage]]


def test_every_kind_of_document_is_read_and_hidden_ones_are_passed_over(
    bge_hybrid: Command, documents: Path, folder: Path, stored: Stored
) -> None:
    done = bge_hybrid("index", documents, "--into", folder, "--model", "tiny")
    assert done.code == 0, done.err
    assert done.text == f"8 files, 11 passages: 11 new or changed, 0 unchanged, 0 removed. {folder} holds 11."
    passages = stored()
    names = {
        "guide.md": 3,
        "legend.html": 1,
        "manual.md": 2,
        "notes.txt": 1,
        "report.pdf": 2,
        "schedule.txt": 1,
        "sensors.py": 1,
    }
    assert set(passages) == {f"{name}#{n + 1}" for name, count in names.items() for n in range(count)}
    assert not any("xylophone" in passage.text for passage in passages.values())


def test_texts_and_metadata_are_those_of_the_files(
    bge_hybrid: Command, documents: Path, folder: Path, stored: Stored
) -> None:
    bge_hybrid("index", documents, "--into", folder, "--model", "tiny")
    passages = stored()
    assert passages["schedule.txt#1"].text == GBK  # not UTF-8: recognised
    assert passages["notes.txt#1"].text.strip() == NOTES.strip()  # without the byte order mark
    assert passages["sensors.py#1"].text.strip() == CODE.strip()
    assert [passages[f"report.pdf#{n}"].text for n in (1, 2)] == PAGES
    assert [passages[f"report.pdf#{n}"].metadata["page"] for n in (1, 2)] == [1, 2]
    assert passages["legend.html#1"].metadata["title"] == "Chart legends"
    assert "right of the chart" in passages["legend.html#1"].text
    assert "unwanted" not in passages["legend.html#1"].text
    titles = [passages[f"guide.md#{n}"].metadata["title"] for n in (1, 2, 3)]
    assert titles == ["Workers", "Workers > Retries", "Workers > Queues"]
    assert passages["manual.md#2"].metadata["title"] == "网关手册 > 限流"
    for passage in passages.values():
        assert Path(passage.metadata["source"]).is_file()
        assert passage.id.startswith(passage.metadata["source"] + "#")


def test_what_cannot_be_read_is_reported_by_name_and_the_rest_is_indexed(
    bge_hybrid: Command, documents: Path, folder: Path, stored: Stored
) -> None:
    (documents / "broken.pdf").write_bytes(pdf("Lost.")[:90])
    (documents / "scan.pdf").write_bytes(pdf("", ""))
    (documents / "noise.txt").write_bytes(bytes(range(256)) * 8)
    done = bge_hybrid("index", documents, "--into", folder, "--model", "tiny")
    assert done.code == 0, done.err
    reasons = dict(re.findall(r"not read: (\S+): (.*?)(?=not read: |$)", done.text))
    assert set(reasons) == {str(documents / name) for name in ("broken.pdf", "scan.pdf", "noise.txt")}
    assert "no PDF" in reasons[str(documents / "broken.pdf")]
    assert "OCR" in reasons[str(documents / "scan.pdf")]
    assert "text encoding" in reasons[str(documents / "noise.txt")]
    assert "8 files, 11 passages: 11 new or changed" in done.text
    assert not {"broken.pdf#1", "scan.pdf#1", "noise.txt#1"} & set(stored())


ODD_LINKS = {"dangling.md": "nowhere.md", "circle.md": "circle.md"}


@pytest.mark.parametrize("name", ODD_LINKS)
def test_a_link_that_leads_nowhere_is_reported_and_the_rest_is_indexed(
    bge_hybrid: Command, documents: Path, folder: Path, name: str
) -> None:
    (documents / name).symlink_to(ODD_LINKS[name])
    done = bge_hybrid("index", documents, "--into", folder, "--model", "tiny")
    assert done.code == 0, done.err
    assert "not read: " in done.text
    assert "8 files, 11 passages: 11 new" in done.text


@pytest.mark.parametrize("name", [b"caf\xe9.txt"] if sys.platform == "linux" else [])
def test_a_file_whose_name_is_no_text_is_reported_and_the_rest_is_indexed(
    bge_hybrid: Command, documents: Path, folder: Path, name: bytes
) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(documents), name))).write_text("Coffee.", encoding="utf-8")
    done = bge_hybrid("index", documents, "--into", folder, "--model", "tiny")
    assert done.code == 0, done.err
    assert "not read" in done.text
    assert "8 files, 11 passages: 11 new" in done.text


def test_a_message_stays_on_one_line_where_the_output_is_no_terminal(
    bge_hybrid: Command, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / ("deep " * 30) / "broken.pdf"
    path.parent.mkdir()
    path.write_bytes(b"no PDF at all")
    done = bge_hybrid("index", path, "--into", folder, "--model", "tiny")
    report, summary = done.out.splitlines()
    assert report.startswith(f"not read: {path}: it is no PDF")
    assert summary.endswith(f"{folder} holds 0.")


def test_names_with_blanks_signs_and_chinese_characters(
    bge_hybrid: Command, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # short names, which the table need not break
    odd = tmp_path / "my #1 [bold]文档"
    odd.mkdir()
    for name in ("a#b c.txt", "报告 [red].md"):
        (odd / name).write_text("Workers pull tasks.", encoding="utf-8")
    assert "2 files, 2 passages: 2 new" in bge_hybrid("index", odd, "--into", folder, "--model", "tiny").out
    assert "0 new or changed, 2 unchanged, 0 removed" in bge_hybrid("index", odd, "--into", folder).out
    found = bge_hybrid("search", folder, "workers").out
    assert "a#b c.txt" in found
    assert "报告 [red].md" in found
    (odd / "a#b c.txt").unlink()
    assert "1 removed" in bge_hybrid("index", odd, "--into", folder).out


def test_a_long_text_is_split_to_the_number_of_tokens_given(
    bge_hybrid: Command, tmp_path: Path, folder: Path, stored: Stored, encoder: BgeM3Encoder
) -> None:
    path = tmp_path / "long.txt"
    english = " ".join(f"Worker {n} pulls task {n} from the queue." for n in range(60))
    chinese = "".join(f"工作节点{n}从队列中拉取任务，并写下日志。" for n in range(60))
    path.write_text(f"{english}\n\n{chinese}", encoding="utf-8")
    bge_hybrid("index", path, "--into", folder, "--model", "tiny", "--chunk-tokens", "40")
    texts = [passage.text for passage in stored().values()]
    assert max(encoder.token_count(text) for text in texts) <= 40
    assert all(f"task {n} " in " ".join(texts) for n in range(60))
    assert all(f"工作节点{n}" in "".join(texts) for n in range(60))


def test_files_and_folders_given_twice_or_inside_each_other_are_read_once(
    bge_hybrid: Command, documents: Path, folder: Path
) -> None:
    paths = [documents / "guide.md", documents, documents / "zh", documents / "zh" / ".." / "guide.md"]
    done = bge_hybrid("index", *paths, "--into", folder, "--model", "tiny")
    assert "8 files, 11 passages: 11 new" in done.text


def test_an_index_inside_the_folder_of_documents_does_not_index_itself(
    bge_hybrid: Command, documents: Path, encoder: BgeM3Encoder
) -> None:
    inside = documents / "index"
    bge_hybrid("index", documents, "--into", inside, "--model", "tiny")
    with HybridIndex.open(inside, encoder=encoder) as index:
        index.optimize()
    done = bge_hybrid("index", documents, "--into", inside)
    assert "8 files, 11 passages: 0 new or changed, 11 unchanged, 0 removed" in done.text


def test_relative_paths_name_the_same_files(
    bge_hybrid: Command, documents: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bge_hybrid("index", documents, "--into", folder, "--model", "tiny")
    monkeypatch.chdir(documents.parent)
    done = bge_hybrid("index", "documents", "--into", "index")
    assert "0 new or changed, 11 unchanged, 0 removed. index holds 11." in done.text
