"""What becomes of an event that was processed."""

from collections.abc import Iterable, Mapping
from typing import Any

from wit_world.imports import types

from .text import payload as payload_of, written

Headers = Mapping[str, str | None] | Iterable[tuple[str, str | None]]
Emission = types.Emission
Outcome = types.Outcome_Drop | types.Outcome_Keep | types.Outcome_Replace | types.Outcome_Edit | types.Outcome_Emit

DROP = types.Outcome_Drop()
"""Not wanted after all."""
KEEP = types.Outcome_Keep()
"""Send the event on as it is. Copies nothing back."""


def replace(payload: Any) -> Outcome:
    """Send the event on with this payload: bytes, text, or anything else as JSON."""
    return types.Outcome_Replace(payload_of(payload))


class Edits:
    """Changes of an event, made one after the other. Each call adds one and leaves the list that it was called on."""

    __slots__ = ("changes",)

    def __init__(self, changes=()):
        self.changes = changes

    def set(self, field: str, value: Any) -> "Edits":
        """A member's new value, anything as JSON or bytes that are JSON; of a header or the subject a text."""
        if field[:1] not in ("/", ""):
            value = _text(field, value).encode()
        else:
            value = written(value)
        return self._with(field, types.Change_Set(value))

    def remove(self, field: str) -> "Edits":
        return self._with(field, types.Change_Remove())

    def rename(self, field: str, name: str) -> "Edits":
        return self._with(field, types.Change_Rename(name))

    def _with(self, field, change):
        return Edits((*self.changes, types.Edit(field, change)))

    def __eq__(self, other):
        return isinstance(other, Edits) and self.changes == other.changes

    def __repr__(self):
        return f"Edits({self.changes!r})"


edit = Edits()
"""Send the event on with changes: `edit.set("/total", 17).remove("header:Authorization")`."""


def emit(emissions: Iterable[Emission]) -> Outcome:
    """Send these instead, in this order."""
    return types.Outcome_Emit(list(emissions))


def bury(code: str | None, detail: str):
    """The fate of one output: a dead letter beside what else comes of the event."""
    return types.Fate_Bury(types.Cause(code, detail))


_SEND = types.Fate_Send()


def emission(
    payload: Any,
    subject: str | None = None,
    headers: Headers = (),
    *,
    sink: str | None = None,
    id: str | None = None,
    not_before: int | None = None,
    fate=_SEND,
) -> Emission:
    """One output: without a subject under the event's own, the headers added to the event's; `None` removes one.

    `sink` is one of the filter's `sinks`, `not_before` in Unix milliseconds, `fate` what `bury(...)` returns.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    pairs = [(name, value if value is None else _text(name, value)) for name, value in pairs]
    return Emission(payload_of(payload), sink, id, not_before, subject, pairs, fate)


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{field}` is a text, not {value!r}")
    return value


_OUTCOMES = (types.Outcome_Keep, types.Outcome_Drop, types.Outcome_Replace, types.Outcome_Emit)


def outcome(answer) -> Outcome:
    """What `process` returned, as the contract has it."""
    if isinstance(answer, Edits):
        return types.Outcome_Edit(list(answer.changes))
    if isinstance(answer, _OUTCOMES):
        return answer
    _refuse_to_wait("process", answer)
    raise TypeError("process must return DROP, KEEP, replace(...), edit.set(...) or emit(...)")


def decision(answer) -> bool:
    """What `matches` returned."""
    if not isinstance(answer, bool):
        _refuse_to_wait("matches", answer)
    return bool(answer)


def _refuse_to_wait(hook: str, answer) -> None:
    if hasattr(answer, "__await__"):
        answer.close()
        raise TypeError(f"{hook} can't wait: it must not be async")
