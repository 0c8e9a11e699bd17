"""JSON to values and back, and what goes out as bytes."""

import json
import re
from math import isfinite

# CPython does not know how much stack it has: JSON of many more levels would end the instance.
_DEEPEST = 1000
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")


def _refuse(constant: str):
    raise ValueError(f"{constant} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
_scan = _decoder.scan_once
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
# How values of these types are written: the encoder makes much of each.
_SIMPLE = {
    bool: lambda value: b"true" if value else b"false",
    float: lambda value: repr(value).encode() if isfinite(value) else _encode(value),
    int: lambda value: b"%d" % value,
    str: lambda value: json.encoder.encode_basestring(value).encode(),
    bytes: lambda value: value,
    bytearray: bytes,
}


def parsed(text: str):
    """The value of a JSON text. Raises a ValueError when it is none, or is nested too deep."""
    _check_depth(text)
    return _decoder.decode(text)


def member(text: str):
    """The value of a member: JSON without blanks around it, of which the router has only seen where it ends."""
    if len(text) > _DEEPEST:
        _check_depth(text)
    try:
        return _scan(text, 0)[0]
    except StopIteration as error:
        raise ValueError(f"expected a value at character {error.value}") from None


def _check_depth(text: str) -> None:
    # Few texts open as many lists and objects, and to count these is quicker than to go through them.
    if len(text) <= _DEEPEST or text.count("[") + text.count("{") <= _DEEPEST:
        return
    depth = 0
    for bracket in _NO_BRACKETS.sub("", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")


def written(value) -> bytes:
    """A value as JSON; bytes are JSON already."""
    simple = _SIMPLE.get(type(value))
    return simple(value) if simple is not None else _encode(value).encode()


def payload(value) -> bytes:
    """What goes out: bytes as they are, text as UTF-8, anything else as JSON."""
    return value.encode() if isinstance(value, str) else written(value)
