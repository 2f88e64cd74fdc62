"""What a video's frames have in common: size, rate, and how colours are coded.

Letters: H W pixels of the frame as it is coded. A timestamp (pts) counts `time_base`
seconds.
"""

import dataclasses
from fractions import Fraction

from mtujax.video.orientation import Orientation

# H.273 code points, which libav uses too, and the matrices that libswscale knows.
BT709, SMPTE170M, BT2020 = 1, 6, 9
MATRICES = (1, 4, 5, 6, 7, 9)
LIMITED, FULL = 1, 2

# libswscale: bicubic chroma, computed for every pixel, rounded to nearest. As numbers,
# because older PyAV names only the first.
SCALING = 0x4 | 0x2000 | 0x40000


@dataclasses.dataclass(frozen=True)
class Colour:
    """How RGB became the video's YUV, as H.273 code points (2 is unspecified).

    Attributes:
        matrix: coefficients, always one that is specified.
        primaries: chromaticities of the primaries.
        transfer: transfer characteristic.
    """

    matrix: int = BT709
    primaries: int = BT709
    transfer: int = BT709


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video's frames have in common.

    Attributes:
        width: columns W of the frame, in pixels.
        height: rows H.
        frames: their number, or None if it cannot be told.
        rate: mean frames per second.
        time_base: seconds per unit of the timestamps.
        colour: how its colours are coded.
        aspect: width / height of one pixel of the frame.
        full_range: whether its levels fill 0 to 255.
        counted: whether `frames` is the container's own count, not rate times duration.
        orientation: how to turn the frame for display.
        notes: what will not be as in the input, one sentence each.
    """

    width: int
    height: int
    frames: int | None
    rate: Fraction
    time_base: Fraction
    colour: Colour = Colour()
    aspect: Fraction = Fraction(1)
    full_range: bool = False
    counted: bool = False
    orientation: Orientation = Orientation()
    notes: tuple[str, ...] = ()

    @property
    def upright(self) -> "VideoInfo":
        """The same video with its frames turned for display."""
        width, height, aspect = self.width, self.height, self.aspect
        if self.orientation.swaps:
            width, height, aspect = height, width, 1 / aspect
        return dataclasses.replace(
            self, width=width, height=height, aspect=aspect, orientation=Orientation()
        )
