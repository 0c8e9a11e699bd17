"""Events, as a hook sees them: each part is made of bytes when it is asked for, and not before."""

from struct import unpack_from

from .failure import malformed
from .text import member, parsed


class Fields:
    """Fields that a hook is handed, by their names."""

    __slots__ = ("names", "places")

    def __init__(self, names):
        self.names = list(names)
        self.places = {name: place for place, name in enumerate(self.names)}

    def place(self, name: str) -> int:
        place = self.places.get(name)
        if place is None:
            read = ", ".join(f"`{name}`" for name in self.names) or "nothing"
            raise KeyError(f"`{name}` is not read, only {read}: name it in `match_reads` or `process_reads`")
        return place


class Event:
    """One event, for as long as the hook runs."""

    __slots__ = ("_fields", "_places", "_values", "_json")

    def __init__(self, fields: Fields, values: list[bytes | None]):
        self._fields, self._places, self._values, self._json = fields, fields.places, values, None

    def _value(self, place: int) -> bytes | None:
        return self._values[place]

    def get(self, name: str, default=None):
        """A member of the payload as the value that its JSON has, another field as text.

        What is absent is `default`; `name in event` tells it from a member that is null.
        """
        place = self._places.get(name)
        if place is None:
            return self._in_payload(name, default)
        value = self._value(place) if self._values is None else self._values[place]
        if value is None:
            return default
        try:
            text = str(value, "utf-8")
            return member(text) if name[0] == "/" else text
        except (ValueError, RecursionError) as error:
            raise _unreadable(name, error) from None

    def __contains__(self, name: str) -> bool:
        if name not in self._places:
            return self._in_payload(name, _ABSENT) is not _ABSENT
        return self._value(self._places[name]) is not None

    def bytes(self, name: str = "payload") -> bytes | None:
        """A field as it is written, of a member its JSON."""
        return self._value(self._fields.place(name))

    def text(self, name: str = "payload") -> str | None:
        value = self.bytes(name)
        try:
            return None if value is None else str(value, "utf-8")
        except ValueError as error:
            raise _unreadable(name, error) from None

    def json(self):
        """The whole payload as the value that its JSON has."""
        if self._json is None:
            try:
                self._json = (parsed(self.text()),)
            except (ValueError, RecursionError) as error:
                raise _unreadable("payload", error) from None
        return self._json[0]

    def header(self, name: str) -> str | None:
        """The first value under a name, whatever its case."""
        return self.get(f"header:{name}")

    payload = property(lambda self: self.bytes(), doc="The bytes, as they came.")
    subject = property(lambda self: self.get("subject"))
    type = property(lambda self: self.get("event-type"))
    id = property(lambda self: self.get("id"))

    def _in_payload(self, name: str, default):
        """A member of a payload that is there as a whole."""
        if name[:1] != "/" or "payload" not in self._places:
            self._fields.place(name)
        value = self.json()
        for step in name[1:].split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and _is_place(step) and int(step) < len(value):
                value = value[int(step)]
            else:
                return default
        return value


def _is_place(step: str) -> bool:
    return step.isascii() and step.isdigit() and (step == "0" or step[0] != "0") and len(step) < 10


def _unreadable(name: str, error: Exception):
    what = "the payload" if name == "payload" else f"`{name}`"
    return malformed(f"{what} can't be read: {error}")


_LAYOUT = 2
_ABSENT = object()
_NOWHERE = 0xFFFF_FFFF


class BatchEvent(Event):
    """The events of a batch, one after the other in one object: the one whose numbers begin at `_row`."""

    __slots__ = ("_arena", "_index", "_row", "count")

    def __init__(self, fields: Fields, batch):
        super().__init__(fields, None)
        self._arena = batch.arena
        self._index = unpack_from(f"<{len(batch.index) // 4}I", batch.index)
        layout, self.count, _ = self._index[:3]
        if layout != _LAYOUT:
            raise ValueError(f"unknown layout {layout} of a batch")

    def __iter__(self):
        row = 2 * self._index[2]
        for number in range(self.count):
            self._row, self._json = 3 + number * row, None
            yield self

    def _value(self, place: int) -> bytes | None:
        at = self._row + 2 * place
        start = self._index[at]
        return None if start == _NOWHERE else self._arena[start : start + self._index[at + 1]]
