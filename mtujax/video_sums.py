"""What is kept of a video's scores: sums and counts, and the means they give."""

import dataclasses
from collections.abc import Mapping

from mtujax.totals import Sums, average


@dataclasses.dataclass(frozen=True)
class VideoScores:
    """Scores of a video under one protocol.

    Attributes:
        counted: first and one after the last frame that the protocol counts, from 0.
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
    """Motion accuracy of pairs of frames that follow each other, added up.

    Attributes:
        pairs: how many there are.
        psnr: sum in dB over the defined pairs, 100 dB at most each.
        ssim: sum over the same.
        share: sum over the same of the share of cells that count.
        undefined: pairs in which no cell, or no window of SSIM, counts: in no sum.
        infinite: pairs among the others that match without an error.
        end_point_error: sum in pixels over the pairs whose exact flow is known.
        known: how many these are.
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
        """Scores psnr and ssim, and share, per defined pair; NaN if there is none.

        Also end_point_error per pair whose exact flow is known; NaN likewise.
        """
        count = self._defined
        return {
            **_per(count, psnr=self.psnr, ssim=self.ssim, share=self.share),
            **_per(self.known, end_point_error=self.end_point_error),
        }

    @property
    def summary(self) -> dict[str, float | int | None]:
        """Means and counts by name, as files have them; None where no pair counts."""
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
    """Warping errors of pairs of frames that follow each other, added up.

    Attributes:
        pairs: how many there are.
        restored: sum of those between restored frames, squares of [0, 1].
        sharp: sum of those between the sharp frames.
        undefined: pairs in which no pixel counts: in no sum.
        invalid: pairs whose restored frames hold NaN or infinity where pixels count:
            only in `sharp`. The mean of the restored ones is then NaN.
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
        """Means and counts by name, as files have them; None where no pair counts."""
        means = self.means if self.pairs > self.undefined else dict.fromkeys(self.means)
        counts = ("pairs", "undefined", "invalid")
        return means | {name: getattr(self, name) for name in counts}


def add_up(sums: Mapping, start):
    """Adds sums of videos, in the order of names, on which sums of floats depend.

    Args:
        sums: by the video's name, all of one dataclass of numbers.
        start: such sums of nothing.

    Returns:
        Their sums.
    """
    total = dataclasses.astuple(start)
    for name in sorted(sums):
        pairs = zip(total, dataclasses.astuple(sums[name]), strict=True)
        total = tuple(a + b for a, b in pairs)
    return type(start)(*total)


def _per(count, **sums):
    return {
        name: value / count if count else float("nan") for name, value in sums.items()
    }
