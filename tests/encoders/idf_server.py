"""The Qdrant server of the store tests, with what frequencies are asked by: counts under a filter, queries in batches."""

from __future__ import annotations

import json
from typing import Any

from fake_qdrant import FakeQdrant
from qdrant_client.http import models


class IdfQdrant(FakeQdrant):
    """A server on 127.0.0.1."""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """Return the `result` of a request."""
        name, _, rest = path.removeprefix("/collections/").partition("/")
        match method, rest.partition("?")[0]:
            case "POST", "points/count":
                return self.client.count(name, models.CountRequest(**body).filter)
            case "POST", "points/query/batch":
                answers = self.client.query_batch_points(name, models.QueryRequestBatch(**body).searches)
                return [json.loads(answer.model_dump_json()) for answer in answers]
        return super().answer(method, path, body)
