"""A reranker by its name: the class is told by the name, or by the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from checkpoints import TINY, write_reranker
from llm_checkpoints import write_gemma, write_layerwise, write_lightweight, write_qwen3, write_t5

from hybrid_core import (
    BgeLlmReranker,
    BgeM3Encoder,
    CrossEncoderReranker,
    InvalidInputError,
    LateInteractionReranker,
    ModelLoadError,
    MonoT5Reranker,
    Qwen3Reranker,
    RemoteReranker,
    RerankStage,
)
from hybrid_core.rerankers.named import named_reranker

CROSS = Path(str(files("hybrid_core") / "models" / "tiny_reranker"))


@pytest.mark.parametrize(
    ("write", "cls"),
    [
        (lambda folder: CROSS, CrossEncoderReranker),
        (write_gemma, BgeLlmReranker),
        (write_layerwise, BgeLlmReranker),
        (write_lightweight, BgeLlmReranker),
        (write_qwen3, Qwen3Reranker),
        (write_t5, MonoT5Reranker),
        (lambda folder: write_t5(folder, "mt5"), MonoT5Reranker),
    ],
)
def test_a_checkpoint_tells_its_class(
    write: Callable[[Path], Path], cls: type, tmp_path: Path, encoder: BgeM3Encoder
) -> None:
    reranker = named_reranker(str(write(tmp_path / "model")), encoder, device="cpu")
    assert type(reranker) is cls
    assert len(RerankStage(reranker).rank("which task?", ["a task", "网关限流"])) == 2


def test_short_names(encoder: BgeM3Encoder) -> None:
    assert named_reranker("tiny", encoder).name == "tiny"
    late, combined = named_reranker("late", encoder), named_reranker("combined", encoder)
    assert isinstance(late, LateInteractionReranker)
    assert isinstance(combined, LateInteractionReranker)
    assert (late.weights, combined.weights) == (None, (1, 0.3, 1))
    assert combined.encoder is encoder


@pytest.mark.parametrize(
    ("name", "key", "shown"),
    [
        ("cohere:rerank-v3.5", "CO_API_KEY", "'https://api.cohere.com', api='cohere', model='rerank-v3.5'"),
        ("jina:jina-reranker-v2", "JINA_API_KEY", "'https://api.jina.ai', api='jina', model='jina-reranker-v2'"),
        ("voyage:rerank-2.5", "VOYAGE_API_KEY", "'https://api.voyageai.com', api='voyage', model='rerank-2.5'"),
    ],
)
def test_a_service_takes_its_key_from_the_environment(
    name: str, key: str, shown: str, encoder: BgeM3Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(key, raising=False)
    with pytest.raises(InvalidInputError, match=f"'{name}' needs the key .* set {key}"):
        named_reranker(name, encoder)
    monkeypatch.setenv(key, "the-key")
    reranker = named_reranker(name, encoder)
    assert isinstance(reranker, RemoteReranker)
    assert repr(reranker) == f"RemoteReranker({shown})"
    reranker.close()


@pytest.mark.parametrize("api", ["tei", "vllm", "infinity"])
def test_a_server_is_named_by_its_address(api: str, encoder: BgeM3Encoder) -> None:
    reranker = named_reranker(f"{api}:http://127.0.0.1:8080", encoder)
    assert repr(reranker) == f"RemoteReranker('http://127.0.0.1:8080', api='{api}', model=None)"


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "names no"), (None, "names no"), ("cohere:", "a model"), ("tei:", "an address"), ("tei:x", "is no address")],
)
def test_what_names_nothing_is_refused(name: Any, words: str, encoder: BgeM3Encoder) -> None:
    with pytest.raises(InvalidInputError, match=words):
        named_reranker(name, encoder)


def test_what_is_no_reranker_is_refused(encoder: BgeM3Encoder, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for folder in (TINY, write_reranker(tmp_path / "two", labels=2), tmp_path / "nothing", tmp_path / "nowhere"):
        with pytest.raises(ModelLoadError):
            named_reranker(str(folder), encoder, device="cpu")
