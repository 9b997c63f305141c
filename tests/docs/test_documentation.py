"""The documentation site builds without a warning, names everything public, and shows what its snippets print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from sphinx.util.inventory import InventoryFile

import hybrid_core
import hybrid_core.evaluation
import langchain_hybrid
import llamaindex_hybrid
from hybrid_core.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = (hybrid_core, hybrid_core.evaluation, langchain_hybrid, llamaindex_hybrid)
SHOWN = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
OUTPUTS = {
    f"{path.relative_to(DOCS).with_suffix('')}-{i}": match.groups()
    for path in sorted(DOCS.rglob("*.md"))
    for i, match in enumerate(SHOWN.finditer(path.read_text(encoding="utf-8")))
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a page in no table of contents, a broken link and a broken docstring are warnings."""
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run(
        [*command, "--doctree-dir", made / "doctrees", DOCS, made / "html"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return made / "html"


def test_every_public_name_is_in_the_reference(site):
    entries = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    documented = {name for kind, names in entries.items() if kind.startswith("py:") for name in names}
    public = {f"{package.__name__}.{name}" for package in PACKAGES for name in package.__all__}
    assert public - documented == set()


def test_every_command_is_in_the_reference(site):
    page = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    headings = set(re.findall(r'<section id="bge-hybrid-([\w-]+)">', page))
    commands = typer.main.get_command(app).commands
    below = {f"{name}-{own}" for name, command in commands.items() for own in getattr(command, "commands", ())}
    assert headings == commands.keys() | below


def test_base_classes_of_the_frameworks_do_not_flood_the_reference(site):
    entries = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    foreign = {"model_dump", "model_validate", "ainvoke", "astream_events", "model_config", "configurable_fields"}
    assert not [name for kind in entries for name in entries[kind] if name.rpartition(".")[2] in foreign]


@pytest.mark.parametrize("page", OUTPUTS)
def test_a_page_shows_what_its_snippet_prints(page, tmp_path, monkeypatch, capsys):
    snippet, shown = OUTPUTS[page]
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, page, "exec"), {})  # noqa: S102  # our own documentation
    assert capsys.readouterr().out == shown
