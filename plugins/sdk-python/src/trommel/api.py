"""The router's APIs. What it refuses is raised, a `CallError`; an answer of any status is one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from componentize_py_types import Err
from wit_world.imports import api as router

from .failure import CallError
from .text import parsed, payload


@dataclass
class Response:
    """The answer of an API, whatever its status."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """The first value under a name, whatever its case."""
        return next((value for other, value in self.headers if other.lower() == name.lower()), None)

    def text(self) -> str:
        return str(self.body, "utf-8")

    def json(self) -> Any:
        return parsed(self.text())


def call(
    method: str, path: str, *, api: str | None = None, headers: Mapping[str, str] | None = None, body: Any = None
) -> Response:
    """Calls the API without a name, or `api`. The path is with its query."""
    sent = None if body is None else payload(body)
    try:
        answer = router.call(router.Request(api, method, path, list((headers or {}).items()), sent))
    except Err as error:
        raise CallError("api", error.value) from None
    return Response(answer.status, answer.headers, answer.body)
