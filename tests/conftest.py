"""Models that all tests share; nothing here or in a test reaches the network."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, so it comes first
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoints import write_m3, write_reranker

from hybrid_core import BgeM3Encoder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The models are too small to gain by more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_interrupts() -> None:
    """A shell starts what runs in the background with SIGINT ignored, and Python leaves it so."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_event_loop() -> None:
    """LlamaIndex leaves the main thread's loop open where it may ask for one before any other has been set."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def encoder() -> BgeM3Encoder:
    """The small model that comes with the package."""
    return BgeM3Encoder.tiny()


@pytest.fixture(scope="session")
def random_m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in BGE-M3's layout with random weights: pytorch_model.bin and .pt heads."""
    return write_m3(tmp_path_factory.mktemp("models") / "random-m3")


@pytest.fixture(scope="session")
def random_m3_safetensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as `random_m3`, everything in safetensors."""
    return write_m3(tmp_path_factory.mktemp("models") / "random-m3", safetensors=True)


@pytest.fixture(scope="session")
def random_reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder with one label and random weights."""
    return write_reranker(tmp_path_factory.mktemp("models") / "random-reranker")
