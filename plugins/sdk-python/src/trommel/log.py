"""Lines in the router's log."""

from typing import Any

from wit_world.imports import log


def trace(message: str, **fields: Any) -> None:
    _write(log.Level.TRACE, message, fields)


def debug(message: str, **fields: Any) -> None:
    _write(log.Level.DEBUG, message, fields)


def info(message: str, **fields: Any) -> None:
    _write(log.Level.INFO, message, fields)


def warn(message: str, **fields: Any) -> None:
    _write(log.Level.WARN, message, fields)


def error(message: str, **fields: Any) -> None:
    _write(log.Level.ERROR, message, fields)


def enabled(level: str) -> bool:
    """Whether lines of this level, such as `debug`, are written anywhere."""
    return log.enabled(log.Level[level.upper()])


def _write(level, message, fields):
    log.write(level, str(message), [(name, str(value)) for name, value in fields.items()])
