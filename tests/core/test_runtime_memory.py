"""What a loaded model keeps in memory: the weights once, as they are computed with, and few compiled kernels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import config, save

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, which Linux alone has")

_HELD = """
import gc, json, sys
from pathlib import Path
import numpy as np
from hybrid_core.encoders.runtimes.torch_scorer import TorchScorer

def held():
    status = Path("/proc/self/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024

def load(folder, precision):
    settings = json.loads((folder / "config.json").read_text())
    scorer = TorchScorer(folder, settings, name="random", device="cpu", precision=precision)
    scorer.run([np.arange(5, 18, dtype=np.int32)])
    return scorer
"""
_LOAD = """
small, large, precision = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
load(small, precision)
gc.collect()
before = held()
scorer = load(large, precision)
gc.collect()
print(held() - before)
"""
_RUN = """
scorer = load(Path(sys.argv[1]), sys.argv[2])
before = held()
for tokens in range(5, 305):
    scorer.run([np.arange(5, 5 + tokens, dtype=np.int32)])
print(held() - before)
"""


def write(folder: Path, *, hidden: int, layers: int, kind: str) -> float:
    """Write a random cross-encoder; return the megabytes of what its layers multiply with."""
    from transformers import XLMRobertaForSequenceClassification

    sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": layers}
    model = XLMRobertaForSequenceClassification(config(num_labels=1, **sizes))
    folder.mkdir()
    model.config.save_pretrained(folder)
    save({name: tensor.clone() for name, tensor in model.state_dict().items()}, folder / kind)
    return 4 * 12 * hidden**2 * layers / 2**20


def megabytes_of(code: str, *arguments: str) -> float:
    command = [sys.executable, "-W", "ignore", "-c", _HELD + code, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(("precision", "share"), [("fp32", 1.0), ("int8", 0.25)])
def test_a_model_is_held_once(tmp_path: Path, kind: str, precision: str, share: float) -> None:
    """Neither the file that it was read from nor the weights before they were laid out anew stay in memory."""
    small, large = tmp_path / "small", tmp_path / "large"
    write(small, hidden=64, layers=2, kind=kind)
    megabytes = write(large, hidden=512, layers=6, kind=kind)
    kept_by_the_allocator = 0.45  # for the next time, on top
    assert megabytes_of(_LOAD, str(small), str(large), precision) < (share + kept_by_the_allocator) * megabytes


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_texts_of_300_lengths_leave_few_kernels_behind(tmp_path: Path, precision: str) -> None:
    """With one for each length and kind of layer the process grew by 550 MB in fp32 and 950 in int8."""
    write(tmp_path / "model", hidden=64, layers=2, kind="model.safetensors")
    assert megabytes_of(_RUN, str(tmp_path / "model"), precision) < 150
