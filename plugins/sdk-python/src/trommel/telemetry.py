"""What the router shows of a filter beside its outputs."""

from typing import Any

from wit_world.imports import telemetry


def measure(metric: str, value: float = 1) -> None:
    """Adds to a counter, sets a gauge, or is one value of a histogram: one of the manifest's `metrics`."""
    telemetry.measure(metric, float(value))


def annotate(name: str, value: Any) -> None:
    """Adds an attribute to the span of the call, if the event is traced."""
    telemetry.annotate(name, str(value))
