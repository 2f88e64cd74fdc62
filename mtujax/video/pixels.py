"""From decoded frames to RGB of 8 bits, whatever their coding.

Letters: H W pixels.
"""

import numpy as np

from mtujax.video.hdr import ToneMapper, mastering_peak
from mtujax.video.info import (
    BT709,
    BT2020,
    FULL,
    LIMITED,
    MATRICES,
    SCALING,
    SMPTE170M,
    Colour,
)

_HDR = {16: "PQ", 18: "HLG"}


class Pixels:
    """Converts the frames of one video, each as its own tags say."""

    def __init__(self, first, colour: Colour):
        """Takes the first frame, whose size all others get.

        Args:
            first: PyAV's frame.
            colour: how its colours are coded.
        """
        self._size, self._colour = (first.width, first.height), colour
        self._other_sizes = {}
        self._map = None
        if colour.transfer in _HDR:
            peak = mastering_peak(first)
            self._map = ToneMapper(colour.transfer, colour.primaries, peak)

    def __call__(self, frame) -> np.ndarray:
        """Converts a frame.

        Args:
            frame: PyAV's frame, of any size.

        Returns:
            [H, W, 3] uint8 RGB of the first frame's size.
        """
        size = frame.width, frame.height
        if size != self._size:
            self._other_sizes[size] = self._other_sizes.get(size, 0) + 1
        width, height = self._size
        rgb = frame.reformat(
            width=width,
            height=height,
            format="rgb24" if self._map is None else "rgb48le",
            src_colorspace=self._colour.matrix,
            src_color_range=FULL if is_full_range(frame) else LIMITED,
            interpolation=SCALING,
        ).to_ndarray()
        return np.ascontiguousarray(rgb) if self._map is None else self._map(rgb)

    def late_notes(self) -> list[str]:
        """What was not as in the first frame.

        Returns:
            One sentence for each other size.
        """
        first = "{}x{}".format(*self._size)
        return [
            f"{count} frame{'s'[: count != 1]} of {width}x{height} in mid-stream "
            f"scaled to {first}"
            for (width, height), count in self._other_sizes.items()
        ]


def coding(context, frame) -> Colour:
    """How a stream's colours are coded, its matrix guessed from the size if not told.

    Untagged video of 720 rows or more is BT.709 and smaller video BT.601, as most
    players take it.

    Args:
        context: PyAV's codec context.
        frame: its first frame.

    Returns:
        The coding, with a matrix that is specified.
    """
    matrix = int(frame.colorspace)
    if frame.format.is_rgb:
        matrix = BT709
    elif matrix not in MATRICES and int(context.color_trc) in _HDR:
        matrix = BT2020
    elif matrix not in MATRICES:
        matrix = BT709 if min(frame.height, frame.width) >= 720 else SMPTE170M
    return Colour(matrix, int(context.color_primaries), int(context.color_trc))


def is_full_range(frame) -> bool:
    """Tells a frame's range.

    Args:
        frame: PyAV's frame.

    Returns:
        Whether its levels fill 0 to 255.
    """
    old = frame.format.name.startswith("yuvj")
    return old or frame.format.is_rgb or int(frame.color_range) == FULL


def is_hdr(colour: Colour) -> bool:
    """Tells high dynamic range.

    Args:
        colour: of a stream.

    Returns:
        Whether its transfer characteristic is PQ or HLG.
    """
    return colour.transfer in _HDR


def lost(frame, colour: Colour) -> list[str]:
    """What 8 bits of RGB cannot hold of a stream.

    Args:
        frame: its first frame.
        colour: its coding.

    Returns:
        One sentence each.
    """
    notes, bits = [], max(c.bits for c in frame.format.components)
    if is_hdr(colour):
        kind = _HDR[colour.transfer]
        notes.append(
            f"HDR input ({kind}, {bits} bits) is tone-mapped to BT.709 with 8 bits"
        )
    elif bits > 8:
        notes.append(f"{bits}-bit input is converted to 8 bits")
    if any(c.is_alpha for c in frame.format.components):
        notes.append("the alpha channel is dropped")
    return notes
