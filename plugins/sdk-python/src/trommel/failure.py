"""What becomes of an event that can't be processed."""

import traceback

from wit_world.imports import types


class Failure(Exception):
    """An end of an event, made by one of the functions below."""

    def __init__(self, kind, detail: str, code: str | None):
        super().__init__(detail)
        self.failure = types.Failure(kind, types.Cause(code, detail))


class CallError(Exception):
    """What the router refused to do: a call of the API, or of the state."""

    def __init__(self, call: str, answer):
        kind = type(answer).__name__.partition("_")[2]
        self.tag = "too-large" if kind == "TooLarge" else kind.lower()
        """`denied`, `budget`, `timeout`, `failed`, `too-large`, `conflict` or `unavailable`."""
        detail = getattr(answer, "value", None)
        super().__init__(f"{call}: {self.tag}" if detail is None else f"{call}: {self.tag}: {detail}")


def malformed(detail: str, code: str | None = None) -> Failure:
    """The event can never be processed: straight to the dead letters. The code is a word to find it by."""
    return Failure(types.FailureKind_Malformed(), detail, code)


def retry(ms: int, detail: str, code: str | None = None) -> Failure:
    """Passing trouble: try again after this many milliseconds."""
    return Failure(types.FailureKind_Retry(_wait(ms)), detail, code)


def failed(detail: str, code: str | None = None) -> Failure:
    """Try again by the key's policy, then dead letter."""
    return Failure(types.FailureKind_Failed(), detail, code)


def defer(ms: int, detail: str = "", code: str | None = None) -> Failure:
    """No failure: the event's time has not come. Ask again after this many milliseconds."""
    return Failure(types.FailureKind_Defer(_wait(ms)), detail, code)


def broken(detail: str, code: str | None = None) -> Failure:
    """The filter itself can't go on: it is quarantined, the event is kept."""
    return Failure(types.FailureKind_Broken(), detail, code)


def _wait(ms: float) -> int:
    return max(0, min(int(ms), 0xFFFF_FFFF))


def failure(error: Exception):
    """What was raised, as the contract has it."""
    if isinstance(error, Failure):
        return error.failure
    # A call may go through the next time; anything else would end the same way.
    kind = types.FailureKind_Failed() if isinstance(error, CallError) else types.FailureKind_Malformed()
    return types.Failure(kind, types.Cause(None, "".join(traceback.format_exception(error))))
