"""Times of `mtujax bench` as a JSON file of version 1, and what is read of it.

    kind, version   "mtujax bench", 1
    device          kind of the device, as JAX names it
    method          as in results of an evaluation; sha256 null for random weights
    size, batch     [W, H] in pixels; 1 if missing
    form            of the network, "plain" or "inference"; unknown if missing
    step_ms         p50 of the step, for the whole batch, and other statistics

Whatever else `bench.run.run` finds is there, too.
"""

import dataclasses

from mtujax.common.dataclass_json import from_dict
from mtujax.evaluation.results import Method


@dataclasses.dataclass(frozen=True)
class Timing:
    """The time of a network's step."""

    method: Method  # the network
    device: str  # on which the time was measured
    size: tuple[int, int]  # (W, H) of the frames in pixels
    batch: int  # batch size
    milliseconds: float  # of a median step, for the whole batch
    form: str | None = None  # "plain" or "inference"; None if unknown


def timing_of(values: dict) -> Timing:
    """Reads a timing from the JSON values of its file."""
    given = {name: values[name] for name in ("method", "device", "size")}
    given |= {"batch": values.get("batch", 1), "form": values.get("form")}
    return from_dict({**given, "milliseconds": values["step_ms"]["p50"]}, Timing)
