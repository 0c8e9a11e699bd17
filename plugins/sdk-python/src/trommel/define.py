"""A filter's class, made what a component exports."""

import json
from collections.abc import Iterable
from math import ceil
from typing import Any

from componentize_py_types import Err, Ok
from wit_world.imports import types

from .event import BatchEvent, Event, Fields
from .failure import failure
from .outcome import decision, outcome


class _Exported:
    """What `define` was told."""

    route: Any = None
    manifest = ""
    interest: dict[str, Any] = {}


def define(
    route: type,
    *,
    name: str,
    version: str,
    description: str = "",
    match_reads: Iterable[str] | None = None,
    process_reads: Iterable[str] | None = None,
    sinks: Iterable[str] = (),
    grants: Iterable[str | dict[str, str]] = (),
    **told: Any,
) -> type["Filter"]:
    """Makes the class `Filter` that a component exports.

    `match_reads` and `process_reads` name the fields that the hooks are handed, `["payload"]` by default. `told` is what
    else the manifest has: `params`, `api`, `memory`, `interval`, `metrics`, `output_schema`.
    """
    hooks = ["normalize-params"] if hasattr(route, "normalize") else []
    for hook in ("matches", "process"):
        if hasattr(route, hook):
            hooks += [hook, f"{hook}-batch"]
    if hasattr(route, "tick"):
        hooks.append("tick")
    wished = [{"name": grant} if isinstance(grant, str) else grant for grant in grants]
    manifest = dict(name=name, version=version, description=description, hooks=hooks, grants=wished, **told)
    whole = {hook: ["payload"] if hasattr(route, hook) else [] for hook in ("matches", "process")}
    _Exported.route = route
    _Exported.manifest = json.dumps(manifest)
    _Exported.interest = dict(
        condition="",
        match_reads=whole["matches"] if match_reads is None else list(match_reads),
        process_reads=whole["process"] if process_reads is None else list(process_reads),
        sinks=list(sinks),
    )
    return Filter


class Filter:
    """The functions that a component exports."""

    def describe(self) -> str:
        return _Exported.manifest

    def normalize_params(self, key, params):
        if not hasattr(_Exported.route, "normalize"):
            return params
        try:
            return [(name, str(value)) for name, value in _Exported.route.normalize(dict(params), key).items()]
        except Exception as error:
            raise Err(failure(error)) from error


class Subscription:
    """One route."""

    def __init__(self, key, params):
        try:
            route = _Exported.route(dict(params), key)
            said = _Exported.interest | (route.interest() if hasattr(route, "interest") else {})
        except Exception as error:
            raise Err(failure(error)) from error
        self._route, self._said = route, said
        self._match_fields, self._process_fields = Fields(said["match_reads"]), Fields(said["process_reads"])

    def interest(self):
        said = self._said
        return types.Interest(said["condition"], self._match_fields.names, self._process_fields.names, list(said["sinks"]))

    def matches(self, event):
        return decision(self._route.matches(Event(self._match_fields, event)))

    def matches_batch(self, events):
        batch, matches = BatchEvent(self._match_fields, events), self._route.matches
        # A number all at once is quicker than bit by bit.
        digits = ["01"[decision(matches(event))] for event in batch]
        bits = int("".join(reversed(digits)), 2)
        return [bits >> 64 * word & 0xFFFF_FFFF_FFFF_FFFF for word in range(ceil(batch.count / 64))]

    def process(self, event):
        try:
            return outcome(self._route.process(Event(self._process_fields, event)))
        except Exception as error:
            raise Err(failure(error)) from error

    def process_batch(self, events):
        return [self._answer(event) for event in BatchEvent(self._process_fields, events)]

    def _answer(self, event):
        try:
            return Ok(outcome(self._route.process(event)))
        except Exception as error:
            return Err(failure(error))

    def tick(self, now):
        try:
            return list(self._route.tick(now) or ())
        except Exception as error:
            raise Err(failure(error)) from error
