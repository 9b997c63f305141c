"""An encoder without a model, which worker processes build quickly, and which goes wrong when told to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vectors import FINGERPRINT, encoding_of

from hybrid_core import EmbeddingError, Encoding, Fingerprint, ModelLoadError


@dataclass(frozen=True)
class PlainSpec:
    """Builds a `PlainEncoder`.

    Attributes:
        folder: where processes leave notes for the test, and the test for them.
        fail: loading fails.
        die: the process ends while loading.
    """

    folder: Path
    fail: bool = False
    die: bool = False

    def build(self, device: str) -> PlainEncoder:
        if self.fail:
            raise ModelLoadError(f"no model for {device}")
        if self.die:
            os._exit(7)
        return PlainEncoder(self.folder, device)


class PlainEncoder:
    """Vectors that are a function of the text. A text of one of these kinds does as it says:

    "nan", "error", "die", "kill", "hold" (writes a file "held", then waits for a file "go"), "until answered" (waits for
    a file "answered", a minute at most), "environment".
    """

    fingerprint: Fingerprint = FINGERPRINT

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        with (self.folder / f"chunks of {self.device}").open("a") as notes:
            notes.write(f"{len(texts)} {sum(map(len, texts))}\n")
        for i, text in enumerate(texts):
            self.act(i, text)
        plain = encoding_of(texts) if texts else encoding_of(["x"]).rows([])
        vectors = tuple(np.full((1, 2), len(text), dtype=np.float32) for text in texts)
        return Encoding(plain.dense, plain.sparse, vectors if multi else None)

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        return self.encode_documents(texts, multi=multi)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [f"{self.device} {i}" for i in ids]

    def act(self, i: int, text: str) -> None:
        match text.strip():
            case "nan":
                raise EmbeddingError(f"the model returned NaN or infinity for text {i}; in half precision try fp32")
            case "error":
                raise KeyError("a library's own")
            case "die":
                os._exit(9)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hold":
                (self.folder / "held").write_text(str(os.getpid()))
                while not (self.folder / "go").exists():
                    time.sleep(0.002)
            case "until answered":
                deadline = time.monotonic() + 60
                while not (self.folder / "answered").exists():
                    if time.monotonic() > deadline:
                        raise EmbeddingError("nobody was answered meanwhile")
                    time.sleep(0.002)
            case "environment":
                (self.folder / f"threads of {self.device}").write_text(os.environ.get("OMP_NUM_THREADS", "all"))
