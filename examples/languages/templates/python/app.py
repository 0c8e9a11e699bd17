"""my-filter: passes orders of at least `min`, and says of each that it is large."""

from trommel import Event, Outcome, define, edit, log, malformed


class MyFilter:
    """One route: its params, parsed once."""

    def __init__(self, params: dict[str, str], key: str):
        """Called for every route, in every instance: parse, and no more. What it raises refuses the route."""
        for name in params.keys() - {"min"}:
            raise malformed(f"unknown param `{name}`")
        try:
            self.min = float(params.get("min", 100))
        except ValueError:
            raise malformed(f"`min` is no number: `{params['min']}`") from None

    def matches(self, event: Event) -> bool:
        """Called for every event of the key, very often. It can call nothing but `log`: it only decides."""
        amount = event.get("/amount")
        return isinstance(amount, (int, float)) and amount >= self.min

    def process(self, event: Event) -> Outcome:
        """Called for what matched.

        Returns `DROP`, `KEEP`, `replace(...)`, `edit.set(...)` or `emit([...])`; raises `malformed(...)`, `retry(...)`,
        `failed(...)`, `defer(...)` or `broken(...)`.
        """
        log.debug("a large order", amount=event.get("/amount"))
        return edit.set("/large", True)


Filter = define(
    MyFilter,
    name="my-filter",
    version="0.1.0",
    description="Passes large orders",
    params=[{"name": "min", "type": "int", "default": "100", "description": "Smallest amount that passes"}],
    memory="256MiB",
    # What is not named is not handed over, and costs nothing: parts of the payload, `header:NAME`, `subject`, `payload` …
    match_reads=["/amount"],
    process_reads=["/amount"],
)
