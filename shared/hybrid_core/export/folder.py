"""Exporting a checkpoint to a folder that ONNX Runtime encodes or scores with, torch and the source gone."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from ..encoders.runtimes.onnx_folder import FORMAT, ONNX, RECORD, OnnxFolder, read_export
from ..encoders.runtimes.onnx_m3 import OnnxM3
from ..encoders.runtimes.onnx_scorer import OnnxScorer
from ..encoders.tokenizing import load_tokenizer
from ..errors import InvalidInputError, ModelLoadError, StorageError, StorageFullError, require
from .graph import OPSETS, GraphWriter
from .heads import add_classifier, add_m3_heads
from .layers import TransformerGraph
from .linear import Float, Int8
from .source import Source, find_source

Precision: TypeAlias = Literal["fp32", "int8"]

_COPIED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
)


def export_model(
    model: str | Path,
    target: str | Path,
    *,
    precision: Precision = "fp32",
    overwrite: bool = False,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> OnnxFolder:
    """Export an encoder in BGE-M3's layout, or a cross-encoder with one label, for ONNX Runtime.

    The folder gets onnx/model.onnx or onnx/model_int8.onnx with its data file, onnx/export.json, which says what it is,
    the configuration, the tokenizer and the heads. It is written beside the target under another name, loaded and run
    once, and moved at the end.

    float32 outputs agree with torch's to 1e-5. int8 takes about a quarter of the memory and two fifths of the time. Its
    vectors differ a little (see benchmarks/RESULTS.md), as those of bfloat16 do, so both have the source's digest: an
    index may be built in one precision and asked in another.

    Args:
        model: a hub name or a folder, with torch weights.
        target: the folder to make.
        precision: "fp32" or "int8".
        overwrite: replace an export that is there already; nothing else is ever replaced.
        revision: as in huggingface_hub.snapshot_download.
        cache_dir: the same.
        local_files_only: the same.

    Returns:
        What the folder says of itself.

    Raises:
        InvalidInputError: the target exists, or the precision is neither.
        ModelLoadError: the checkpoint is incomplete, damaged, has two labels, or is of another architecture.
        StorageError: the folder cannot be written; StorageFullError where the disk is full.
        MissingDependencyError: the extra "export" is not installed.
    """
    if precision not in ("fp32", "int8"):
        raise InvalidInputError(f"precision={precision!r} must be 'fp32' or 'int8'")
    target = Path(target).expanduser().absolute()
    _check_target(target, overwrite)
    require("onnx", "export")
    source = find_source(model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
    if source.checkpoint.folder.is_relative_to(target.resolve()):
        raise InvalidInputError(f"{target} holds the model itself; choose another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
            made = Path(temporary) / "export"
            _write(source, made, precision)
            _try(read_export(made))
            _move(made, target, Path(temporary) / "before")
    except OSError as error:
        kind = StorageFullError if error.errno == errno.ENOSPC else StorageError
        raise kind(f"the export cannot be written to {target}: {error}") from error
    return read_export(target)


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise InvalidInputError(
            f"{target} exists already; choose another folder, or pass overwrite=True (on the command line --overwrite)"
        )
    if not (target / ONNX / RECORD).is_file():
        raise InvalidInputError(f"{target} is no export (it has no {ONNX}/{RECORD}), so it is not replaced")


def _write(source: Source, folder: Path, precision: Precision) -> None:
    checkpoint = source.checkpoint
    (folder / ONNX).mkdir(parents=True)
    path = folder / ONNX / ("model.onnx" if precision == "fp32" else "model_int8.onnx")
    _write_graph(source, path, precision)
    for file in [*(checkpoint.folder / name for name in _COPIED), *checkpoint.heads.values()]:
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    if not (folder / "tokenizer.json").is_file():  # so that nothing needs to be converted where it runs
        load_tokenizer(checkpoint.folder, checkpoint.name).save(str(folder / "tokenizer.json"))
    digest = checkpoint.digest()
    record = {
        "format": FORMAT,
        "kind": source.kind,
        "precision": precision,
        "model": path.name,
        "files": {file.name: file.stat().st_size for file in sorted(path.parent.iterdir())},
        "digest": digest,
        "source": source.label,
        "opsets": {domain or "ai.onnx": number for domain, number in OPSETS.items()},
        "versions": {
            "bge-hybrid": version("bge-hybrid"),
            **{name: str(require(name, "export").__version__) for name in ("onnx", "onnxruntime", "torch")},
        },
    }
    (folder / ONNX / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _write_graph(source: Source, path: Path, precision: Precision) -> None:
    config = source.checkpoint.config
    hidden = int(config["hidden_size"])
    weights, on_top = source.weights()
    with GraphWriter(path) as graph:
        transformer = TransformerGraph(graph, weights, config, Float() if precision == "fp32" else Int8())
        if source.kind == "encoder":
            add_m3_heads(graph, transformer.build(), on_top, hidden)
        else:
            add_classifier(graph, transformer.build(first_only=True), on_top, hidden)
        graph.write()


def _try(export: OnnxFolder) -> None:
    """Load an export and run the shortest texts there are through it, one alone and two together."""
    passes = [[np.zeros(2, dtype=np.int32)], [np.zeros(2, dtype=np.int32), np.zeros(3, dtype=np.int32)]]
    if export.kind == "encoder":
        encoder = OnnxM3(export.folder)
        outputs = [encoder.run(rows, multi=True) for rows in passes]
        parts = [part for out in outputs for part in (out.dense, out.weights, out.multi) if part is not None]
    else:
        scorer = OnnxScorer(export.folder)
        parts = [scorer.run(rows) for rows in passes]
    if not all(np.isfinite(part).all() for part in parts):
        raise ModelLoadError("the exported model returns NaN or infinity; the checkpoint is damaged")


def _move(made: Path, target: Path, before: Path) -> None:
    """Put the export in its place; what was there goes to `before`, and back should that fail."""
    if target.exists():
        target.rename(before)
    try:
        made.rename(target)
    except OSError:
        if before.exists():
            before.rename(target)
        raise
