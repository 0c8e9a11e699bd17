"""The filter of ../README.md in Python."""

import os
import re

from componentize_py_types import Err
from trommel import DROP, KEEP, broken, define, emission, emit, failed, malformed, replace, retry
from wit_world.imports import api, log, state

MODES = "keep drop text emit malformed retry failed broken log state api echo fields trap".split()


class Conformance:
    def __init__(self, params, key):
        self.mode, self.threshold = "keep", None
        for name, value in params.items():
            if name == "mode":
                if value not in MODES:
                    raise malformed(f"`mode` is not known: `{value}`")
                self.mode = value
            elif name == "threshold":
                self.threshold = integer(value)
            else:
                raise malformed(f"unknown param `{name}`")

    @classmethod
    def normalize(cls, params, key):
        route = cls(params, key)
        normal = {"mode": route.mode}
        if route.threshold is not None:
            normal["threshold"] = str(route.threshold)
        return normal

    def conditions(self):
        if self.threshold is None:
            return []
        return [[("/amount", "greater-or-equal", self.threshold)], [("header:force", "exists")]]

    def matches(self, event):
        if event.type == "skip":
            return False
        if event.type == "projection":
            return [event.id, event.subject, event.source_time, event.payload] == [None] * 4
        return ("skip", "yes") not in event.headers

    def process(self, event):
        if self.mode in ("echo", "fields", "trap"):
            return execute(self.mode, {}, event)
        payload = members(event)
        return execute(member(payload, "do", str) or self.mode, payload, event)


def integer(value):
    if not re.fullmatch("[+-]?[0-9]{1,30}", value.strip(" ")) or not -(2**63) <= int(value) < 2**63:
        raise malformed(f"`threshold` is no integer: `{value}`")
    return int(value)


def members(event):
    try:
        payload = event.json()
    except Exception:
        payload = None
    if not isinstance(payload, dict):
        raise malformed("the payload is no JSON object")
    return payload


def member(payload, name, kind):
    """A member of another type counts as absent."""
    value = payload.get(name)
    return value if type(value) is kind else kind()


def execute(action, payload, event):
    said, n = member(payload, "text", str), member(payload, "n", int)
    match action:
        case "keep":
            return KEEP
        case "drop":
            return DROP
        case "text":
            return replace(said)
        case "emit":
            return emit(part(said, index) for index in range(n))
        case "malformed":
            raise malformed(said)
        case "retry":
            raise retry(n, said)
        case "failed":
            raise failed(said)
        case "broken":
            raise broken(said)
        case "log":
            log.write(log.Level.INFO, said)
            return KEEP
        case "state":
            return replace(remember(said, n))
        case "api":
            return replace(call(member(payload, "path", str), said))
        case "echo":
            return replace(event.payload)
        case "fields":
            return replace(fields(event))
        case "trap":
            os.abort()
    raise failed(f"no such action: `{action}`")


def part(said, index):
    subject = f"part.{index}" if index % 2 else None
    return emission(said, subject, [("part", str(index)), ("text", said)] if index else [])


def remember(said, n):
    """Counts, and remembers the text until the next time."""
    try:
        previous = state.get("last")
        total = state.add("sum", n, 60_000)
        if said:
            state.set("last", said.encode(), None)
        else:
            state.delete("last")
    except Err as error:
        kind = type(error.value).__name__.removeprefix("StateError_")
        raise failed("state: " + {"TooLarge": "too-large"}.get(kind, kind.lower())) from None
    return f"{total} ".encode() + (b"none" if previous is None else previous)


def call(path, said):
    try:
        return api.call("POST", path, said or None)
    except Err as error:
        match error.value:
            case api.ApiError_Status((status, body)):
                raise failed(f"api: status {status}: {body}") from None
            case api.ApiError_Denied(why):
                raise failed(f"api: denied: {why}") from None
            case api.ApiError_Failed(why):
                raise failed(f"api: failed: {why}") from None
            case api.ApiError_Budget():
                raise failed("api: budget") from None
            case api.ApiError_Timeout():
                raise failed("api: timeout") from None


def fields(event):
    lines = [
        f"type={event.type}",
        f"id={event.id or ''}",
        f"subject={event.subject or ''}",
        f"time={event.source_time or ''}",
        f"observed={event.observed_at // 1_000_000}",
        f"attempt={event.attempt}",
        *(f"header {name}={value}" for name, value in event.headers),
        f"payload={len(event.payload)} bytes",
    ]
    return "".join(line + "\n" for line in lines)


Filter = define(
    Conformance,
    name="conformance",
    version="1.0.0",
    description="The same filter in every language",
    match_reads=["headers"],
    process_reads=["id", "subject", "source-time", "headers", "payload"],
    capabilities=["api", "state"],
)
