"""my-filter: passes orders of at least `min`, and of them only what is wanted."""

from trommel import Failure, define, malformed, replace
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
        amount = amount_of(event)
        return amount is not None and amount >= self.min

    def process(self, event):
        """Called for what matched.

        Returns `DROP`, `KEEP`, `replace(...)` or `emit([...])`; raises `malformed(...)`, `retry(...)`, `failed(...)` or
        `broken(...)`.
        """
        amount = amount_of(event)
        log.write(log.Level.DEBUG, f"an order of {amount}")
        return replace({"amount": amount, "large": True})


def amount_of(event):
    """The amount of an order, `None` of anything else: what raises in `matches` breaks the filter, not the event."""
    try:
        order = event.json()
    except Failure:
        return None
    amount = order.get("amount") if isinstance(order, dict) else None
    return amount if isinstance(amount, (int, float)) else None


Filter = define(
    MyFilter,
    name="my-filter",
    version="0.1.0",
    description="Passes large orders",
    # What is not asked for is not handed over, and costs nothing.
    match_reads=["payload"],
    process_reads=["payload"],
)
