"""Scores of videos: sums and counts that do not depend on the batches, and means.

Letters: B frames.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, TypeVar

import numpy as np

from mtujax.data.frames import VideoInfo
from mtujax.metrics.image import MOST_PSNR
from mtujax.metrics.protocols import Protocol


class _Added:
    """Sums and counts that are added field by field."""

    def __add__(self, other):
        """Adds those of others of the same kind."""
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return type(self)(*(a + b for a, b in zip(mine, theirs, strict=True)))


T = TypeVar("T", bound=_Added)


def add_up(by_video: Mapping[str, T], kind: type[T]) -> T:
    """Adds sums of videos in the order of names, on which sums of floats depend."""
    return sum((by_video[name] for name in sorted(by_video)), kind())


@dataclasses.dataclass(frozen=True)
class Sums(_Added):
    """Scores of some frames, added up; sums of sums are sums of all frames.

    Frames with NaN are counted and enter no sum: the mean is then NaN.
    """

    frames: int = 0  # number scored, of all kinds
    # Sum in dB; a frame counts as 100 dB at most, so that frames restored without an
    # error (infinite) raise a mean and leave it finite
    psnr: float = 0.0
    ssim: float = 0.0  # sum
    infinite: int = 0  # frames without an error
    unaligned: int = 0  # frames whose alignment is undefined: black ones
    invalid: int = 0  # frames with NaN
    # Sum in dB of the blurry frames themselves, each likewise 100 dB at most
    blurry_psnr: float = 0.0
    blurry: int = 0  # number of these; none in results of older versions

    @property
    def blurry_mean(self) -> float | None:
        """PSNR in dB per blurry frame; None unless all frames have one."""
        known = self.frames and self.blurry == self.frames
        return self.blurry_psnr / self.blurry if known else None

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
    blurry = np.asarray(scores.get("blurry_psnr", []), np.float64)
    return Sums(
        frames=len(values),
        psnr=float(np.minimum(values[valid], MOST_PSNR).sum()),
        ssim=float(similar[valid].sum()),
        infinite=int(np.isinf(values[valid]).sum()),
        unaligned=int((aligned[valid] == 0).sum()),
        invalid=int((~valid).sum()),
        blurry_psnr=float(np.minimum(blurry, MOST_PSNR).sum()),
        blurry=len(blurry),
    )


def average(videos: dict[str, Sums], *, over: str) -> tuple[float, float]:
    """Averages (PSNR, SSIM) over "frames" or "videos"; NaN if any is invalid."""
    each = [videos[name] for name in sorted(videos) if videos[name].frames]
    if over == "frames" or not each:
        return add_up(videos, Sums).means
    values, similar = zip(*(video.means for video in each), strict=True)
    return sum(values) / len(each), sum(similar) / len(each)


@dataclasses.dataclass(frozen=True)
class VideoScores:
    """Scores of a video under one protocol."""

    # First frame that the protocol counts and one after the last, from 0
    counted: tuple[int, int]
    sums: Sums  # of these frames


@dataclasses.dataclass(frozen=True)
class ProtocolScores:
    """Scores under one protocol."""

    # "frames", or "videos" for the mean of the videos' means
    average: Literal["frames", "videos"]
    by_video: dict[str, VideoScores]  # scores by the video's name

    @property
    def total(self) -> Sums:
        """Sums over all videos."""
        return add_up(self._sums, Sums)

    @property
    def videos(self) -> int:
        """Number of videos with frames that count."""
        return sum(one.frames > 0 for one in self._sums.values())

    @property
    def means(self) -> tuple[float, float]:
        """(PSNR in dB, SSIM) as the protocol averages; NaN if a frame is invalid."""
        return average(self._sums, over=self.average)

    @property
    def blurry_mean(self) -> float | None:
        """PSNR in dB of the blurry frames, averaged likewise; None if not known."""
        each = [one.blurry_mean for one in self._sums.values() if one.frames]
        if self.average == "frames" or not each or None in each:
            return self.total.blurry_mean
        return sum(each) / len(each)

    @property
    def _sums(self):
        return {name: one.sums for name, one in self.by_video.items()}


class _PairSums(_Added):
    """Sums over pairs of frames; `counts` says of how many pairs each of them is."""

    @property
    def means(self) -> dict[str, float]:
        """The mean of each sum; NaN if it is of no pairs."""
        sums = {name: (getattr(self, name), n) for name, n in self.counts.items()}
        return {name: value / n if n else math.nan for name, (value, n) in sums.items()}

    @property
    def summary(self) -> dict[str, float | int | None]:
        """Means and counts by name, as in files; a mean of no pairs is None."""
        means = {n: mean if self.counts[n] else None for n, mean in self.means.items()}
        return means | {
            name: value for name, value in vars(self).items() if name not in means
        }


@dataclasses.dataclass(frozen=True)
class MotionSums(_PairSums):
    """Motion accuracy of pairs of consecutive frames, added up."""

    pairs: int = 0  # number of pairs
    psnr: float = 0.0  # sum in dB over the defined pairs, 100 dB at most each
    ssim: float = 0.0  # sum over the same
    share: float = 0.0  # sum over the same of the share of cells that count
    # Pairs in which no cell, or no window of SSIM, counts: in no sum
    undefined: int = 0
    infinite: int = 0  # pairs among the defined ones that match without an error
    # Sum in pixels over the pairs whose exact flow is known
    end_point_error: float = 0.0
    known: int = 0  # number of these

    @property
    def counts(self) -> dict[str, int]:
        """Pairs that enter each sum."""
        defined = dict.fromkeys(("psnr", "ssim", "share"), self.pairs - self.undefined)
        return {**defined, "end_point_error": self.known}


@dataclasses.dataclass(frozen=True)
class ConsistencySums(_PairSums):
    """Warping errors of pairs of consecutive frames, added up."""

    pairs: int = 0  # number of pairs
    restored: float = 0.0  # sum of errors between restored frames, squares of [0, 1]
    sharp: float = 0.0  # sum of errors between the sharp frames
    undefined: int = 0  # pairs in which no pixel counts: in no sum
    # Pairs whose restored frames hold NaN or infinity where pixels count: only in
    # `sharp`. The mean of `restored` is then NaN.
    invalid: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Pairs that enter each sum."""
        return dict.fromkeys(("restored", "sharp"), self.pairs - self.undefined)

    @property
    def means(self) -> dict[str, float]:
        """Errors per defined pair; NaN if there is none, or one is invalid."""
        return super().means | ({"restored": math.nan} if self.invalid else {})


_FIRST = ("psnr", "ssim")  # of the columns of a protocol
_EXACT = "end_point_error"


@dataclasses.dataclass(frozen=True)
class VideoRecord:
    """Scores of one video."""

    video: VideoInfo  # the video
    protocols: dict[str, VideoScores]  # scores by the protocol's name
    motion: MotionSums | None  # motion accuracy; None if not asked for
    consistency: ConsistencySums | None  # temporal consistency; None likewise
    # For each frame its number, its name and every score by name; None where a protocol
    # does not count the frame, there is no frame before it, or no exact flow is known
    rows: tuple[dict, ...]
    # From `common.hardware.machine`, where it was evaluated
    machine: dict[str, str | int]


class Tally:
    """Collects the scores of a video's frames, in order."""

    def __init__(
        self,
        video: VideoInfo,
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
