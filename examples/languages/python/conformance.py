"""The filter of ../README.md in Python."""

import os
import re

from trommel import (
    DROP,
    KEEP,
    CallError,
    Failure,
    annotate,
    api,
    broken,
    bury,
    defer,
    define,
    edit,
    emission,
    emit,
    failed,
    log,
    malformed,
    measure,
    replace,
    retry,
    state,
)

MODES = (
    "keep drop text emit malformed retry failed broken log state api echo fields trap edit outputs coded defer swap many measure"
).split()


class Conformance:
    def __init__(self, params, key):
        self.mode, self.threshold, self.reads = "keep", None, []
        for name, value in params.items():
            if name == "mode":
                if value not in MODES:
                    raise malformed(f"`mode` is not known: `{value}`")
                self.mode = value
            elif name == "threshold":
                self.threshold = integer(value)
            elif name == "reads":
                self.reads = value.split(" ")
            else:
                raise malformed(f"unknown param `{name}`")

    @classmethod
    def normalize(cls, params, key):
        route = cls(params, key)
        return params | {"mode": route.mode} | ({} if route.threshold is None else {"threshold": route.threshold})

    def interest(self):
        return {
            "condition": "" if self.threshold is None else f"/amount >= {self.threshold} || header:force",
            "process_reads": ["payload", *self.reads],
        }

    def matches(self, event):
        return event.type != "skip" and event.header("skip") != "yes"

    def process(self, event):
        if self.mode == "fields":
            return replace("".join(line(name, event.text(name)) for name in self.reads))
        if self.mode in ("echo", "trap"):
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
    except Failure:
        payload = None
    if not isinstance(payload, dict):
        raise malformed("the payload is no JSON object")
    return payload


def member(payload, name, kind):
    """A member of another type counts as absent."""
    value = payload.get(name)
    return value if type(value) is kind else kind()


def execute(action, payload, event):
    said, path, n = member(payload, "text", str), member(payload, "path", str), member(payload, "n", int)
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
            log.info(said)
            return KEEP
        case "state":
            return replace(refused(remember, said, n))
        case "api":
            return replace(call(path, said))
        case "echo":
            return replace(event.payload)
        case "edit":
            return edits(said, n, path)
        case "outputs":
            return emit(outputs(said, path))
        case "coded":
            raise malformed(said, code="own_code")
        case "defer":
            raise defer(n, said)
        case "swap":
            return replace(refused(swap, path, said))
        case "many":
            return replace(refused(many, path, said))
        case "measure":
            measure("calls", n)
            annotate("text", said)
            return KEEP
        case "trap":
            os.abort()
    raise failed(f"no such action: `{action}`")


def line(name, value):
    return f"{name}\n" if value is None else f"{name}={value}\n"


def edits(said, n, path):
    changes = edit.set("/text", said).set("/n", n).remove("/gone").rename("/old", "new")
    return changes.set("subject", path).set("header:text", said).remove("header:gone") if path else changes


def outputs(said, path):
    yield emission(said, sink="a", id=path or None)
    yield emission(said, headers={"gone": None, "text": said})
    yield emission(said, fate=bury("no_use", said))


def part(said, index):
    subject = f"part.{index}" if index % 2 else None
    return emission(said, subject, {"part": str(index), "text": said} if index else {})


def refused(call, *arguments):
    try:
        return call(*arguments)
    except CallError as error:
        raise failed(str(error)) from None


def remember(said, n):
    """Counts, and remembers the text until the next time."""
    previous = state.get("last")
    total = state.increment("sum", n, 60_000)
    if said:
        state.set("last", said)
    else:
        state.delete("last")
    return f"{total} ".encode() + (b"none" if previous is None else previous)


def swap(old, said):
    if not state.swap("swapped", old or None, said):
        raise failed("state: conflict")
    values = [b"none" if value is None else value for value in state.get_many(["swapped", "other"])]
    return b" ".join([",".join(state.keys("swap")).encode(), *values])


def many(path, said):
    state.set_many([("many/1", said), ("many/2", path)])
    state.delete_many(["many/2", "many/3"])
    values = [b"none" if value is None else value for value in state.get_many(["many/1", "many/2"])]
    return b" ".join([",".join(state.keys("many")).encode(), *values])


def call(path, said):
    answer = refused(lambda: api.call("POST", path, headers={"x-text": "1"}, body=said or None))
    if not answer.ok:
        raise failed(f"api: status {answer.status}: {answer.text()}")
    return answer.body


Filter = define(
    Conformance,
    name="conformance",
    version="1.0.0",
    description="The same filter in every language",
    match_reads=["event-type", "header:skip"],
    sinks=["a"],
    grants=[
        {"name": "api", "reason": "posts what the payload says"},
        {"name": "state", "reason": "counts, and remembers the last text"},
    ],
    metrics=[{"name": "calls", "kind": "counter", "description": "what the payload says"}],
)
