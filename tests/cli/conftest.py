"""The command line, run in this process as the installed command runs it, and a folder of documents."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from cli_files import write_documents

from hybrid_core import BgeM3Encoder, HybridIndex, Passage
from hybrid_core.cli import main
from hybrid_core.encoders.runtimes.base import Outputs
from hybrid_core.encoders.runtimes.torch_m3 import TorchM3
from hybrid_core.types import IntArray


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """The output as one line, wherever it was broken."""
        return " ".join(self.out.split())


@pytest.fixture
def bge_hybrid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run `bge-hybrid ARGUMENTS`: its `main()` itself, so exit codes and messages are those that a user sees."""
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["bge-hybrid", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Documents of every kind."""
    return write_documents(tmp_path / "documents")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the index goes; not there yet."""
    return tmp_path / "index"


@pytest.fixture
def stored(folder: Path, encoder: BgeM3Encoder) -> Callable[[], dict[str, Passage]]:
    """Read the passages of the index, by id without the way to the folder."""

    def read() -> dict[str, Passage]:
        with HybridIndex.open(folder, encoder=encoder) as index:
            found = [passage for passage in index.get(index.ids()) if passage]
        return {passage.id.rpartition("/")[2]: passage for passage in found}

    return read


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts in each forward pass of any encoder, those that a command loads included."""
    seen: list[int] = []
    run = TorchM3.run

    def note(self: TorchM3, rows: Sequence[IntArray], *, multi: bool) -> Outputs:
        seen.append(len(rows))
        return run(self, rows, multi=multi)

    monkeypatch.setattr(TorchM3, "run", note)
    return seen
