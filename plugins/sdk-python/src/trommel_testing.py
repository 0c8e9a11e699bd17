"""Runs a filter's class under any Python, without a router: import this before anything else of the filter.

    from trommel_testing import event, router
    from app import MyFilter

    assert MyFilter({"min": "5"}, "key").process(event({"amount": 7})) == edit.set("/large", True)
"""

import sys
from dataclasses import make_dataclass
from enum import Enum
from types import ModuleType
from typing import Any


class Err(Exception):
    """What componentize-py raises for an error of the router."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module
    return module


def _records(**fields: str) -> dict[str, type]:
    return {name: make_dataclass(name, names.split()) for name, names in fields.items()}


class Router:
    """What stands in for the router: what it was told, and what it answers."""

    def __init__(self):
        self.lines: list[tuple[str, str, dict[str, str]]] = []
        """Lines that were logged: level, message, fields."""
        self.measures: list[tuple[str, float]] = []
        self.annotations: list[tuple[str, str]] = []
        self.state: dict[str, bytes] = {}
        """The store. A ttl is not kept."""

    def api(self, request):
        """Answers a request with a status and a body. Put a function of your own here."""
        raise Err(_api.ApiError_Denied(f"`{request.method} {request.path}`: the test answers no calls"))


router = Router()


def _call(request):
    status, body = router.api(request)
    return _api.Response(status, [], body)


def _increment(key, delta, ttl_ms):
    try:
        total = int(router.state.get(key, b"0")) + delta
    except ValueError:
        raise Err(_state.StateError_Conflict()) from None
    router.state[key] = b"%d" % total
    return total


def _swap(key, old, new, ttl_ms):
    if router.state.get(key) != old:
        raise Err(_state.StateError_Conflict())
    router.state[key] = new


_types = _module(
    "wit_world.imports.types",
    **_records(
        Interest="condition match_reads process_reads sinks",
        Cause="code detail",
        Edit="field change",
        Emission="payload sink id not_before subject headers fate",
        Failure="kind cause",
        Change_Set="value",
        Change_Remove="",
        Change_Rename="value",
        Fate_Send="",
        Fate_Bury="value",
        Outcome_Drop="",
        Outcome_Keep="",
        Outcome_Replace="value",
        Outcome_Edit="value",
        Outcome_Emit="value",
        FailureKind_Malformed="",
        FailureKind_Retry="value",
        FailureKind_Failed="",
        FailureKind_Defer="value",
        FailureKind_Broken="",
    ),
)
_api = _module(
    "wit_world.imports.api",
    call=_call,
    **_records(Request="api method path headers body", Response="status headers body", ApiError_Denied="value"),
)
_state = _module(
    "wit_world.imports.state",
    get=lambda key: router.state.get(key),
    get_many=lambda keys: [router.state.get(key) for key in keys],
    set=lambda key, value, ttl_ms: router.state.update({key: value}),
    set_many=lambda values, ttl_ms: router.state.update(values),
    delete=lambda key: router.state.pop(key, None) and None,
    delete_many=lambda keys: [router.state.pop(key, None) for key in keys] and None,
    keys=lambda prefix: [key for key in router.state if key.startswith(prefix)],
    increment=_increment,
    swap=_swap,
    **_records(StateError_Conflict=""),
)
_log = _module(
    "wit_world.imports.log",
    Level=Enum("Level", ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]),
    enabled=lambda level: True,
    write=lambda level, message, fields: router.lines.append((level.name.lower(), message, dict(fields))),
)
_telemetry = _module(
    "wit_world.imports.telemetry",
    measure=lambda metric, value: router.measures.append((metric, value)),
    annotate=lambda name, value: router.annotations.append((name, value)),
)
_imports = _module("wit_world.imports", types=_types, api=_api, state=_state, log=_log, telemetry=_telemetry)
_module("wit_world", imports=_imports)
_module("componentize_py_types", Err=Err, **_records(Ok="value"))

# Only now is there what the kit imports.
from trommel.event import Event, Fields  # noqa: E402
from trommel.text import written  # noqa: E402


def event(payload: Any, **fields: Any) -> Event:
    """An event of a payload, bytes or anything as JSON, and of other fields: `event({"a": 1}, subject="orders.eu")`.

    In names of fields an underscore stands for the hyphen; headers are `headers={"Region": "eu"}`.
    """
    headers = {f"header:{name}": value for name, value in fields.pop("headers", {}).items()}
    plain = {name.replace("_", "-"): value for name, value in fields.items()}
    values = {"subject": "test", "event-type": "test", "id": "1"} | plain | headers
    texts = [str(value).encode() for value in values.values()]
    return Event(Fields(["payload", *values]), [written(payload), *texts])
