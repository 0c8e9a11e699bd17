"""Filters for trommel in Python: a class whose methods are the hooks, exported by `define`.

A hook that the class does not have is never called. What the constructor raises refuses the route; what `process` raises
becomes a failure: a `Failure` as it is, what the API or the state answered a failed one, anything else a malformed one with
its traceback, for the next try would end the same way. What `matches` raises ends the instance: nothing is ever taken for
`False`.
"""

import json
import re
import traceback
from functools import cached_property
from math import ceil
from struct import unpack

from componentize_py_types import Err
from wit_world.imports import types

Emission = types.Emission


class Event:
    """One event, for as long as the hook runs. What is absent is `None`."""

    __slots__ = ("_raw",)

    def __init__(self, raw):
        self._raw = raw

    @property
    def type(self) -> str:
        return self._raw.event_type

    @property
    def id(self) -> str | None:
        return self._raw.id

    @property
    def subject(self) -> str | None:
        return self._raw.subject

    @property
    def source_time(self) -> str | None:
        return self._raw.source_time

    @property
    def observed_at(self) -> int:
        """When the router saw it, in Unix nanoseconds."""
        return self._raw.observed_at

    @property
    def attempt(self) -> int:
        """1 on the first delivery."""
        return self._raw.attempt

    @property
    def headers(self) -> list[tuple[str, str]]:
        return self._raw.headers or []

    @property
    def payload(self) -> bytes | None:
        return self._raw.payload

    def header(self, name: str) -> str | None:
        """The first value under a name, whatever its case."""
        return next((value for other, value in self.headers if other.lower() == name.lower()), None)

    def text(self) -> str:
        try:
            return str(self.payload, "utf-8")
        except ValueError as error:
            raise malformed(f"the payload can't be read: {error}") from None

    def json(self):
        try:
            text = self.text()
            if _is_too_deep(text):
                raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
            return json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise malformed(f"the payload can't be read: {error}") from None


# CPython does not know how much stack it has: JSON of many more levels would end the instance.
_DEEPEST = 1000
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")


def _is_too_deep(text: str) -> bool:
    # Few payloads open as many lists and objects, and to count these is quicker than to go through them.
    if len(text) <= _DEEPEST or text.count("[") + text.count("{") <= _DEEPEST:
        return False
    depth = 0
    for bracket in _NO_BRACKETS.sub("", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _DEEPEST:
            return True
    return False


def _refuse(constant: str):
    raise ValueError(f"{constant} is no JSON")


class Failure(Exception):
    """What becomes of an event that can't be processed: made by one of the functions below."""

    def __init__(self, failure, message: str):
        super().__init__(message)
        self.failure = failure


def malformed(message: str) -> Failure:
    """The event can never be processed: straight to the dead letters."""
    return Failure(types.Failure_Malformed(message), message)


def retry(ms: int, message: str) -> Failure:
    """Passing trouble: try again after this many milliseconds."""
    return Failure(types.Failure_Retry((ms, message)), message)


def failed(message: str) -> Failure:
    """Try again by the key's policy, then dead letter."""
    return Failure(types.Failure_Failed(message), message)


def broken(message: str) -> Failure:
    """The filter itself can't go on: it is quarantined, the event is kept."""
    return Failure(types.Failure_Broken(message), message)


def _failure(error: Exception, answer=types.Failure_Failed):
    if isinstance(error, Failure):
        return error.failure
    # An `Err` is what an import answered, and `answer` what that becomes.
    other = answer if isinstance(error, Err) else types.Failure_Malformed
    return other("".join(traceback.format_exception(error)))


_OUTCOMES = (types.Outcome_Drop, types.Outcome_Keep, types.Outcome_Replace, types.Outcome_Emit)

DROP = types.Outcome_Drop()
"""Not wanted after all."""
KEEP = types.Outcome_Keep()
"""Send the event on as it is. Copies nothing back."""


def replace(payload):
    """Send the event on with this payload: bytes, text, or anything else as JSON."""
    return types.Outcome_Replace(_payload(payload))


def emit(emissions):
    """Send these instead, in this order."""
    return types.Outcome_Emit(list(emissions))


def emission(payload, subject: str | None = None, headers=()) -> Emission:
    """One output: without a subject under the event's own, the headers added to the event's."""
    headers = list(headers.items() if isinstance(headers, dict) else headers)
    for name, value in headers:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"a header is two texts, not {name!r} and {value!r}")
    return Emission(_payload(payload), subject, headers)


def _payload(payload) -> bytes:
    if isinstance(payload, (bytes, bytearray)):
        return bytes(payload)
    if not isinstance(payload, str):
        payload = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return payload.encode()


class _Exported:
    """What `define` was told."""

    route = manifest = None


def define(route, *, name, version, description="", match_reads=(), process_reads=(), capabilities=()):
    """Makes the class `Filter` that a component exports.

    `match_reads` and `process_reads` are lists of "id", "subject", "source-time", "headers" and "payload".
    """
    hooks = types.Hooks.NORMALIZE_PARAMS
    for hook in ("conditions", "matches", "process"):
        if hasattr(route, hook):
            hooks |= types.Hooks[hook.upper()]
    _Exported.route = route
    _Exported.manifest = types.Manifest(
        name, version, description, hooks, _fields(match_reads), _fields(process_reads), list(capabilities)
    )
    return Filter


def _fields(names):
    fields = types.Fields(0)
    for name in names:
        fields |= types.Fields[name.upper().replace("-", "_")]
    return fields


class Filter:
    def describe(self):
        return _Exported.manifest

    def normalize_params(self, key, params):
        try:
            route, given = _Exported.route, dict(params)
            if hasattr(route, "normalize"):
                return sorted(route.normalize(given, key).items())
            route(given, key)
            return params
        except Exception as error:
            raise Err(_failure(error, types.Failure_Malformed)) from error


class _Route:
    """One route's interest. Params that its class refused never come here: should they, nothing goes out unseen."""

    def __init__(self, key, params):
        self.problem = None
        try:
            self.route = _Exported.route(dict(params), key)
        except Exception as error:
            self.problem = _failure(error, types.Failure_Malformed).value


class Subscription(_Route):
    def conditions(self):
        any_of = [] if self.problem is not None else self.route.conditions()
        return [[_condition(*one) for one in all_of] for all_of in any_of]

    def matches(self, event):
        return self.problem is not None or bool(self.route.matches(Event(event)))

    def process(self, event):
        if self.problem is not None:
            raise Err(types.Failure_Broken(self.problem))
        try:
            outcome = self.route.process(Event(event))
            if not isinstance(outcome, _OUTCOMES):
                raise TypeError("process must return DROP, KEEP, replace(...) or emit(...)")
            return outcome
        except Exception as error:
            raise Err(_failure(error)) from error


def _condition(field, comparison, value=""):
    return types.Condition(field, types.Comparison[comparison.upper().replace("-", "_")], str(value))


class Batch(_Route):
    """`matches` for many events in one call."""

    def matches(self, events):
        index = unpack(f"<{len(events.index) // 4}I", events.index)
        layout, count, stride = index[:3]
        if layout != 1:
            raise ValueError(f"unknown layout {layout} of a batch")
        bits = (1 << count) - 1
        if self.problem is None:
            event, matches = _BatchEvent(_Columns(events.arena, index, count, stride)), self.route.matches
            # A number all at once is quicker than bit by bit.
            digits = ["01"[bool(matches(event))] for event._at in range(count)]
            bits = int("".join(reversed(digits)), 2)
        return [bits >> 64 * word & 0xFFFF_FFFF_FFFF_FFFF for word in range(ceil(count / 64))]


_ABSENT = 0xFFFF_FFFF


class _Columns:
    """The parts of a batch, each of all events, read when one is asked for first: to go over a column is quicker than to
    go to each place."""

    def __init__(self, arena, index, count, stride):
        self._arena, self._index = arena, index
        self._end, self._stride = 4 + count * stride, stride

    def _numbers(self, at):
        return self._index[4 + at : self._end : self._stride]

    def _places(self, at):
        return zip(self._numbers(at), self._numbers(at + 1))

    def _text(self, start, length):
        return str(self._arena[start : start + length], "utf-8")

    def _texts(self, at):
        text = self._text
        return [None if start == _ABSENT else text(start, length) for start, length in self._places(at)]

    @cached_property
    def types(self):
        # Neighbours of one type share its place.
        last, text, types = None, None, []
        for place in self._places(2):
            if place != last:
                last, text = place, self._text(*place)
            types.append(text)
        return types

    ids = cached_property(lambda self: self._texts(0))
    subjects = cached_property(lambda self: self._texts(4))
    source_times = cached_property(lambda self: self._texts(6))

    @cached_property
    def payloads(self):
        arena = self._arena
        return [None if start == _ABSENT else arena[start : start + length] for start, length in self._places(8)]

    observed_at = cached_property(lambda self: [high << 32 | low for low, high in self._places(10)])
    attempts = cached_property(lambda self: self._numbers(12))

    @cached_property
    def headers(self):
        return [[] if not count or first == _ABSENT else self._pairs(first, count) for first, count in self._places(13)]

    def _pairs(self, first, count):
        index, text = self._index, self._text
        begin = index[3] + 4 * first
        rows = (index[at : at + 4] for at in range(begin, begin + 4 * count, 4))
        return [(text(*row[:2]), text(*row[2:])) for row in rows]


class _BatchEvent(Event):
    """The event of a batch that stands at `_at`."""

    __slots__ = ("_at", "_columns")

    def __init__(self, columns):
        self._at, self._columns = 0, columns

    type = property(lambda self: self._columns.types[self._at])
    id = property(lambda self: self._columns.ids[self._at])
    subject = property(lambda self: self._columns.subjects[self._at])
    source_time = property(lambda self: self._columns.source_times[self._at])
    observed_at = property(lambda self: self._columns.observed_at[self._at])
    attempt = property(lambda self: self._columns.attempts[self._at])
    headers = property(lambda self: self._columns.headers[self._at])
    payload = property(lambda self: self._columns.payloads[self._at])
