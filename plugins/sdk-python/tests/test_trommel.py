"""`python3 -m unittest discover plugins/sdk-python/tests`: a batch shows the same events as single calls do, and what comes of
answers and of what is raised."""

import json
import sys
import unittest
from pathlib import Path
from struct import pack
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))
import trommel_testing  # noqa: E402
from trommel_testing import Err, event, router  # noqa: E402
import trommel  # noqa: E402
from trommel import CallError, edit, emission, define as make  # noqa: E402
from trommel.define import Subscription  # noqa: E402

types = sys.modules["wit_world.imports.types"]
FIELDS = ["subject", "header:Region", "/n", "/deep", "payload"]
RAW = [
    [None, None, None, None, None],
    ["größer \U0001f600".encode(), b"", b"null", b'{"a":[1,"\\u00e4"]}', '{"n":"\0ä"}'.encode()],
    [b"", "ä".encode(), b"1e3", b'""', b""],
]


def columns(events):
    """A batch as the router hands it over."""
    arena, index = bytearray(), [2, len(events), len(events[0])]
    for value in (value for event in events for value in event):
        if value is None:
            index += [0xFFFF_FFFF, 0]
        else:
            index += [len(arena), len(value)]
            arena += value
    return SimpleNamespace(arena=bytes(arena), index=pack(f"<{len(index)}I", *index))


def subscription(params=(), reads=FIELDS, **hooks):
    """A subscription of a class with these hooks."""

    class Route:
        def __init__(self, params, key):
            self.params = params

    for name, hook in hooks.items():
        setattr(Route, name, lambda self, *arguments, hook=hook: hook(*arguments))
    make(Route, name="route", version="1.0.0", match_reads=reads, process_reads=reads)
    return Subscription("key", list(params))


def seen(event):
    values = [event.get(name) for name in FIELDS[:4]]
    return [*values, *(event.text(name) for name in FIELDS), *(event.bytes(name) for name in FIELDS), *(name in event for name in FIELDS)]


class Batches(unittest.TestCase):
    def test_a_batch_shows_the_events_that_single_calls_show(self):
        shown = []
        route = subscription(matches=lambda event: shown.append(seen(event)) or event.get("/n") == 1000.0)
        single = [route.matches(event) for event in RAW]
        alone = list(shown)
        shown.clear()
        self.assertEqual((single, route.matches_batch(columns(RAW))), ([False, False, True], [0b100]))
        self.assertEqual(shown, alone)

    def test_a_batch_has_as_many_bits_as_events(self):
        route = subscription(matches=lambda event: True)
        for count in (1, 63, 64, 65, 130):
            words = route.matches_batch(columns([RAW[1]] * count))
            self.assertEqual(sum(word << 64 * at for at, word in enumerate(words)), 2**count - 1)
            self.assertEqual(len(words), (count + 63) // 64)

    def test_each_event_of_a_batch_has_an_answer_of_its_own(self):
        def process(event):
            if event.get("/n") is None:
                raise trommel.malformed("no n", code="no_n")
            return edit.set("/n", event.get("/n"))

        answers = subscription(process=process).process_batch(columns(RAW))
        self.assertEqual([type(answer).__name__ for answer in answers], ["Err", "Err", "Ok"])
        self.assertEqual(answers[0].value, types.Failure(types.FailureKind_Malformed(), types.Cause("no_n", "no n")))
        self.assertEqual(answers[2].value, types.Outcome_Edit([types.Edit("/n", types.Change_Set(b"1000.0"))]))

    def test_each_event_of_a_batch_has_a_payload_of_its_own(self):
        shown = []
        matches = lambda event: shown.append((event.json()["n"], event.get("/n/0"))) or True  # noqa: E731
        route = subscription(reads=["payload"], matches=matches)
        payloads = [b'{"n":[1]}', b'{"n":[2]}', '{"n":"ä"}'.encode()]
        route.matches_batch(columns([[payload] for payload in payloads]))
        self.assertEqual([n for n, _ in shown], [[1], [2], "ä"])
        self.assertEqual([first for _, first in shown], [1, 2, None])

    def test_an_unknown_layout_is_an_error_never_an_answer(self):
        batch = SimpleNamespace(arena=b"", index=pack("<3I", 3, 1, 0))
        with self.assertRaisesRegex(ValueError, "layout 3"):
            subscription(matches=lambda event: True).matches_batch(batch)


class Events(unittest.TestCase):
    def test_absent_null_and_empty_are_told_apart(self):
        one = event({}, headers={"a": ""})
        self.assertEqual((one.header("a"), one.get("header:a", 7)), ("", ""))
        given = trommel.Event(trommel_testing.Fields(FIELDS), RAW[1])
        self.assertEqual((given.get("/n", 7), "/n" in given, "/deep" in given), (None, True, True))
        given = trommel.Event(trommel_testing.Fields(FIELDS), RAW[0])
        self.assertEqual((given.get("/n", 7), "/n" in given), (7, False))

    def test_a_member_that_is_not_named_is_found_in_the_whole_payload(self):
        one = event({"a": [{"b/c": None}], "d~": 2})
        self.assertEqual((one.get("/a/0"), one.get("/d~0"), one.get("/a/0/b~1c", 7)), ({"b/c": None}, 2, None))
        self.assertEqual(([one.get(name, 7) for name in ("/a/1", "/a/00", "/a/b", "/x/y")], "/a/0/b~1c" in one), ([7] * 4, True))

    def test_what_is_not_read_says_how_to_read_it(self):
        with self.assertRaisesRegex(KeyError, "`tenant` is not read, only `payload`, `subject`.*`match_reads` or `process_reads`"):
            event({}).get("tenant")
        with self.assertRaisesRegex(KeyError, "`/b` is not read, only `/a`: name it"):
            trommel.Event(trommel_testing.Fields(["/a"]), [None]).get("/b")

    def test_what_is_no_json_is_malformed(self):
        for payload in (b"", b"\xff", b"NaN", b"[1", b"[" * 100_000):
            with self.assertRaises(trommel.Failure) as raised:
                event(payload).json()
            self.assertIsInstance(raised.exception.failure.kind, types.FailureKind_Malformed)
        for member in (b'{"a":}', b"[1,]", b'"\xff"', b"[NaN]"):
            with self.assertRaisesRegex(trommel.Failure, "`/a` can't be read: "):
                trommel.Event(trommel_testing.Fields(["/a"]), [member]).get("/a")

    def test_values_are_written_as_json(self):
        values = [True, False, None, 7, -1, 2.5, 1e300, "ä\"\n", b"[1.10]", bytearray(b"1"), {"ä": [1]}, (1, "x")]
        expected = ["true", "false", "null", "7", "-1", "2.5", "1e+300", '"ä\\"\\n"', "[1.10]", "1", '{"ä":[1]}', '[1,"x"]']
        self.assertEqual([edit.set("/a", value).changes[0].change.value.decode() for value in values], expected)
        for value in (float("nan"), [float("inf")], object()):
            with self.assertRaises((ValueError, TypeError)):
                edit.set("/a", value)

    def test_what_is_nested_too_deep_is_malformed(self):
        def member(text):
            return trommel.Event(trommel_testing.Fields(["/a"]), [text.encode()]).get("/a")

        for read in (lambda text: event(text.encode()).json(), member):
            self.assertEqual(len(read("[" * 500 + "]" * 500)), 1)
            for deep in ("[" * 1001 + "]" * 1001, '{"a":' * 1001, '["]]]\\"]]",' * 1001, "[" * 1_000_000):
                with self.assertRaisesRegex(trommel.Failure, "it is nested more than 1000 levels deep"):
                    read(deep)
            # Many lists beside each other, and brackets in texts, are not deep.
            for wide in ("[" + "[]," * 5000 + "[]]", json.dumps(["[{" * 5000, '\\"[\\' * 5000])):
                self.assertEqual(read(wide), json.loads(wide))


class Answers(unittest.TestCase):
    def process(self, answer):
        return subscription(process=answer).process(RAW[1])

    def failure(self, answer):
        with self.assertRaises(Err) as raised:
            self.process(answer)
        return raised.exception.value

    def test_edits_are_lists_that_grow_by_one(self):
        first = edit.set("/a", {"ä": 1})
        changes = first.set("header:Region", "eu").remove("header:Secret").rename("/b", "c").set("/raw", b"1.10")
        self.assertEqual(
            [(one.field, type(one.change).__name__, getattr(one.change, "value", None)) for one in self.process(lambda _: changes).value],
            [
                ("/a", "Change_Set", '{"ä":1}'.encode()),
                ("header:Region", "Change_Set", b"eu"),
                ("header:Secret", "Change_Remove", None),
                ("/b", "Change_Rename", "c"),
                ("/raw", "Change_Set", b"1.10"),
            ],
        )
        self.assertEqual((len(first.changes), len(edit.changes)), (1, 0))

    def test_an_emission_has_all_that_an_output_can_have(self):
        buried = trommel.bury("no_rate", "why")
        made = emission({"a": 1}, "s", {"Region": "eu", "Secret": None}, sink="a", id="i", not_before=5, fate=buried)
        expected = (b'{"a":1}', "a", "i", 5, "s", [("Region", "eu"), ("Secret", None)], types.Fate_Bury(types.Cause("no_rate", "why")))
        self.assertEqual(made, types.Emission(*expected))
        self.assertEqual(emission("x"), types.Emission(b"x", None, None, None, None, [], types.Fate_Send()))

    def test_what_is_raised_is_a_failure(self):
        def thrown(error):
            def process(event):
                raise error

            return process

        self.assertEqual(self.failure(thrown(trommel.retry(5.7, "later", code="busy"))).kind, types.FailureKind_Retry(5))
        self.assertEqual(self.failure(thrown(trommel.defer(2**40))).kind, types.FailureKind_Defer(2**32 - 1))
        self.assertEqual(self.failure(thrown(trommel.failed("no", code="c"))).cause, types.Cause("c", "no"))
        # What would be the same with the next try is not tried again; an API may be back by then.
        malformed, failed = types.FailureKind_Malformed(), types.FailureKind_Failed()
        refused = CallError("api", types.FailureKind_Failed())

        async def asynchronous(event):
            return trommel.KEEP

        for answer, kind, expected in [
            (thrown(ValueError("oops")), malformed, "(?s)^Traceback.*ValueError: oops"),
            (lambda event: None, malformed, "process must return"),
            (asynchronous, malformed, "process can't wait"),
            (lambda event: trommel.replace({"n": 1e400}), malformed, "(?s)^Traceback.*ValueError: "),
            (lambda event: emission("x", headers={"n": 1}), malformed, "`n` is a text, not 1"),
            (lambda event: edit.set("header:n", 1), malformed, "`header:n` is a text, not 1"),
            (thrown(refused), failed, "CallError: api: "),
        ]:
            said = self.failure(answer)
            self.assertRegex(said.cause.detail, expected)
            self.assertEqual(said.kind, kind)

    def test_matches_that_waits_is_an_error_never_an_answer(self):
        async def matches(event):
            return False

        for call in (lambda route: route.matches(RAW[1]), lambda route: route.matches_batch(columns(RAW))):
            with self.assertRaisesRegex(TypeError, "matches can't wait"):
                call(subscription(matches=matches))


class Routes(unittest.TestCase):
    def test_a_constructor_that_raises_refuses_the_route(self):
        class Picky:
            def __init__(self, params, key):
                raise trommel.malformed("no params please")

        exported = make(Picky, name="picky", version="1.0.0")()
        self.assertEqual(exported.normalize_params("key", [("a", "b")]), [("a", "b")])
        with self.assertRaises(Err) as raised:
            Subscription("key", [])
        self.assertEqual(raised.exception.value.cause.detail, "no params please")

    def test_the_manifest_and_the_interest_say_what_there_is(self):
        class Route:
            def __init__(self, params, key):
                pass

            def interest(self):
                return {"condition": "/n >= 5", "match_reads": ["/n"]}

            def matches(self, event):
                return True

            def process(self, event):
                return trommel.KEEP

            def tick(self, now):
                return [emission(str(now))]

        exported = make(Route, name="route", version="1.0.0", interval="10s", grants=["state", {"name": "api", "reason": "r"}], sinks=["a"])()
        manifest = json.loads(exported.describe())
        self.assertEqual(manifest["hooks"], ["matches", "matches-batch", "process", "process-batch", "tick"])
        self.assertEqual((manifest["interval"], manifest["grants"]), ("10s", [{"name": "state"}, {"name": "api", "reason": "r"}]))
        route = Subscription("key", [])
        self.assertEqual(route.interest(), types.Interest("/n >= 5", ["/n"], ["payload"], ["a"]))
        self.assertEqual([one.payload for one in route.tick(17)], [b"17"])


class Imports(unittest.TestCase):
    def test_the_router_answers_what_a_test_says(self):
        router.state.clear()
        state = trommel.state
        state.set("a", {"n": 1})
        self.assertEqual((state.get("a"), state.get_many(["b", "a"]), state.keys("a")), (b'{"n":1}', [None, b'{"n":1}'], ["a"]))
        self.assertEqual((state.increment("c", 2), state.increment("c"), state.swap("a", None, "x")), (2, 3, False))
        self.assertEqual((state.swap("a", {"n": 1}, "x"), state.get("a")), (True, b"x"))
        state.set_many([("m/1", "x"), ("m/2", {"n": 2}), ("m/1", "y")])
        state.set_many({"m/3": b"z"})
        self.assertEqual(state.get_many(["m/1", "m/2", "m/3"]), [b"y", b'{"n":2}', b"z"])
        state.delete_many(["m/1", "m/3", "m/9"])
        self.assertEqual(state.keys("m/"), ["m/2"])
        with self.assertRaisesRegex(CallError, "state: conflict"):
            state.increment("a")
        with self.assertRaisesRegex(CallError, "api: denied: `GET /x`: the test answers no calls"):
            trommel.api.call("GET", "/x")
        router.api = lambda request: (404, request.body)
        answer = trommel.api.call("POST", "/x?y=z", api="crm", headers={"a": "b"}, body={"n": 1})
        self.assertEqual((answer.status, answer.ok, answer.json()), (404, False, {"n": 1}))
        trommel.log.info("seen", count=1)
        trommel.measure("orders", 2)
        trommel.annotate("tier", "gold")
        self.assertEqual(router.lines[-1], ("info", "seen", {"count": "1"}))
        self.assertEqual((router.measures[-1], router.annotations[-1]), (("orders", 2.0), ("tier", "gold")))


if __name__ == "__main__":
    unittest.main()
