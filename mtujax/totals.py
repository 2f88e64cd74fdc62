"""Totals of scores: sums and counts per video, which any order of batches gives alike.

Letters: B frames.
"""

import dataclasses

import numpy as np

from mtujax.metrics import MOST_PSNR


@dataclasses.dataclass(frozen=True)
class Sums:
    """Scores of some frames, added up; sums of sums are sums of all frames.

    Frames with NaN are counted and enter no sum: their mean is NaN.

    Attributes:
        frames: how many were scored, all kinds.
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
        """Sums of the frames of both.

        Args:
            other: of other frames.

        Returns:
            Their sums.
        """
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Sums(*(a + b for a, b in zip(mine, theirs, strict=True)))

    @property
    def means(self) -> tuple[float, float]:
        """(PSNR in dB, SSIM) per frame; NaN if a frame is invalid or there is none."""
        if self.invalid or not self.frames:
            return float("nan"), float("nan")
        return self.psnr / self.frames, self.ssim / self.frames


def sums(scores: dict[str, np.ndarray]) -> Sums:
    """Adds up what `Protocol.score` gave for frames that the protocol counts.

    Args:
        scores: [B] each.

    Returns:
        Their sums, in float64.
    """
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
    """Averages a dataset.

    Args:
        videos: sums of each video; those without frames are left out.
        over: "frames", or "videos" for the mean of the videos' means, as
            `Protocol.average` says.

    Returns:
        (PSNR in dB, SSIM), NaN if a frame is invalid or there is none.
    """
    # In the order of names: sums of floats depend on their order.
    each = [videos[name] for name in sorted(videos) if videos[name].frames]
    if over == "frames" or not each:
        return sum(each, Sums()).means
    values, similar = zip(*(video.means for video in each), strict=True)
    return sum(values) / len(each), sum(similar) / len(each)
