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
    """The time of a network's step.

    Attributes:
        method: the network.
        device: on which the time was measured.
        size: (W, H) of the frames in pixels.
        batch: batch size.
        milliseconds: of a median step, for the whole batch.
        form: of the network, "plain" or "inference"; None if the file does not say.
    """

    method: Method
    device: str
    size: tuple[int, int]
    batch: int
    milliseconds: float
    form: str | None = None


def timing_of(values: dict) -> Timing:
    """Reads a timing from the JSON values of its file."""
    given = {name: values[name] for name in ("method", "device", "size")}
    given |= {"batch": values.get("batch", 1), "form": values.get("form")}
    return from_dict({**given, "milliseconds": values["step_ms"]["p50"]}, Timing)
