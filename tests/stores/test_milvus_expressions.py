"""What Milvus is asked: templates and values, apart."""

from __future__ import annotations

import re
from typing import Any

import pytest
from agreement import FILTERS
from vectors import FINGERPRINT, dense_of

from hybrid_core import (
    Eq,
    Gt,
)  # fmt: skip
from hybrid_core.stores.milvus.engine import MilvusEngine
from hybrid_core.stores.milvus.errors import MilvusGuard
from hybrid_core.stores.milvus.expressions import Template, inline
from hybrid_core.stores.remote.conditions import admits
from hybrid_core.stores.remote.store import RemoteStore


def test_expressions_hold_places_and_values_travel_beside_them() -> None:
    assert Template(admits(None)).text == ""
    for expression in FILTERS:
        template = Template(admits(expression))
        without = re.sub(r'orders\["[nst][0-9a-f]{24}"\]|\{v\d+\}', "", template.text)
        assert re.fullmatch(r"(array_contains_(any|all)|array_length|facts|and|or|not|==|>=|<=|[(), 0])*", without)
        assert set(re.findall(r"\{(v\d+)\}", template.text)) == set(template.values)
        assert re.fullmatch(
            r'(array_contains_(any|all)|array_length|facts|orders|and|or|not|==|>=|<=|[][(), 0-9a-fnst".e+-])*',
            inline(template),
        )


def test_for_lite_only_numbers_and_our_own_hashes_are_written_out() -> None:
    for value in ('" or 1 == 1', "G", ["ab", "x\\"], float("inf"), None, 1, True):
        template = Template()
        template.add(f"pk in {template.value(value)}")
        with pytest.raises(ValueError, match="is no number, hash or UUID"):
            inline(template)


class Recorder:
    """A client of a server, which notes what it is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def query(self, collection: str, **options: Any) -> Any:
        self.sent.append(("query", options))
        return [{"count(*)": 0}] if options["output_fields"] == ["count(*)"] else []

    def search(self, collection: str, **options: Any) -> Any:
        self.sent.append(("search", options))
        return [[]]

    def close(self) -> None:
        pass


def test_a_server_gets_templates_and_a_timeout_with_each_request() -> None:
    client = Recorder()
    guard = MilvusGuard("Milvus at http://x", 7)
    engine = MilvusEngine(client, "c", guard, vocabulary=64, timeout=7, lite=False, stop=None)
    store = RemoteStore(engine, FINGERPRINT, local=False)
    assert store.ids(Eq("a", "secret")) == store.search_dense(dense_of("q"), 3, Gt("year", 1_987)) == []
    assert store.get(["an id"]) == {}
    for _, options in client.sent:
        assert options["timeout"] == 7
        assert "{v0}" in options["filter"]
        assert not any(word in options["filter"] for word in ("secret", "1987", "an id", "year"))
        assert options["filter_params"]
    searched = [options["filter"] for kind, options in client.sent if kind == "search"]
    assert re.fullmatch(r'\(\(orders\["n[0-9a-f]{24}"\] >= \{v0\}\) or array_length\(facts\) == 0\)', searched[0])
