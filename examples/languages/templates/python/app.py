"""my-filter: passes orders of at least `min`, and of them only what is wanted."""

from trommel import define, malformed, replace
from wit_world.imports import log


class MyFilter:
    """One route: its params, parsed once."""

    def __init__(self, params, key):
        """Called for every route, in every instance: parse, and no more. What it raises refuses the route."""
        for name in params.keys() - {"min"}:
            raise malformed(f"unknown param `{name}`")
        try:
            self.min = float(params.get("min", 100))
        except ValueError:
            raise malformed(f"`min` is no number: `{params['min']}`") from None

    def matches(self, event):
        """Called for every event of the key, very often. It can call nothing: it only decides."""
        return event.json()["amount"] >= self.min

    def process(self, event):
        """Called for what matched.

        Returns `DROP`, `KEEP`, `replace(...)` or `emit([...])`; raises `malformed(...)`, `retry(...)`, `failed(...)` or
        `broken(...)`.
        """
        amount = event.json()["amount"]
        log.write(log.Level.DEBUG, f"an order of {amount}")
        return replace({"amount": amount, "large": True})


Filter = define(
    MyFilter,
    name="my-filter",
    version="0.1.0",
    description="Passes large orders",
    # What is not asked for is not handed over, and costs nothing.
    match_reads=["payload"],
    process_reads=["payload"],
)
