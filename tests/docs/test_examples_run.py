"""Each example runs offline and says what it should; with --llm-url it asks a server; the migration pages show its output.

What needs no network is run in a process of its own that can reach none; what asks a server runs here, against one on
this machine that speaks OpenAI's chat completions.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
RETIRED = "ignore:`langchain-community` is being sunset:DeprecationWarning"
OFFLINE = """
import runpy, sys
import pytest_socket
pytest_socket.disable_socket(allow_unix_socket=True)  # which asyncio needs
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@functools.cache
def output(name: str, *arguments: str, warnings: tuple[str, ...] = ("error",)) -> str:
    """Run an example without a network and return what it prints."""
    filters = [part for warning in warnings for part in ("-W", warning)]
    done = subprocess.run(
        [sys.executable, *filters, "-c", OFFLINE, EXAMPLES / name, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(text: str, start: str = "Q: ") -> dict[str, str]:
    """Return what follows each question."""
    blocks = text.split(f"\n{start}")[1:]
    return {block.split("\n")[0]: block.split("\n", 1)[1] for block in blocks}


def table(text: str) -> dict[str, list[str]]:
    """Return the rows of a comparison: the columns are two or more spaces apart."""
    rows = (re.split(r"\s{2,}", line.strip()) for line in text.splitlines())
    return {row[0]: row[1:] for row in rows}


def test_the_rag_chain_cites_its_sections_and_refuses_where_there_is_none() -> None:
    text = output("langchain_rag.py", warnings=("error", RETIRED))
    assert "GenericFakeChatModel" in text.splitlines()[0]
    said = answers(text)
    assert len(said) == 4
    stopped = said["What happens when a worker is stopped?"]
    assert stopped.startswith("A: On SIGTERM a worker takes no new tasks and lets the running one finish. [1]\n")
    assert re.search(
        r"\[1\] cited: workers\.md \(dense 0\.\d+ #1, sparse \d+\.\d+ #1, fused .* #1, reranked .* #1", stopped
    )
    assert "[2] found: workers.md" in stopped
    assert "`BW-4017`" in said["BW-4017"]
    assert "[1] cited: tokens.md" in said["BW-4017"]
    assert "[1] cited: gateway.zh.md" in said["怎样把一部分流量发送到新版本？"]
    assert said["Who won the world cup in 1998?"].strip() == "A: I found nothing relevant to this question."


@pytest.mark.filterwarnings(RETIRED)
def test_the_rag_chain_embeds_only_what_is_new_even_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = tmp_path / "pages"

    def indexed() -> list[tuple[int, int]]:
        run_here("langchain_rag.py", monkeypatch, "worker", "--into", str(tmp_path / "kept"), "--folder", str(pages))
        counts = re.findall(r"^indexed, .*'added': (\d+), .*'skipped': (\d+)", capsys.readouterr().out, re.MULTILINE)
        return [(int(added), int(skipped)) for added, skipped in counts]

    pages.mkdir()
    (pages / "a.md").write_text("# Workers\n\nA worker pulls tasks.", encoding="utf-8")
    assert indexed() == [(1, 0), (0, 1)]
    (pages / "b.txt").write_text("The gateway limits requests.", encoding="utf-8")
    assert indexed() == [(1, 1), (0, 2)]


def test_the_agent_calls_the_retriever_and_answers_from_what_it_got() -> None:
    said = answers(output("langchain_agent.py"))
    expected = {
        "How often is a failed task tried again?": ("workers.md", "up to five times"),
        "worker.drain_timeout": ("workers.md", "thirty seconds by default"),
        "怎样把一部分流量发送到新版本？": ("gateway.zh.md", "`split-traffic`"),
    }
    assert list(said) == list(expected)
    for question, (page, words) in expected.items():
        steps = said[question].strip().splitlines()
        assert steps[0].strip() == f"calls search_handbook({question!r})"
        assert steps[1].strip().startswith(f"gets {page}, ")
        assert "reranked" in steps[1]
        assert steps[-1].startswith("A: ")
        assert words in steps[-1]
        assert steps[-1].endswith(f"({page})")


def test_the_query_engine_answers_with_sources_and_keeps_to_the_filter() -> None:
    said = answers(output("llamaindex_engine.py"))
    assert len(said) == 4
    stopped = said["What happens when a worker is stopped? (all pages)"].splitlines()
    assert stopped[0].startswith("A: On SIGTERM a worker takes no new tasks")
    scores = [float(line.split()[0]) for line in stopped[1:] if line.strip()]
    assert scores == sorted(scores, reverse=True)
    assert "workers.md, 'Stopping a worker'" in stopped[1]
    assert "tokens.md, 'Error BW-4017: token expired'" in said["error BW-4017 (all pages)"].splitlines()[1]
    filtered = [block for question, block in said.items() if question.endswith("(Chinese pages only)")]
    assert "gateway.zh.md, '灰度发布'" in filtered[0].splitlines()[1]
    assert filtered[1].strip() == "A: Empty Response"  # what answers it without the filter is English


def test_the_chat_engine_answers_a_follow_up_from_the_conversation() -> None:
    # LlamaIndex's own Memory leaves its in-memory database to the garbage collector
    text = output("llamaindex_chat.py", warnings=("error", "ignore::ResourceWarning"))
    first, second = answers(text, "user: ").values()
    assert "tokens.md, 'Getting a token'" in first.splitlines()[1]
    assert "assistant: Send name and password to `/token`." in first
    lines = second.splitlines()
    assert lines[0].strip() == "searched for: How long is an access token valid? Which error do I get after that?"
    assert "tokens.md, 'Error BW-4017: token expired'" in lines[1]
    assert "assistant: The server answers `BW-4017`" in second
    assert "alone, without the conversation, would have found 'Retrying a failed task'" in second


def test_langchains_comparison_is_of_the_same_models_and_shows_what_differs() -> None:
    text = output("migrate_langchain.py", warnings=("ignore",))
    rows = table(text)
    assert rows["texts encoded to index 76 sections"] == ["76"] * 3
    ranks = [row for name, row in rows.items() if name.startswith("rank for question")]
    assert len(ranks) == 10
    last = [[place.split(" > ")[1] for place in row] for row in ranks]
    assert sum(row[0] == row[2] for row in last) >= 9  # the same cross-encoder has the last word
    pairs = [int(count) for count in rows["pairs that the cross-encoder scored for them"]]
    assert min(pairs[:2]) > pairs[2] == 100
    assert rows["stages whose scores a result carries"] == ["0", "0", "4"]
    assert rows["English sections found when asked for Chinese ones"][2] == "0"
    assert rows["texts encoded when all are added again"] == ["76", "76", "0"]
    assert rows["words of a section added later are searched"] == ["no", "no", "yes"]


def test_llamaindexs_comparison_is_of_the_same_models_and_shows_what_differs() -> None:
    rows = table(output("migrate_llamaindex.py", warnings=("ignore",)))
    ranks = [row for name, row in rows.items() if name.startswith("rank for question")]
    assert len(ranks) == 10
    assert sum(row[0].split(" > ")[1] == row[1].split(" > ")[1] for row in ranks) >= 9
    low, high = (float(score) for score in rows["the reranker's scores, lowest and highest"][1].split())
    assert 0 <= low < high <= 1
    assert rows["nodes given to the reranker keep their scores"] == ["no", "yes", "yes"]
    assert rows["English nodes found when asked for Chinese ones"][1:] == ["0", "0"]
    assert rows["aretrieve() encodes outside the event loop"] == ["no", "yes", "yes"]
    assert rows["texts encoded to insert one more node"] == ["refused", "1", "1"]


@pytest.mark.parametrize(
    ("page", "example"),
    [
        ("from-ensemble-retriever.md", "migrate_langchain.py"),
        ("from-bge-m3-index.md", "migrate_llamaindex.py"),
    ],
)
def test_a_migration_page_shows_what_its_example_prints(page: str, example: str) -> None:
    written = (ROOT / "docs" / "migration" / page).read_text(encoding="utf-8")
    shown = re.findall(r"```text\n(.*?)```", written, re.DOTALL)
    assert output(example, warnings=("ignore",)) in shown


class Server(ThreadingHTTPServer):
    """Speaks OpenAI's chat completions: calls the tool it is offered, then answers; notes what it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(asked)
        self.server.keys.add(self.headers["Authorization"])
        if self.path != "/v1/chat/completions":
            self.send_error(404)
        elif asked.get("stream"):
            pieces = [{"role": "assistant", "content": "From "}, {"content": "the server "}, {"content": "[1]"}]
            events = [self.body("chat.completion.chunk", {"delta": piece, "finish_reason": None}) for piece in pieces]
            events.append(self.body("chat.completion.chunk", {"delta": {}, "finish_reason": "stop"}))
            self.answer("text/event-stream", "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]))
        else:
            message: dict[str, Any] = {"role": "assistant", "content": "From the server [1]"}
            reason = "stop"
            if asked.get("tools") and asked["messages"][-1]["role"] == "user":
                function = {"name": asked["tools"][0]["function"]["name"], "arguments": '{"query": "BW-4017"}'}
                message = {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": function}],
                }
                reason = "tool_calls"
            self.answer("application/json", self.body("chat.completion", {"message": message, "finish_reason": reason}))

    def body(self, kind: str, choice: dict[str, Any]) -> str:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        whole = {"id": "1", "object": kind, "created": 0, "model": "served", "choices": [{"index": 0, **choice}]}
        return json.dumps(whole if kind.endswith("chunk") else {**whole, "usage": usage})

    def answer(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def run_here(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        gc.collect()  # of what LlamaIndex's Memory leaves open, whose warning is this test's, not the next one's


WITH_MODEL = {
    "langchain_rag.py": "langchain_openai",
    "langchain_agent.py": "langchain_openai",
    "llamaindex_engine.py": "llama_index.llms.openai_like",
    "llamaindex_chat.py": "llama_index.llms.openai_like",
}


@pytest.mark.filterwarnings(RETIRED)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", WITH_MODEL)
def test_with_a_url_the_server_answers_from_what_was_found(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_here(name, monkeypatch, "--llm-url", server.url, "--llm-model", "served")
    printed = capsys.readouterr().out
    assert "From the server [1]" in printed
    assert "mock" not in printed
    assert "Fake" not in printed
    assert server.keys == {"Bearer from-the-environment"}
    assert {request["model"] for request in server.requests} == {"served"}
    sent = json.dumps([request["messages"] for request in server.requests])
    assert "BW-4017" in sent
    assert "access token of a request has expired" in sent  # a section, not only the question


@pytest.mark.filterwarnings(RETIRED)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", WITH_MODEL)
def test_with_a_url_and_without_the_client_it_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, WITH_MODEL[name], None)
    package = {"langchain_openai": "langchain-openai"}.get(WITH_MODEL[name], "llama-index-llms-openai-like")
    with pytest.raises(SystemExit, match=f"pip install {package}"):
        run_here(name, monkeypatch, "--llm-url", "http://127.0.0.1:9/v1")
