"""A small evaluation set in two languages, and writing it the ways that are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_core import Passage

TEXTS = {
    "retry": "A failed job is tried again. The wait doubles after every attempt, up to one hour.",
    "queue": "A worker pulls the oldest job from the queue that it is assigned to.",
    "shutdown": "A worker that receives SIGTERM finishes its task before it stops.",
    "limit": "网关按客户端地址统计请求次数，超过上限的请求会被拒绝。",
    "schedule": "定时任务在每天凌晨执行，上一次运行还没有结束时会跳过。",
    "secret": "Rotate a secret by writing the new value first and revoking the old one a day later.",
    "backup": "Backups are written every night and kept for thirty days.",
    "index": "An index makes a query on a large table fast, and every write a little slower.",
    "cache": "The cache drops the entry that was not read for the longest time.",
    "login": "用户登录后会得到一个令牌，令牌在两个小时后失效。",
    "metrics": "Each service reports its latency and the number of errors once a minute.",
    "proxy": "The proxy forwards a request to the server with the fewest open connections.",
}
QUERIES = {
    "q1": "how long is the wait before a failed job is tried again?",
    "q2": "what happens when a worker is stopped?",
    "q3": "怎样限制请求次数？",
    "q4": "how do I change a secret?",
    "q5": "which entry leaves the cache first?",
    "q6": "when does the login token expire?",
}
QRELS = {
    "q1": {"retry": 2, "queue": 0},
    "q2": {"shutdown": 2, "queue": 1},
    "q3": {"limit": 1, "proxy": 0},
    "q4": {"secret": 1},
    "q5": {"cache": 1},
    "q6": {"login": 1},
}
CORPUS = [Passage(id_, text) for id_, text in TEXTS.items()]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_beir(folder: Path) -> Path:
    """Write the set in BEIR's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "corpus.jsonl", [{"_id": id_, "title": "", "text": text} for id_, text in TEXTS.items()])
    write_rows(folder / "queries.jsonl", [{"_id": id_, "text": text} for id_, text in QUERIES.items()])
    lines = [f"{query}\t{document}\t{grade}" for query, grades in QRELS.items() for document, grade in grades.items()]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines, ""]), encoding="utf-8")
    return folder


def write_trec(folder: Path) -> Path:
    """Write the set as topics and TREC qrels, without the corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    topics = [f"{id_}\t{text}\n" for id_, text in QUERIES.items()]
    (folder / "topics.tsv").write_text("".join(topics), encoding="utf-8")
    lines = [f"{query} 0 {document} {grade}\n" for query, grades in QRELS.items() for document, grade in grades.items()]
    (folder / "qrels.txt").write_text("".join(lines), encoding="utf-8")
    return folder
