"""Scores of videos: sums and counts that do not depend on the batches, and means.

Letters: B frames.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mtujax.common.dataclass_json import from_dict, plain
from mtujax.metrics.image import MOST_PSNR
from mtujax.metrics.protocols import Protocol


@dataclasses.dataclass(frozen=True)
class Sums:
    """Scores of some frames, added up; sums of sums are sums of all frames.

    Frames with NaN are counted and enter no sum: the mean is then NaN.

    Attributes:
        frames: number scored, of all kinds.
        psnr: sum in dB; a frame counts as 100 dB at most, so that frames restored
            without an error (infinite) raise a mean and leave it finite.
        ssim: sum.
        infinite: frames without an error.
        unaligned: frames whose alignment is undefined: black ones.
        invalid: frames with NaN.
    """

    frames: int = 0
    psnr: float = 0.0
    ssim: float = 0.0
    infinite: int = 0
    unaligned: int = 0
    invalid: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        """Adds the sums of other frames."""
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Sums(*(a + b for a, b in zip(mine, theirs, strict=True)))

    @property
    def means(self) -> tuple[float, float]:
        """(PSNR in dB, SSIM) per frame; NaN if a frame is invalid or there is none."""
        if self.invalid or not self.frames:
            return float("nan"), float("nan")
        return self.psnr / self.frames, self.ssim / self.frames


def sums(scores: dict[str, np.ndarray]) -> Sums:
    """Adds up the [B] scores of `Protocol.score`, in float64."""
    values, similar = (np.asarray(scores[k], np.float64) for k in ("psnr", "ssim"))
    valid = ~(np.isnan(values) | np.isnan(similar))
    aligned = np.asarray(scores.get("aligned", np.ones_like(values)))
    return Sums(
        frames=len(values),
        psnr=float(np.minimum(values[valid], MOST_PSNR).sum()),
        ssim=float(similar[valid].sum()),
        infinite=int(np.isinf(values[valid]).sum()),
        unaligned=int((aligned[valid] == 0).sum()),
        invalid=int((~valid).sum()),
    )


def average(videos: dict[str, Sums], *, over: str) -> tuple[float, float]:
    """Averages (PSNR in dB, SSIM) over "frames", or over "videos" by their means.

    Videos without frames are left out; NaN if a frame is invalid or there is none.
    """
    # In the order of names: sums of floats depend on their order.
    each = [videos[name] for name in sorted(videos) if videos[name].frames]
    if over == "frames" or not each:
        return sum(each, Sums()).means
    values, similar = zip(*(video.means for video in each), strict=True)
    return sum(values) / len(each), sum(similar) / len(each)


@dataclasses.dataclass(frozen=True)
class VideoScores:
    """Scores of a video under one protocol.

    Attributes:
        counted: first frame that the protocol counts and one after the last, from 0.
        sums: of these frames.
    """

    counted: tuple[int, int]
    sums: Sums


@dataclasses.dataclass(frozen=True)
class ProtocolScores:
    """Scores under one protocol.

    Attributes:
        average: "frames", or "videos" for the mean of the videos' means.
        by_video: scores by the video's name.
    """

    average: str
    by_video: dict[str, VideoScores]

    @property
    def total(self) -> Sums:
        """Sums over all videos."""
        return add_up({name: one.sums for name, one in self.by_video.items()}, Sums())

    @property
    def means(self) -> tuple[float, float]:
        """(PSNR in dB, SSIM) as the protocol averages; NaN if a frame is invalid."""
        videos = {name: one.sums for name, one in self.by_video.items()}
        return average(videos, over=self.average)


@dataclasses.dataclass(frozen=True)
class MotionSums:
    """Motion accuracy of pairs of consecutive frames, added up.

    Attributes:
        pairs: number of pairs.
        psnr: sum in dB over the defined pairs, 100 dB at most each.
        ssim: sum over the same.
        share: sum over the same of the share of cells that count.
        undefined: pairs in which no cell, or no window of SSIM, counts: in no sum.
        infinite: pairs among the defined ones that match without an error.
        end_point_error: sum in pixels over the pairs whose exact flow is known.
        known: number of these.
    """

    pairs: int = 0
    psnr: float = 0.0
    ssim: float = 0.0
    share: float = 0.0
    undefined: int = 0
    infinite: int = 0
    end_point_error: float = 0.0
    known: int = 0

    @property
    def means(self) -> dict[str, float]:
        """Means of psnr, ssim and share per defined pair; NaN if there is none.

        Also end_point_error per pair whose exact flow is known; NaN likewise.
        """
        count = self._defined
        return {
            **_per(count, psnr=self.psnr, ssim=self.ssim, share=self.share),
            **_per(self.known, end_point_error=self.end_point_error),
        }

    @property
    def summary(self) -> dict[str, float | int | None]:
        """Means and counts by name, as in files; a mean of no pairs is None."""
        means = self.means
        for name in means:
            count = self.known if name == "end_point_error" else self._defined
            means[name] = means[name] if count else None
        counts = ("pairs", "undefined", "infinite", "known")
        return means | {name: getattr(self, name) for name in counts}

    @property
    def _defined(self):
        return self.pairs - self.undefined


@dataclasses.dataclass(frozen=True)
class ConsistencySums:
    """Warping errors of pairs of consecutive frames, added up.

    Attributes:
        pairs: number of pairs.
        restored: sum of errors between restored frames, squares of [0, 1].
        sharp: sum of errors between the sharp frames.
        undefined: pairs in which no pixel counts: in no sum.
        invalid: pairs whose restored frames hold NaN or infinity where pixels count:
            only in `sharp`. The mean of `restored` is then NaN.
    """

    pairs: int = 0
    restored: float = 0.0
    sharp: float = 0.0
    undefined: int = 0
    invalid: int = 0

    @property
    def means(self) -> dict[str, float]:
        """Errors, restored and sharp, per defined pair; NaN if there is none."""
        count = self.pairs - self.undefined
        restored = float("nan") if self.invalid else self.restored
        return _per(count, restored=restored, sharp=self.sharp)

    @property
    def summary(self) -> dict[str, float | int | None]:
        """Means and counts by name, as in files; a mean of no pairs is None."""
        means = self.means if self.pairs > self.undefined else dict.fromkeys(self.means)
        counts = ("pairs", "undefined", "invalid")
        return means | {name: getattr(self, name) for name in counts}


def add_up(sums: Mapping, start):
    """Adds sums of videos in the order of names, on which sums of floats depend."""
    total = dataclasses.astuple(start)
    for name in sorted(sums):
        pairs = zip(total, dataclasses.astuple(sums[name]), strict=True)
        total = tuple(a + b for a, b in pairs)
    return type(start)(*total)


def _per(count, **sums):
    return {
        name: value / count if count else float("nan") for name, value in sums.items()
    }


@dataclasses.dataclass(frozen=True)
class Video:
    """A video of the dataset: its name, number of frames, and their size in pixels."""

    name: str
    frames: int
    height: int
    width: int


_FIRST = ("psnr", "ssim")  # of the columns of a protocol
_EXACT = "end_point_error"


@dataclasses.dataclass(frozen=True)
class VideoRecord:
    """Scores of one video.

    Attributes:
        video: the video.
        protocols: scores by the protocol's name.
        motion: motion accuracy; None if not asked for.
        consistency: temporal consistency; None likewise.
        rows: for each frame its number, its name and every score by name; None where a
            protocol does not count the frame, there is no frame before it, or no exact
            flow is known.
        machine: from `common.hardware.machine`, where it was evaluated.
    """

    video: Video
    protocols: dict[str, VideoScores]
    motion: MotionSums | None
    consistency: ConsistencySums | None
    rows: tuple[dict, ...]
    machine: dict[str, str | int]

    def to_json(self) -> dict:
        """Converts the record to JSON values."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, values: dict) -> "VideoRecord":
        """Reads a record; UsageError, KeyError, TypeError or ValueError if damaged."""
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
    """Collects the scores of a video's frames, in order."""

    def __init__(
        self,
        video: Video,
        protocols: tuple[Protocol, ...],
        machine: dict[str, str | int],
    ):
        """Starts without scores; `machine` is from `common.hardware.machine`."""
        self._video, self._protocols, self._machine = video, protocols, machine
        self._names, self._found = [], []

    def add(self, name: str, found: dict[str, dict[str, np.ndarray]]) -> None:
        """Takes a frame's scalars by name, by protocol, "motion" or "consistency"."""
        self._names.append(name)
        self._found.append(found)

    @property
    def complete(self) -> bool:
        """Whether all frames have been added."""
        return len(self._names) == self._video.frames

    def record(self) -> VideoRecord:
        """Adds up the scores of all frames."""
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
        """Collects one kind: {name: [n]}; None where it was not asked for."""
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
