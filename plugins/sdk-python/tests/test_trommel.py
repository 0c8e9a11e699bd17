"""`python3 -m unittest discover plugins/sdk-python/tests`: the columns of a batch show the same events as single calls do."""

import json
import sys
import unittest
from dataclasses import dataclass
from enum import Enum, Flag
from pathlib import Path
from struct import pack
from types import ModuleType, SimpleNamespace


class Err(Exception):
    """What componentize-py makes, as far as trommel.py uses it."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


@dataclass
class Value:
    value: object = None


def stand_in():
    types = SimpleNamespace(
        Emission=tuple,
        Manifest=lambda *values: values,
        Condition=lambda *values: values,
        Hooks=Flag("Hooks", ["NORMALIZE_PARAMS", "CONDITIONS", "MATCHES", "PROCESS"]),
        Fields=Flag("Fields", ["ID", "SUBJECT", "SOURCE_TIME", "HEADERS", "PAYLOAD"]),
        Comparison=Enum("Comparison", ["EXISTS", "EQUALS"]),
    )
    for name in ("Failure_Malformed", "Failure_Retry", "Failure_Failed", "Failure_Broken"):
        setattr(types, name, type(name, (Value,), {}))
    for name in ("Outcome_Drop", "Outcome_Keep", "Outcome_Replace", "Outcome_Emit"):
        setattr(types, name, type(name, (Value,), {}))
    for name, contents in [
        ("componentize_py_types", {"Err": Err}),
        ("wit_world", {}),
        ("wit_world.imports", {"types": types}),
    ]:
        module = ModuleType(name)
        vars(module).update(contents)
        sys.modules[name] = module


stand_in()
sys.path.insert(0, str(Path(__file__).parent.parent / "src"))
import trommel  # noqa: E402

RAW = [
    SimpleNamespace(event_type="", id=None, subject=None, source_time=None, observed_at=0, attempt=1, headers=None, payload=None),
    SimpleNamespace(
        event_type="größer \U0001f600", id="", subject="a.b", source_time="2026-01-02T03:04:05Z", attempt=7,
        observed_at=1767225600123456789, headers=[("a", ""), ("ä", "é")], payload=b'{"n":"\0"}',
    ),
    SimpleNamespace(event_type="x", id="1", subject="", source_time=None, observed_at=2**32 - 1, attempt=1, headers=[], payload=b""),
]


def numbers(*all):
    return pack(f"<{len(all)}I", *all)


def columns(events):
    """A batch as the router hands it over."""
    arena, rows, table = bytearray(), [], []

    def part(value):
        if value is None:
            return [0xFFFF_FFFF, 0]
        raw = value.encode() if isinstance(value, str) else value
        arena.extend(raw)
        return [len(arena) - len(raw), len(raw)]

    for event in events:
        first = len(table) // 4
        for name, value in event.headers or []:
            table += part(name) + part(value)
        for value in (event.id, event.event_type, event.subject, event.source_time, event.payload):
            rows += part(value)
        rows += [event.observed_at & 0xFFFF_FFFF, event.observed_at >> 32, event.attempt]
        rows += [0xFFFF_FFFF, 0] if event.headers is None else [first, len(event.headers)]
    index = numbers(1, len(events), 15, 4 + len(rows), *rows, *table)
    return SimpleNamespace(arena=bytes(arena), index=index)


class Everything:
    seen = []

    def __init__(self, params, key):
        pass

    def matches(self, event):
        self.seen.append(
            (event.type, event.id, event.subject, event.source_time, event.observed_at, event.attempt, event.headers, event.payload)
        )
        return event.attempt == 7


class Batches(unittest.TestCase):
    def setUp(self):
        self.filter = trommel.define(Everything, name="everything", version="1.0.0", match_reads=["source-time"])()

    def test_a_batch_shows_the_events_that_single_calls_show(self):
        Everything.seen.clear()
        single = [trommel.Subscription("key", []).matches(event) for event in RAW]
        alone = list(Everything.seen)
        Everything.seen.clear()
        bits = trommel.Batch("key", []).matches(columns(RAW))
        self.assertEqual(Everything.seen, alone)
        self.assertEqual((single, bits), ([False, True, False], [0b010]))

    def test_a_batch_has_as_many_bits_as_events(self):
        for count in (1, 63, 64, 65, 130):
            words = trommel.Batch("key", []).matches(columns([RAW[1]] * count))
            self.assertEqual(sum(word << 64 * at for at, word in enumerate(words)), 2**count - 1)
            self.assertEqual(len(words), (count + 63) // 64)

    def test_an_unknown_layout_is_an_error_never_an_answer(self):
        with self.assertRaisesRegex(ValueError, "layout 2"):
            trommel.Batch("key", []).matches(SimpleNamespace(arena=b"", index=numbers(2, 1, 15, 19)))

    def test_the_manifest_names_the_hooks_that_there_are(self):
        hooks = trommel.types.Hooks
        self.assertEqual(self.filter.describe()[3], hooks.NORMALIZE_PARAMS | hooks.MATCHES)
        self.assertEqual(self.filter.describe()[4], trommel.types.Fields.SOURCE_TIME)


class Failures(unittest.TestCase):
    def process(self, answer):
        class Route:
            def __init__(self, params, key):
                pass

            def process(self, event):
                return answer(event)

        trommel.define(Route, name="route", version="1.0.0")
        return trommel.Subscription("key", []).process(RAW[1])

    def test_what_is_raised_is_a_failure(self):
        def oops(event):
            raise ValueError("oops")

        def later(event):
            raise trommel.retry(5, "later")

        with self.assertRaises(Err) as raised:
            self.process(oops)
        self.assertRegex(raised.exception.value.value, "(?s)^Traceback.*ValueError: oops")
        self.assertIsInstance(raised.exception.value, trommel.types.Failure_Malformed)
        with self.assertRaises(Err) as raised:
            self.process(lambda event: None)
        self.assertRegex(raised.exception.value.value, "process must return")
        def answered(event):
            raise Err("timeout")

        with self.assertRaises(Err) as raised:
            self.process(answered)
        self.assertIsInstance(raised.exception.value, trommel.types.Failure_Failed)
        with self.assertRaises(Err) as raised:
            self.process(later)
        self.assertEqual(raised.exception.value.value, (5, "later"))

    def test_what_is_no_output_is_an_error_of_the_filter(self):
        for make in (lambda: trommel.replace({"n": 1e400}), lambda: trommel.emission("x", headers={"n": 1})):
            with self.assertRaises(Err) as raised:
                self.process(lambda event: make())
            self.assertRegex(raised.exception.value.value, "(?s)^Traceback.*(ValueError|TypeError): ")

    def test_what_is_no_json_is_malformed(self):
        for payload in (b"", b"\xff", b"NaN", b"[1", b"[" * 100_000):
            with self.assertRaises(trommel.Failure) as raised:
                trommel.Event(SimpleNamespace(payload=payload)).json()
            self.assertIsInstance(raised.exception.failure, trommel.types.Failure_Malformed)

    def test_what_is_nested_too_deep_is_malformed(self):
        def read(text):
            return trommel.Event(SimpleNamespace(payload=text.encode())).json()

        self.assertEqual(len(read("[" * 500 + "]" * 500)), 1)
        for deep in ("[" * 1001 + "]" * 1001, '{"a":' * 1001, '["]]]\\"]]",' * 1001, "[" * 1_000_000):
            with self.assertRaisesRegex(trommel.Failure, "it is nested more than 1000 levels deep"):
                read(deep)
        # Many lists beside each other, and brackets in texts, are not deep.
        for wide in ("[" + "[]," * 5000 + "[]]", json.dumps(["[{" * 5000, '\\"[\\' * 5000])):
            self.assertEqual(read(wide), json.loads(wide))


if __name__ == "__main__":
    unittest.main()
