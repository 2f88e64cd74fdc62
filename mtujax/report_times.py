"""Times of frames for the tables: which of several counts, and what is told of others.

The paper's times are of single frames of 1280x720; no other is entered.
"""

import dataclasses
from collections.abc import Sequence

from mtujax.report_files import Fields
from mtujax.tables import Measured

SIZE = (1280, 720)
"""Width and height in pixels of the frames whose times the paper reports."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """What a file of `mtujax bench` says of a method.

    Attributes:
        file: its name.
        device: that was timed.
        size: (W, H) of the frames in pixels.
        batch: frames that advance together.
        milliseconds: of a median step, for all of these frames.
        form: of the network, "plain" or "inference"; None where that is not told.
    """

    file: str
    device: str
    size: tuple[int, int]
    batch: int
    milliseconds: float
    form: str | None = None

    @property
    def fits(self) -> bool:
        """Whether it stands beside the paper's."""
        return self.size == SIZE and self.batch == 1

    def __str__(self):
        """What was timed, as notes say it."""
        width, height = self.size
        frames = f", {self.batch} frames at once" if self.batch != 1 else ""
        form = f", {self.form} form" if self.form else ""
        return f"{width}x{height}{frames} on {self.device}{form} ({self.file})"


def read_timing(data: Fields) -> Timing:
    """Reads what a file of `mtujax bench` says.

    Args:
        data: the file.

    Returns:
        It; a file that names no batch is of single frames.

    Raises:
        UserError: naming the file, if a field is missing.
        ValueError: or TypeError, if one is of a wrong type.
    """
    width, height = data["size"]
    batch = data.count("batch") if "batch" in data else 1
    milliseconds = data.part("step_ms").number("p50")
    if milliseconds is None:
        raise ValueError("step_ms.p50 null: must be a number")
    return Timing(
        file=data.path.name,
        device=data["device"],
        size=(int(width), int(height)),
        batch=batch,
        milliseconds=milliseconds,
        form=data.get("form"),
    )


def with_time(one: Measured, timings: Sequence[Timing]) -> Measured:
    """Enters the first time that stands beside the paper's, and tells of all others.

    Args:
        one: a measured entry.
        timings: of its method, in the order of the files.

    Returns:
        The entry with a time, if there is one, and with notes that name the files.
    """
    entered = next((timing for timing in timings if timing.fits), None)
    notes = []
    if entered:
        notes.append(f"Time: median step, {entered}.")
    for other in timings:
        if other is entered:
            continue
        why = (
            f"as {entered.file} comes first"
            if other.fits
            else "as times here are of single frames of 1280x720"
        )
        notes.append(f"Timed at {other}: not entered, {why}.")
    return dataclasses.replace(
        one,
        milliseconds=entered and entered.milliseconds,
        notes=(*one.notes, *notes),
    )
