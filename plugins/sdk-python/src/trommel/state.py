"""The small store of the filter and key. A value is bytes; text and anything else, as JSON, are made bytes.

What the router refuses is raised, a `CallError`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from componentize_py_types import Err
from wit_world.imports import state

from .failure import CallError
from .text import payload


def _asked(call, *arguments):
    try:
        return call(*arguments)
    except Err as error:
        raise CallError("state", error.value) from None


def get(key: str) -> bytes | None:
    return _asked(state.get, key)


def get_many(keys: list[str]) -> list[bytes | None]:
    """The values of many keys, in their order."""
    return _asked(state.get_many, keys)


def set(key: str, value: Any, ttl_ms: int | None = None) -> None:
    _asked(state.set, key, payload(value), ttl_ms)


def set_many(values: Mapping[str, Any] | Iterable[tuple[str, Any]], ttl_ms: int | None = None) -> None:
    """Sets many values, of one key the last. All are set or none, but for a store that routers share."""
    pairs = values.items() if isinstance(values, Mapping) else values
    _asked(state.set_many, [(key, payload(value)) for key, value in pairs], ttl_ms)


def delete(key: str) -> None:
    _asked(state.delete, key)


def delete_many(keys: list[str]) -> None:
    """Deletes many keys. Those that are not there stay away."""
    _asked(state.delete_many, keys)


def keys(prefix: str = "") -> list[str]:
    """The keys that begin with `prefix`, at most 1,000."""
    return _asked(state.keys, prefix)


def increment(key: str, delta: int = 1, ttl_ms: int | None = None) -> int:
    """Adds to a number, and returns the sum. Without a ttl the number keeps the one it has."""
    return _asked(state.increment, key, delta, ttl_ms)


def swap(key: str, old: Any, new: Any, ttl_ms: int | None = None) -> bool:
    """Sets a value if the present one is `old`, `None` for absent. False if it is another."""
    try:
        _asked(state.swap, key, None if old is None else payload(old), payload(new), ttl_ms)
    except CallError as error:
        if error.tag == "conflict":
            return False
        raise
    return True
