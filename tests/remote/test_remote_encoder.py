"""RemoteEncoder on servers that work: what is asked, what comes back, the fingerprint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from model_server import DIMENSION, MODEL, REVISION, VOCABULARY, ModelServer, vectors, word_weights
from word_counts import WordCounts

from hybrid_core import Encoder, InvalidInputError, InvalidTextError, ModelLoadError
from hybrid_core.encoders.remote import RemoteEncoder

Serve = Callable[..., ModelServer]
EncoderOn = Callable[..., RemoteEncoder]
APIS = ["tei", "openai", "vllm", "infinity"]
TEXTS = ["a worker pulls tasks", "网关 限流", "a queue a queue"]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("api", APIS)
def test_dense_rows_are_the_servers_at_unit_length_in_order(serve: Serve, encoder_on: EncoderOn, api: str) -> None:
    encoder = encoder_on(serve(api), batch_size=2)
    encoding = encoder.encode_documents(TEXTS)
    assert encoding.dense.dtype == np.float32
    np.testing.assert_allclose(encoding.dense, unit(vectors(TEXTS)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(encoding.dense, axis=1), 1, atol=1e-6)
    assert encoding.multi is None


@pytest.mark.parametrize("api", APIS)
def test_the_sparse_side_is_the_partners(serve: Serve, encoder_on: EncoderOn, api: str) -> None:
    encoding = encoder_on(serve(api)).encode_documents(TEXTS)
    assert encoding.sparse.shape == (3, VOCABULARY)
    assert [encoding.sparse_row(i).as_dict() for i in range(3)] == word_weights(TEXTS)


@pytest.mark.parametrize(
    ("api", "path", "body"),
    [
        ("tei", "/embed", {"inputs": ["x"], "normalize": True, "truncate": True}),
        ("openai", "/v1/embeddings", {"input": ["x"], "model": MODEL, "encoding_format": "float"}),
        (
            "vllm",
            "/v1/embeddings",
            {"input": ["x"], "model": MODEL, "encoding_format": "float", "truncate_prompt_tokens": -1},
        ),
        ("infinity", "/embeddings", {"input": ["x"], "model": MODEL, "encoding_format": "float"}),
    ],
)
def test_each_api_is_asked_as_documented(
    serve: Serve, encoder_on: EncoderOn, api: str, path: str, body: dict[str, object]
) -> None:
    server = serve(api)
    encoder_on(server).encode_documents(["x"])
    assert [(request.path, request.body) for request in server.posts] == [(path, body)]
    assert server.posts[0].headers["Content-Type"] == "application/json"


def test_it_is_an_encoder_that_shows_no_more_than_it_should(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("tei")
    encoder = encoder_on(server)
    assert isinstance(encoder, Encoder)
    assert repr(encoder) == f"RemoteEncoder('{server.url}', api='tei', sparse=WordCounts())"


def test_nothing_is_asked_before_first_use(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("tei")
    encoder = encoder_on(server)
    assert server.requests == []
    encoder.encode_documents(TEXTS)
    assert [request.path for request in server.requests] == ["/info", "/embed"]
    assert encoder.fingerprint.dimension == DIMENSION  # learned from the answer: no further request
    assert len(server.requests) == 2


def test_the_fingerprint_asks_for_one_text_where_the_dimension_is_not_known(
    serve: Serve, encoder_on: EncoderOn
) -> None:
    server = serve("tei")
    fingerprint = encoder_on(server, passage_instruction="passage: ", query_instruction="query: ").fingerprint
    assert [request.path for request in server.requests] == ["/info", "/embed"]
    assert len(server.posts[0].body["inputs"]) == 1
    assert (fingerprint.model, fingerprint.dimension, fingerprint.vocabulary) == (MODEL, DIMENSION, VOCABULARY)
    assert (fingerprint.pooling, fingerprint.max_length, fingerprint.instruction) == ("remote", 512, "passage: ")
    assert fingerprint.query_instruction == "query: "
    assert (fingerprint.sparse, fingerprint.sparse_weighting) == ("word counts", "plain")


def test_a_given_dimension_saves_that_text(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("openai")
    assert encoder_on(server, dimension=DIMENSION).fingerprint.dimension == DIMENSION
    assert server.requests == []


def test_the_same_model_behind_another_api_is_the_same(serve: Serve, encoder_on: EncoderOn) -> None:
    tei = encoder_on(serve("tei"), max_length=512).fingerprint
    others = [encoder_on(serve(api), revision=REVISION, max_length=512).fingerprint for api in APIS[1:]]
    assert [tei.differences(other) for other in others] == [[], [], []]


def test_another_model_revision_or_sparse_side_is_another_fingerprint(serve: Serve, encoder_on: EncoderOn) -> None:
    usual = encoder_on(serve("tei")).fingerprint
    assert usual.differences(encoder_on(serve("tei", model="test/other")).fingerprint) == ["digest"]
    assert usual.differences(encoder_on(serve("tei", revision="f" * 40)).fingerprint) == ["digest"]
    weighed = encoder_on(serve("tei"), sparse=WordCounts(idf=True)).fingerprint
    assert usual.differences(weighed) == ["sparse_weighting"]


def test_lengths_come_from_the_servers_that_report_them(serve: Serve, encoder_on: EncoderOn) -> None:
    assert [encoder_on(serve(api)).fingerprint.max_length for api in APIS] == [512, 0, 8192, 0]


def test_instructions_go_before_the_dense_text_only(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("tei")
    encoder = encoder_on(server, passage_instruction="passage: ", query_instruction="query: ")
    passages, queries = encoder.encode_documents(["red fox"]), encoder.encode_queries(["red fox"])
    assert [request.body["inputs"] for request in server.posts] == [["passage: red fox"], ["query: red fox"]]
    assert passages.sparse_row(0).as_dict() == queries.sparse_row(0).as_dict() == word_weights(["red fox"])[0]


@pytest.mark.parametrize("api", APIS)
def test_an_empty_text_is_sent_as_a_blank(serve: Serve, encoder_on: EncoderOn, api: str) -> None:
    encoding = encoder_on(serve(api)).encode_documents(["", "x"])
    np.testing.assert_allclose(encoding.dense, unit(vectors([" ", "x"])), atol=1e-6)
    assert encoding.sparse_row(0).as_dict() == {}


@pytest.mark.parametrize("api", APIS)
def test_no_texts_give_no_rows(serve: Serve, encoder_on: EncoderOn, api: str) -> None:
    encoding = encoder_on(serve(api)).encode_documents([])
    assert encoding.dense.shape == (0, DIMENSION)
    assert encoding.sparse.shape == (0, VOCABULARY)


def test_a_text_beyond_the_models_length_is_cut_by_the_server(serve: Serve, encoder_on: EncoderOn) -> None:
    encoding = encoder_on(serve("tei")).encode_documents(["word " * 1_000, "word " * 2_000])
    np.testing.assert_array_equal(encoding.dense[0], encoding.dense[1])


def test_infinity_gets_no_text_over_its_documented_length(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("infinity")
    encoder_on(server).encode_documents(["x" * 200_000])
    assert [len(text) for text in server.posts[0].body["input"]] == [122_880]


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
@pytest.mark.parametrize("api", ["openai", "vllm", "infinity"])
def test_both_encoding_formats_give_the_same_vectors(
    serve: Serve, encoder_on: EncoderOn, api: str, encoding_format: str
) -> None:
    server = serve(api)
    encoding = encoder_on(server, encoding_format=encoding_format).encode_documents(TEXTS)
    assert server.posts[0].body["encoding_format"] == encoding_format
    np.testing.assert_allclose(encoding.dense, unit(vectors(TEXTS)), atol=1e-6)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_an_address_may_end_in_v1(serve: Serve, encoder_on: EncoderOn, suffix: str) -> None:
    server = serve("vllm")
    encoder_on(server, url=server.url + suffix).encode_documents(["x"])
    assert [request.path for request in server.requests] == ["/v1/models", "/v1/embeddings"]


def test_progress_is_counted_in_texts(serve: Serve, encoder_on: EncoderOn, capsys: pytest.CaptureFixture[str]) -> None:
    encoder_on(serve("tei"), batch_size=2).encode_documents(TEXTS, show_progress=True)
    assert "3.00/3.00" in capsys.readouterr().err


def test_tokens_are_the_sparse_sides(serve: Serve, encoder_on: EncoderOn) -> None:
    assert encoder_on(serve("tei")).tokens([3, 1]) == ["w3", "w1"]


def test_multi_vectors_are_refused_with_what_to_use_instead(serve: Serve, encoder_on: EncoderOn) -> None:
    encoder = encoder_on(serve("tei"))
    for encode in (encoder.encode_documents, encoder.encode_queries):
        with pytest.raises(InvalidInputError, match=r"no multi-vectors.*BgeM3Encoder.*RemoteReranker"):
            encode(["x"], multi=True)


def test_bad_texts_are_named_before_anything_is_sent(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("tei")
    encoder = encoder_on(server)
    with pytest.raises(InvalidTextError, match="text 1 is None"):
        encoder.encode_documents(["x", None])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query 0 has a lone surrogate"):
        encoder.encode_queries(["\ud800"])
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        encoder.encode_documents("x")
    assert server.requests == []


def test_without_a_sparse_side_both_remedies_are_named() -> None:
    for api in APIS:
        with pytest.raises(InvalidInputError, match=r"pass sparse=, a SparseSide.*--pooling splade.*sparse_url="):
            RemoteEncoder("http://127.0.0.1:1", api=api, model="m")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api": "ollama"}, "api='ollama' must be one of 'tei', 'openai', 'vllm', 'infinity'"),
        ({"api": "openai"}, "api='openai' needs model="),
        ({"model": ""}, "model='' names nothing"),
        ({"batch_size": 0}, "batch_size=0 must be an integer >= 1"),
        ({"api": "infinity", "batch_size": 2_049}, "batch_size=2049 is over the 2048 texts"),
        ({"api": "openai", "model": "m", "batch_size": 2_049}, "batch_size=2049 is over the 2048 texts"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"timeout": 0}, "timeout=0 must be a number of seconds above 0"),
        ({"deadline": float("inf")}, "deadline=inf must be a number of seconds above 0"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"dimension": 0}, "dimension=0"),
        ({"max_length": 0}, "max_length=0"),
        ({"encoding_format": "bf16"}, "encoding_format='bf16' must be 'float' or 'base64'"),
        ({"sparse": "bm25"}, "sparse='bm25' is no SparseSide"),
        ({"sparse_url": "http://127.0.0.1:2"}, "sparse= and sparse_url= exclude each other"),
        ({"api": "vllm", "sparse": None, "sparse_url": "http://127.0.0.1:2"}, "would send the key"),
        ({"url": "127.0.0.1:8080"}, "url='127.0.0.1:8080' is no address"),
        ({"url": None}, "url=None is no address"),
        ({"url": "ftp://host"}, "is no address"),
        ({"url": "http://host:port"}, "is no address"),
        ({"url": "http://"}, "is no address"),
        ({"url": "http://a..ü"}, "is no address: Invalid IDNA hostname"),
        ({"url": "http://host/?key=1"}, "has a query or a fragment"),
        ({"headers": {"bad name": "x"}}, "'bad name' is no name of a header"),
        ({"headers": {"X-A": "a\nb"}}, "the value of 'X-A' is not a string of printable ASCII"),
        ({"headers": {"authorization": "x"}, "api_key": "k"}, "Authorization is set by api_key="),
        ({"url": "http://u:p@host", "api_key": "k"}, "exclude each other"),
        ({"api_key": "two words"}, "api_key is not a string of printable ASCII"),
        ({"api_key": 7}, "api_key is not a string of printable ASCII"),
    ],
)
def test_arguments_out_of_range_are_named(options: dict[str, object], words: str) -> None:
    given = {"url": "http://127.0.0.1:1", "api": "tei", "sparse": WordCounts(), **options}
    with pytest.raises(InvalidInputError, match=words):
        RemoteEncoder(**given)  # type: ignore[arg-type]


def test_openai_is_at_home_where_no_address_is_given() -> None:
    with RemoteEncoder(api="openai", model="text-embedding-3-small", sparse=WordCounts()) as encoder:
        assert "https://api.openai.com" in repr(encoder)


@pytest.mark.parametrize(
    ("served", "options", "words"),
    [
        ({"pooling": "splade"}, {}, "as a splade model, not as a dense one"),
        ({"pooling": "reranker"}, {}, "as a reranker model, not as a dense one"),
        ({}, {"model": "test/other"}, "serves 'test/embedder', not model='test/other'"),
        ({}, {"revision": "main"}, "at revision '0123.*', not revision='main'"),
        ({"model": "/data"}, {}, "from the folder '/data'; say which one it is with model="),
        ({"style": "vllm"}, {"model": "test/other"}, "serves 'test/embedder', not model='test/other'"),
        ({"style": "infinity"}, {"model": "test/other"}, "serves 'test/embedder', not model='test/other'"),
        ({"style": "openai"}, {"model": "test/other"}, r"The model `test/other` does not exist.*check url, api="),
        ({"style": "infinity"}, {"api": "tei"}, "does not serve /info .404"),
        ({"style": "tei"}, {"api": "openai", "model": "m"}, "does not serve /v1/embeddings .404 Not Found"),
    ],
)
def test_what_is_served_must_be_what_is_wanted(
    serve: Serve, encoder_on: EncoderOn, served: dict[str, str], options: dict[str, str], words: str
) -> None:
    encoder = encoder_on(serve(**served), **options)
    with pytest.raises(ModelLoadError, match=words):
        encoder.encode_documents(["x"])
    with pytest.raises(ModelLoadError, match=words):
        encoder.fingerprint  # noqa: B018 - asking for it is the test


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}]}, "serves 'a', 'b'; pass one as model="),
        ({"data": []}, "serves no model; pass one as model="),
        ({"data": [{"name": "a"}]}, "serves no model; pass one as model="),
        ({"models": []}, "does not list its models as"),
        ("ok", "does not list its models as"),
    ],
)
@pytest.mark.parametrize("api", ["vllm", "infinity"])
def test_a_list_of_models_must_leave_one(
    serve: Serve, encoder_on: EncoderOn, api: str, answer: object, words: str
) -> None:
    server = serve(api, info_fault=lambda handler: handler.reply(200, answer))
    with pytest.raises(ModelLoadError, match=words):
        encoder_on(server).encode_documents(["x"])


def test_an_info_route_that_does_not_say_the_kind_is_believed(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("tei", info_fault=lambda handler: handler.reply(200, {"model_id": MODEL}))
    encoder = encoder_on(server, batch_size=50, revision="abc", concurrency=1)
    assert len(encoder.encode_documents(["x"] * 40)) == 40
    assert [len(request.body["inputs"]) for request in server.posts] == [32, 8]  # TEI's own default limit
    assert encoder.fingerprint.max_length == 0


def test_a_name_for_a_served_folder_is_the_users(serve: Serve, encoder_on: EncoderOn) -> None:
    usual = encoder_on(serve("tei")).fingerprint
    assert usual.differences(encoder_on(serve("tei", model="/data"), model=MODEL).fingerprint) == []


@pytest.mark.parametrize("answer", [[], {}, {"model_id": None}, "ok", None])
def test_an_info_route_that_is_not_teis_is_reported(serve: Serve, encoder_on: EncoderOn, answer: object) -> None:
    server = serve("tei", info_fault=lambda handler: handler.reply(200, answer))
    with pytest.raises(ModelLoadError, match="does not answer /info as text-embeddings-inference does"):
        encoder_on(server).encode_documents(["x"])
