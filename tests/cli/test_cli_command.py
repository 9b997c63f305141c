"""The installed command itself, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path

from cli_files import GUIDE

SCRIPT = Path(sysconfig.get_path("scripts")) / "bge-hybrid"


def run(*arguments: object, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command without a terminal; `python` holds options for the interpreter."""
    command = [*([sys.executable, *python] if python else []), str(SCRIPT), *map(str, arguments)]
    hidden = ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=env | {"PYTHONUTF8": "1"})


def test_help_names_the_commands_and_loads_nothing_heavy() -> None:
    done = run("--help", python=("-X", "importtime"))
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in ("index", "search", "demo"))
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in loaded
    heavy = {"torch", "transformers", "sentence_transformers", "chromadb", "FlagEmbedding", "tokenizers", "scipy"}
    assert not loaded & (heavy | {"langchain_core", "llama_index", "pypdf", "bs4"})


def test_help_of_each_command_names_its_options() -> None:
    for command, options in (("index", ["--into", "--model"]), ("search", ["--json", "--filter", "--rerank"])):
        done = run(command, "--help")
        assert done.returncode == 0
        assert all(option in done.stdout for option in options)


def test_first_steps_index_search_and_a_model_that_does_not_fit(tmp_path: Path, random_m3: Path) -> None:
    (tmp_path / "guide.md").write_text(GUIDE, encoding="utf-8")
    indexed = run("index", tmp_path / "guide.md", "--into", tmp_path / "index", "--model", "tiny")
    assert (indexed.returncode, indexed.stderr) == (0, "")
    assert "1 files, 3 passages: 3 new or changed" in indexed.stdout
    found = run("search", tmp_path / "index", "what happens to a failed job?", "--json", "-k", "1")
    assert (found.returncode, found.stderr) == (0, "")
    [row] = json.loads(found.stdout)
    assert row["metadata"]["title"] == "Workers > Retries"
    refused = run("search", tmp_path / "index", "a failed job", "--model", random_m3)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert "'tiny'" in refused.stderr
    assert str(random_m3) in refused.stderr


def test_no_index_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    done = run("search", tmp_path / "none", "anything")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: there is no index in {tmp_path / 'none'}; make one with: bge-hybrid index")
    assert done.stderr.count("\n") == 1


def test_the_demo_answers_every_question_through_all_stages_and_both_frameworks() -> None:
    rows = (files("hybrid_core") / "demo" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(row)["question"] for row in rows]
    assert len(questions) >= 6
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    out = " ".join(done.stdout.split())  # however the lines were broken
    _, *parts = out.split(" (answer at ")
    assert len(parts) == 4 * len(questions)
    for stage in ("dense", "sparse", "fused", "reranked"):
        assert out.count(f" {stage} (answer at ") == len(questions)
    for number, question in enumerate(questions, start=1):
        assert f"{number}. {' '.join(question.split())}" in out
    for framework in ("LangChain chain", "LlamaIndex engine"):
        assert out.count(f"{framework}: the same sections; the mock model echoes") == len(questions)
    assert out.count("matched tokens of the first hit: ") == len(questions)
    assert "✓" in out
