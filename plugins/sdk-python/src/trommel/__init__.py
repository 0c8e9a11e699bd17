"""Filters for trommel in Python: a class whose methods are the hooks, exported by `define`.

A hook that the class does not have is never called. What the constructor raises refuses the route; what `process` or `tick`
raises becomes a failure: a `Failure` as it is, a `CallError` of the API or the state a failed one, anything else a malformed
one with its traceback, for the next try would end the same way. What `matches` raises ends the instance: nothing is ever
taken for `False`.
"""

from . import api as api, log as log, state as state
from .define import define as define
from .event import Event as Event
from .failure import (
    CallError as CallError,
    Failure as Failure,
    broken as broken,
    defer as defer,
    failed as failed,
    malformed as malformed,
    retry as retry,
)
from .outcome import (
    DROP as DROP,
    KEEP as KEEP,
    Edits as Edits,
    Emission as Emission,
    Outcome as Outcome,
    bury as bury,
    edit as edit,
    emission as emission,
    emit as emit,
    replace as replace,
)
from .telemetry import annotate as annotate, measure as measure
