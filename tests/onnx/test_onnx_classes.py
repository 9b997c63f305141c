"""An export is used like the model it was made from: through the same classes, and on the same index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import TINY, write_reranker

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridIndex, InvalidInputError, ModelLoadError
from hybrid_core.export.folder import export_model

TEXTS = ["A worker pulls tasks from the queue.", "工作节点从队列中拉取任务。", "", "retry " * 60]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    return {name: export_model(TINY, folder / name, precision=name).folder for name in ("fp32", "int8")}  # type: ignore[arg-type]


def test_the_encoder_takes_an_export_and_gives_the_same_vectors(exports: dict[str, Path]) -> None:
    ours, source = BgeM3Encoder(exports["fp32"]), BgeM3Encoder.tiny()
    assert ours._runtime.backend == "onnx"
    mine, theirs = ours.encode_documents(TEXTS, multi=True), source.encode_documents(TEXTS, multi=True)
    np.testing.assert_allclose(mine.dense, theirs.dense, atol=1e-5)
    np.testing.assert_allclose(mine.sparse.toarray(), theirs.sparse.toarray(), atol=1e-5)
    assert mine.multi is not None
    assert theirs.multi is not None
    for one, other in zip(mine.multi, theirs.multi, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not ours.fingerprint.differences(source.fingerprint)


def test_an_index_built_on_torch_is_asked_through_an_int8_export(exports: dict[str, Path], tmp_path: Path) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=BgeM3Encoder.tiny()) as index:
        index.add(TEXTS[:2], ids=["en", "zh"])
        expected = index.search("worker", k=2)
    with HybridIndex.open(tmp_path / "index", encoder=BgeM3Encoder(exports["int8"])) as index:
        hits = index.search("worker", k=2)
    assert [hit.passage.id for hit in hits] == [hit.passage.id for hit in expected]


def test_a_reranker_takes_an_export_and_gives_the_same_scores(tmp_path: Path) -> None:
    source = write_reranker(tmp_path / "source")
    export_model(source, tmp_path / "fp32")
    ours = CrossEncoderReranker(tmp_path / "fp32")
    expected = CrossEncoderReranker(source, device="cpu").score("which worker?", TEXTS)
    np.testing.assert_allclose(ours.score("which worker?", TEXTS), expected, atol=1e-5)
    assert (ours.precision, ours.device) == ("fp32", "cpu")


def test_a_backend_that_the_folder_is_not_for_is_refused(exports: dict[str, Path]) -> None:
    with pytest.raises(ModelLoadError, match="bge-hybrid export"):
        BgeM3Encoder(TINY, backend="onnx")
    with pytest.raises(ModelLoadError, match="torch needs the model"):
        BgeM3Encoder(exports["fp32"], backend="torch")
    with pytest.raises(InvalidInputError, match=r"'int8'.*fp32"):
        BgeM3Encoder(exports["fp32"], precision="int8")
    with pytest.raises(InvalidInputError, match="backend='tensorrt'"):
        BgeM3Encoder(TINY, backend="tensorrt")  # type: ignore[arg-type]
