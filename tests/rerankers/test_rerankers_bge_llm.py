"""BGE's rerankers that are language models, held to FlagEmbedding's own classes."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import State
from flag_reference import flag_scores
from llm_checkpoints import (
    LAYERS,
    QUERY,
    START,
    TEXTS,
    token_of,
    write_gemma,
    write_layerwise,
    write_lightweight,
)
from safetensors.torch import load_file, save_file

from hybrid_core import EmbeddingError, InvalidInputError, InvalidTextError, ModelLoadError, Reranker
from hybrid_core.rerankers.llm.bge_llm import BgeLlmReranker
from hybrid_core.rerankers.llm.gemma2 import merges

KINDS = ("gemma", "layerwise", "lightweight")
LONG = [*TEXTS, "worker task queue " * 60, "short"]
COMPRESSION = [(2, (1,), None), (4, (1, 2), 3), (8, (2, 3), LAYERS), (2, (1, 2, 3), LAYERS)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    at = tmp_path_factory.mktemp("models")
    write = {"gemma": write_gemma, "layerwise": write_layerwise, "lightweight": write_lightweight}
    return {kind: write[kind](at / kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


@pytest.fixture
def reranker(folder: Path) -> BgeLlmReranker:
    return BgeLlmReranker(folder, device="cpu")


def test_scores_are_flagembeddings(folder: Path, reranker: BgeLlmReranker) -> None:
    expected = flag_scores(folder, QUERY, TEXTS, length=1024)
    np.testing.assert_allclose(reranker.score(QUERY, TEXTS), expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.05  # the random model tells the texts apart


@pytest.mark.parametrize("query", [QUERY, "why is a task retried, and how often? " * 20])
def test_long_texts_and_queries_are_cut_as_flagembedding_cuts_them(folder: Path, query: str) -> None:
    reranker = BgeLlmReranker(folder, device="cpu", max_length=64, pooling="first")
    expected = flag_scores(folder, query, LONG, length=64)
    np.testing.assert_allclose(reranker.score(query, LONG), expected, rtol=0, atol=1e-5)


def test_an_instruction_is_for_the_object_or_for_one_call(folder: Path, reranker: BgeLlmReranker) -> None:
    instruction = "Predict whether passages A and B have the same meaning."
    expected = flag_scores(folder, QUERY, TEXTS, length=1024, prompt=instruction)
    other = BgeLlmReranker(folder, device="cpu", instruction=instruction)
    np.testing.assert_allclose(other.score(QUERY, TEXTS), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(reranker.score(QUERY, TEXTS, instruction=instruction), expected, rtol=0, atol=1e-5)
    assert np.abs(reranker.score(QUERY, TEXTS) - expected).max() > 1e-3  # the object's own is as it was


@pytest.mark.parametrize("kind", ["layerwise", "lightweight"])
@pytest.mark.parametrize("cutoff", range(START, LAYERS + 1))
def test_a_cutoff_scores_after_a_lower_layer(folders: dict[str, Path], kind: str, cutoff: int) -> None:
    expected = flag_scores(folders[kind], QUERY, TEXTS, length=1024, cutoff_layers=[cutoff])
    reranker = BgeLlmReranker(folders[kind], device="cpu", cutoff_layer=cutoff)
    np.testing.assert_allclose(reranker.score(QUERY, TEXTS), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("ratio", "layers", "cutoff"), COMPRESSION)
def test_compression_is_flagembeddings(
    folders: dict[str, Path], ratio: int, layers: tuple[int, ...], cutoff: int | None
) -> None:
    expected = flag_scores(
        folders["lightweight"],
        QUERY,
        LONG,
        length=128,
        cutoff_layers=None if cutoff is None else [cutoff],
        compress_ratio=ratio,
        compress_layers=list(layers),
    )
    reranker = BgeLlmReranker(
        folders["lightweight"],
        device="cpu",
        max_length=128,
        pooling="first",
        cutoff_layer=cutoff,
        compress_ratio=ratio,
        compress_layers=layers,
    )
    np.testing.assert_allclose(reranker.score(QUERY, LONG), expected, rtol=0, atol=1e-5)


def test_neighbouring_tokens_of_the_passage_are_averaged() -> None:
    """One row of query a, b, passage c to g, instruction h; one of query a, b, passage c, instruction d."""
    index, weight, lengths = merges(np.array([8, 4]), before=2, after=1, ratio=2)
    assert lengths.tolist() == [6, 4]
    table = np.zeros((2, 6, 16))
    for place in np.ndindex(index.shape):
        table[place[0], place[1], index[place]] += weight[place]
    first = [{0: 1}, {1: 1}, {2: 0.5, 3: 0.5}, {4: 0.5, 5: 0.5}, {6: 1}, {7: 1}]
    second = [{8: 1}, {9: 1}, {10: 1}, {11: 1}, {}, {}]  # the last two are padding
    found = [[{int(i): float(row[i]) for i in row.nonzero()[0]} for row in text] for text in table]
    assert found == [first, second]


def test_gemma_2_sees_a_window_in_every_other_layer(tmp_path: Path) -> None:
    narrow = write_lightweight(tmp_path / "narrow", sliding_window=12)
    reranker = BgeLlmReranker(narrow, device="cpu")
    reference = _gemma2_scores(narrow, reranker)
    np.testing.assert_allclose(reranker.score(QUERY, TEXTS), reference, rtol=0, atol=1e-5)
    wide = BgeLlmReranker(write_lightweight(tmp_path / "wide"), device="cpu").score(QUERY, TEXTS)
    assert np.abs(wide - reference).max() > 1e-2


def _gemma2_scores(folder: Path, reranker: BgeLlmReranker) -> Any:
    """transformers' own Gemma 2 with the first head, one prompt at a time; FlagEmbedding leaves windows to it."""
    from transformers import Gemma2Config, Gemma2Model

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key in ("model_type", "architectures", "auto_map", "cache_implementation"):
        del config[key]
    state = load_file(folder / "model.safetensors")
    model = Gemma2Model(Gemma2Config(**{**config, "attn_logit_softcapping": None})).eval()
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    scores = []
    for row in reranker._prompts(QUERY, TEXTS, reranker.instruction).rows:
        with torch.inference_mode():
            last = model(input_ids=torch.from_numpy(row[None].astype(np.int64))).last_hidden_state[0, -1]
            scores.append(torch.sigmoid(30 * torch.tanh(state["lm_head.0.linear_head.weight"] @ last / 30)).item())
    return scores


def test_layers_beyond_the_cutoff_are_not_kept(folders: dict[str, Path]) -> None:
    for kind in ("layerwise", "lightweight"):
        model = BgeLlmReranker(folders[kind], device="cpu", cutoff_layer=START)._scorer._model._model
        assert len(getattr(model, "model", model).layers) == START


def test_a_score_does_not_depend_on_the_batch(folder: Path, reranker: BgeLlmReranker) -> None:
    small = BgeLlmReranker(folder, device="cpu", batch_tokens=1)
    np.testing.assert_allclose(small.score(QUERY, TEXTS), reranker.score(QUERY, TEXTS), rtol=0, atol=1e-5)


def test_many_texts_score_as_each_alone(reranker: BgeLlmReranker) -> None:
    texts = [f"task {i} is retried {i} times" for i in range(40)]
    alone = [float(reranker.score(QUERY, [text])[0]) for text in texts]
    np.testing.assert_allclose(reranker.score(QUERY, texts), alone, rtol=0, atol=1e-5)


def test_it_is_a_reranker_with_a_name(folder: Path, reranker: BgeLlmReranker) -> None:
    assert isinstance(reranker, Reranker)
    assert reranker.name == str(folder)
    assert repr(reranker) == f"BgeLlmReranker('{folder}', max_length=1024, precision='fp32', device='cpu')"


def test_no_texts_have_no_scores(reranker: BgeLlmReranker) -> None:
    assert reranker.score(QUERY, []).shape == (0,)
    assert reranker.score(QUERY, []).dtype == np.float32


def test_an_empty_query_is_a_query_like_any_other(folder: Path, reranker: BgeLlmReranker) -> None:
    expected = flag_scores(folder, "", TEXTS, length=1024)
    np.testing.assert_allclose(reranker.score("", TEXTS), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bad", ["\ud800", None, 5])
def test_a_text_that_is_none_is_named_by_its_position(folders: dict[str, Path], bad: Any) -> None:
    reranker = BgeLlmReranker(folders["gemma"], device="cpu")
    texts = ["fine", bad]
    with pytest.raises(InvalidTextError, match="text 1"):
        reranker.score(QUERY, texts)
    assert texts == ["fine", bad]
    with pytest.raises(InvalidTextError, match="query"):
        reranker.score(bad, ["fine"])
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        reranker.score(QUERY, "a text")


def test_a_text_that_is_cut_is_reported_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    reranker = BgeLlmReranker(folder, device="cpu", max_length=64, pooling="first")
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        reranker.score(QUERY, LONG)
        reranker.score(QUERY, LONG)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("hybrid_core")]
    assert len(messages) == 1
    assert re.match(r"\d of 8 texts are cut to fit max_length=64; ", messages[0])


def test_a_model_that_is_not_there_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="nowhere"):
        BgeLlmReranker(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ModelLoadError, match="BAAI/bge-reranker-v2-gemma"):
        BgeLlmReranker(cache_dir=tmp_path, local_files_only=True, device="cpu")


def test_a_model_with_a_classification_head_is_refused(random_reranker: Path) -> None:
    with pytest.raises(ModelLoadError, match="XLMRobertaForSequenceClassification, which is no language model"):
        BgeLlmReranker(random_reranker, device="cpu")


def test_code_in_a_checkpoint_is_neither_run_nor_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # to a question whether to run it
    folder = write_gemma(tmp_path / "own")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}}
    (folder / "own.py").write_text("raise SystemExit('run')", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({**config, **own}), encoding="utf-8")
    assert np.isfinite(BgeLlmReranker(folder, device="cpu").score(QUERY, TEXTS)).all()
    own["architectures"] = ["OwnForCausalLM"]
    (folder / "config.json").write_text(json.dumps({**config, **own}), encoding="utf-8")
    with pytest.raises(ModelLoadError, match="OwnForCausalLM, which is no language model"):
        BgeLlmReranker(folder, device="cpu")
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "change", [{"head_type": "raw"}, {"head_multi": False}, {"rope_scaling": {"type": "linear", "factor": 2.0}}]
)
def test_variants_of_minicpm_that_are_not_computed_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ModelLoadError, match=next(iter(change))):
        BgeLlmReranker(write_layerwise(tmp_path / "variant", **change), device="cpu")


def test_a_variant_of_gemma_2_without_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="layer_wise"):
        BgeLlmReranker(write_lightweight(tmp_path / "variant", layer_wise=False), device="cpu")


@pytest.mark.parametrize("kind", ["layerwise", "lightweight"])
def test_a_setting_that_is_missing_or_makes_no_sense_is_a_load_error(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / kind))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_attention_heads": 3}), encoding="utf-8")
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        BgeLlmReranker(folder, device="cpu")
    del config["start_layer"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelLoadError, match="has no 'start_layer'"):
        BgeLlmReranker(folder, device="cpu")


@pytest.mark.parametrize("kind", ["layerwise", "lightweight"])
@pytest.mark.parametrize("lost", ["lm_head.0.linear_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_missing_weight_is_named(tmp_path: Path, kind: str, lost: str) -> None:
    def lose(state: State) -> None:
        del state[lost]

    write = write_layerwise if kind == "layerwise" else write_lightweight
    with pytest.raises(ModelLoadError, match=r"(lm_head\.0|layers\.1\.mlp\.up_proj)"):
        BgeLlmReranker(write(tmp_path / "damaged", edit=lose), device="cpu", cutoff_layer=START)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("gemma", {"max_length": 7}),
        ("gemma", {"batch_tokens": 0}),
        ("gemma", {"pooling": "mean"}),
        ("gemma", {"precision": "int8"}),
        ("gemma", {"cutoff_layer": 2}),
        ("gemma", {"compress_ratio": 2}),
        ("layerwise", {"cutoff_layer": START - 1}),
        ("layerwise", {"cutoff_layer": LAYERS + 1}),
        ("layerwise", {"compress_ratio": 2}),
        ("lightweight", {"cutoff_layer": 1}),
        ("lightweight", {"compress_ratio": 3}),
        ("lightweight", {"compress_layers": (), "compress_ratio": 2}),
        ("lightweight", {"compress_layers": None, "compress_ratio": 2}),
        ("lightweight", {"compress_layers": 8, "compress_ratio": 2}),
        ("lightweight", {"compress_layers": ("a",), "compress_ratio": 2}),
        ("lightweight", {"compress_layers": (0, 1), "compress_ratio": 2}),
        ("lightweight", {"compress_layers": (3,), "cutoff_layer": 3, "compress_ratio": 2}),
    ],
)
def test_a_bad_argument_is_named(folders: dict[str, Path], kind: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(arguments))):
        BgeLlmReranker(folders[kind], device="cpu", **arguments)


def test_half_precision_scores_nearly_the_same(folder: Path, reranker: BgeLlmReranker) -> None:
    half = BgeLlmReranker(folder, device="cpu", precision="bf16")
    assert half.precision == "bf16"
    np.testing.assert_allclose(half.score(QUERY, TEXTS), reranker.score(QUERY, TEXTS), rtol=0, atol=0.1)


def test_nan_names_the_position(folders: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("gemma", "lightweight"):
        spoiled = Path(shutil.copytree(folders[kind], tmp_path / kind))
        state = load_file(spoiled / "model.safetensors")
        state["model.embed_tokens.weight"][token_of(spoiled, "网关限流", "a task")] = float("nan")
        save_file(state, spoiled / "model.safetensors", metadata={"format": "pt"})
        reranker = BgeLlmReranker(spoiled, device="cpu")
        assert np.isfinite(reranker.score(QUERY, ["a task"])).all()
        with pytest.raises(EmbeddingError, match=r"text 1$"):
            reranker.score(QUERY, ["a task", "网关限流", "another task"])


def test_four_threads_get_what_one_gets(reranker: BgeLlmReranker) -> None:
    queries = [f"question {i} about tasks" for i in range(4)]
    expected = [reranker.score(query, TEXTS) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda query: reranker.score(query, TEXTS), queries))
    np.testing.assert_array_equal(results, expected)
