"""Scores of one video, from the device's arrays to sums and rows of a table."""

import dataclasses

import numpy as np

from mtujax.mappings import from_dict
from mtujax.metrics import MOST_PSNR
from mtujax.protocols import Protocol
from mtujax.results import Video, plain
from mtujax.totals import Sums, sums
from mtujax.video_sums import ConsistencySums, MotionSums, VideoScores

_FIRST = ("psnr", "ssim")  # of the columns of a protocol
_EXACT = "end_point_error"


@dataclasses.dataclass(frozen=True)
class VideoRecord:
    """What was found for one video.

    Attributes:
        video: which.
        protocols: scores by the protocol's name.
        motion: accuracy of the motion; None if not asked for.
        consistency: temporal consistency; None likewise.
        rows: for each frame its number, its name and every score by name; None where a
            protocol does not count the frame, there is no frame before it, or no exact
            flow is known.
        machine: what it was found on, from `machine.machine`.
    """

    video: Video
    protocols: dict[str, VideoScores]
    motion: MotionSums | None
    consistency: ConsistencySums | None
    rows: tuple[dict, ...]
    machine: dict[str, str | int]

    def to_json(self) -> dict:
        """The record as JSON values."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, values: dict) -> "VideoRecord":
        """Reads a record.

        Args:
            values: from `to_json`.

        Returns:
            It.

        Raises:
            UsageError: or KeyError, TypeError, ValueError, if it is damaged.
        """
        protocols = {}
        for name, one in values["protocols"].items():
            first, end = one["counted"]
            total = from_dict(one["sums"], Sums, f"{name}.")
            protocols[name] = VideoScores((first, end), total)
        kinds = {"motion": MotionSums, "consistency": ConsistencySums}
        pairs = {
            name: values[name] and from_dict(values[name], kind)
            for name, kind in kinds.items()
        }
        rows = tuple(dict(row) for row in values["rows"])
        video, machine = from_dict(values["video"], Video), dict(values["machine"])
        return cls(video, protocols, **pairs, rows=rows, machine=machine)


class Tally:
    """Takes the scores of a video's frames, in order."""

    def __init__(
        self,
        video: Video,
        protocols: tuple[Protocol, ...],
        machine: dict[str, str | int],
    ):
        """Nothing is scored yet.

        Args:
            video: whose frames come.
            protocols: by which they are scored.
            machine: on what, from `machine.machine`.
        """
        self._video, self._protocols, self._machine = video, protocols, machine
        self._names, self._found = [], []

    def add(self, name: str, found: dict[str, dict[str, np.ndarray]]) -> None:
        """Takes the next frame.

        Args:
            name: of the frame.
            found: by protocol, or "motion" or "consistency", scores by name, scalars.
        """
        self._names.append(name)
        self._found.append(found)

    @property
    def complete(self) -> bool:
        """Whether all frames have come."""
        return len(self._names) == self._video.frames

    def record(self) -> VideoRecord:
        """Adds up.

        Returns:
            What was found.
        """
        scores = {}
        for protocol in self._protocols:
            counted = protocol.frames(self._video.frames)
            span = (min(counted.start, self._video.frames), counted.stop)
            span = span if len(counted) else (0, 0)
            given = self._column(protocol.name, counted)
            scores[protocol.name] = VideoScores(span, sums(given) if given else Sums())
        return VideoRecord(
            self._video,
            scores,
            _motion(self._column("motion", self._pairs)),
            _consistency(self._column("consistency", self._pairs)),
            tuple(self._row(frame) for frame in range(len(self._names))),
            self._machine,
        )

    @property
    def _pairs(self):
        """Frames that have one before them."""
        return range(1, self._video.frames)

    def _column(self, kind, frames):
        """Scores of one kind: {name: [n]}; None where that kind was not asked for."""
        if kind not in self._found[0]:
            return None
        names = self._found[0][kind]
        return {
            name: np.array([self._found[frame][kind][name] for frame in frames])
            for name in names
        }

    def _row(self, frame):
        row = {"video": self._video.name, "frame": frame, "name": self._names[frame]}
        counted = {p.name: p.frames(self._video.frames) for p in self._protocols}
        found = self._found[frame]
        for kind in (*counted, *sorted(found.keys() - counted.keys(), reverse=True)):
            shown = frame in counted.get(kind, self._pairs)
            for name in sorted(found[kind], key=lambda n: (n not in _FIRST, n)):
                value = found[kind][name].item() if shown else None
                if name == _EXACT and value is not None and np.isnan(value):
                    value = None  # no flow is known
                row[f"{kind} {name}"] = value
        return row


def _motion(scores):
    if scores is None:
        return None
    defined = np.isfinite(scores["ssim"]) & ~np.isnan(scores["psnr"])
    values = {n: np.float64(scores[n][defined]) for n in ("psnr", "ssim", "share")}
    errors = np.float64(scores.get(_EXACT, []))
    errors = errors[~np.isnan(errors)]
    return MotionSums(
        pairs=len(defined),
        psnr=float(np.minimum(values["psnr"], MOST_PSNR).sum()),
        ssim=float(values["ssim"].sum()),
        share=float(values["share"].sum()),
        undefined=int((~defined).sum()),
        infinite=int(np.isinf(values["psnr"]).sum()),
        end_point_error=float(errors.sum()),
        known=len(errors),
    )


def _consistency(scores):
    if scores is None:
        return None
    restored, sharp = (np.float64(scores[name]) for name in ("restored", "sharp"))
    # Both are over the same pixels: where there are some, only a result can be NaN.
    defined = np.isfinite(sharp)
    valid = defined & np.isfinite(restored)
    return ConsistencySums(
        pairs=len(defined),
        restored=float(restored[valid].sum()),
        sharp=float(sharp[defined].sum()),
        undefined=int((~defined).sum()),
        invalid=int((defined & ~valid).sum()),
    )
