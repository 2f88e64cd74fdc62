"""From decoded frames of any colour coding, HDR included, to 8-bit RGB.

FFmpeg's own HDR (PQ, HLG) mapping is not used. Through `reformat`, libswscale only
scales: the tagged peak becomes white, so that a peak of 4000 cd/m2 puts reference white
at 29 % of the signal, and without a tag everything above reference white is lost. With
the perceptual intent, which filters have since FFmpeg 8, reference white comes at 61 %
without a tag, and grey ramps show bands.

Letters: H W pixels. Light is linear; 1.0 is reference white, which is 203 cd/m2 in HDR
(Report BT.2408, section 2.1) and the peak of SDR.
"""

import struct

import av
import cv2
import numpy as np

from mtujax.common.text import counted
from mtujax.video.info import (
    BT709,
    BT2020,
    FULL,
    LIMITED,
    MATRICES,
    SAMPLINGS,
    SCALING,
    SMPTE170M,
    Colour,
)
from mtujax.video.media import side_data

PQ, HLG = 16, 18  # H.273 transfer characteristics


REFERENCE_WHITE = 203.0  # cd/m2
DEFAULT_PEAK = 1000.0  # cd/m2: the nominal display of HLG, and most PQ masters
_PEAKS = (100.0, 10000.0)  # cd/m2: metadata outside is nonsense
_SIZE = 65536  # entries of a table

# Chromaticities x, y of red, green and blue, by H.273 code point; the white is D65. The
# white of DCI-P3 (11) is another: taken as D65, as if the eye had adapted to it.
_D65 = (0.3127, 0.3290)
_BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_PRIMARIES = {1: _BT709, 9: _BT2020, 11: _P3, 12: _P3}

# BT.2100-2, tables 4 and 5.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_PQ_PEAK = 10000.0  # cd/m2
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2  # cd/m2 and system gamma of the nominal display


class ToneMapper:
    """Maps frames of one HDR coding to BT.709, every pixel by the same rule."""

    # Highlights are rolled off by the EETF of Report BT.2390, section 5.4.1. Everything
    # below a knee, 88 cd/m2 for a peak of 1000, stays as it is, so that skin and grey
    # cards have their SDR level, and reference white stays at 90 % of the signal.
    # It acts on the largest of R, G and B, and all three get the same gain: hue and
    # saturation stay, and no channel overflows, as blue would if the gain came from its
    # luminance. It follows the change of primaries, so that this holds for the colours
    # shown; those outside BT.709 are clipped to its border (Report BT.2407, section 2).
    #
    # The signal is for the SDR reference display, BT.1886 with gamma 2.4, because the
    # light of a screen is mapped. The curve of BT.709 is meant for light in a scene:
    # with it, the contrast that a display adds would be applied twice.

    def __init__(self, transfer: int, primaries: int, peak: float | None = None):
        """Builds the tables; the peak, above which light is clipped, is in cd/m2."""
        if transfer not in (PQ, HLG):
            raise ValueError(f"transfer must be {PQ} or {HLG}, got {transfer}")
        peak = DEFAULT_PEAK if peak is None else peak
        if not peak > 0:
            raise ValueError(f"peak must be > 0, got {peak}")
        # H.273 code points; all others, the unspecified 2 too, are taken as BT.2020.
        to_xyz = _rgb_to_xyz(_PRIMARIES.get(primaries, _BT2020))
        self._matrix = np.linalg.inv(_rgb_to_xyz(_BT709)) @ to_xyz
        signal = np.linspace(0, 1, _SIZE)
        self._luminance = to_xyz[1:2] if transfer == HLG else None
        light = pq_to_light(signal) if transfer == PQ else _hlg_to_scene(signal)
        self._light = light.astype(np.float32)
        # The roll-off is tabulated over the root of light, to be fine in the shadows;
        # up to the most that one channel can have after the change of primaries.
        limit = self._matrix.clip(0).sum(axis=1).max() * _PQ_PEAK / REFERENCE_WHITE
        self._scale = np.float32((_SIZE - 2) / np.sqrt(limit))  # one entry to spare
        light = (np.arange(_SIZE) / self._scale) ** 2
        # The result and not the gain: rounding may not make a ramp descend.
        self._rolled = roll_off(light, peak).astype(np.float32)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Maps HDR [H, W, 3] uint16, full range, to SDR uint8 of BT.709 primaries."""
        source = self._light[rgb]
        # Changes primaries: each channel's distance from green goes through the matrix.
        # Its rows sum to 1, so that this is the same product; but greys have no
        # distance, and stay neutral to the last bit however the processor rounds.
        green = source[..., 1:2]
        light = cv2.transform(source - green, self._matrix) + green
        light = np.maximum(light, 0)
        if self._luminance is not None:
            # The OOTF of HLG, by luminance in its own primaries.
            luminance = cv2.transform(source, self._luminance).reshape(rgb.shape[:2])
            light *= cv2.pow(luminance, _HLG_GAMMA - 1)[..., None]
        red, green, blue = cv2.split(light)
        brightest = cv2.max(cv2.max(red, green), blue)
        index = (np.sqrt(brightest) * self._scale + np.float32(0.5)).astype(np.uint16)
        gain = self._rolled[index] / np.maximum(brightest, np.float32(1e-9))
        light *= gain[..., None]
        return cv2.convertScaleAbs(cv2.pow(light, 1 / 2.4), alpha=255)


def pq_to_light(signal: np.ndarray) -> np.ndarray:
    """EOTF of PQ, BT.2100-2 table 4: signal in [0, 1] -> light in [0, 49.3]."""
    root = np.asarray(signal) ** (1 / _M2)
    light = (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return light * (_PQ_PEAK / REFERENCE_WHITE)


def light_to_pq(light: np.ndarray) -> np.ndarray:
    """Inverts `pq_to_light`: light in [0, 49.3], any shape, -> signal in [0, 1]."""
    power = (np.asarray(light) * (REFERENCE_WHITE / _PQ_PEAK)) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def roll_off(light: np.ndarray, peak: float) -> np.ndarray:
    """EETF of BT.2390, 5.4.1, of light >= 0, any shape; `peak` in cd/m2 becomes 1.0."""
    if peak <= REFERENCE_WHITE:  # nothing needs a roll-off
        return np.minimum(light, 1)
    # In steps of equal visibility (PQ): the identity up to a knee, then a Hermite
    # spline that ends flat.
    top = light_to_pq(peak / REFERENCE_WHITE)
    signal = light_to_pq(np.minimum(light, peak / REFERENCE_WHITE)) / top
    white = light_to_pq(1.0) / top
    knee = 1.5 * white - 0.5
    t = np.maximum(signal - knee, 0) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (3 * t**2 - 2 * t**3) * white
    )
    rolled = np.minimum(pq_to_light(spline * top), 1)
    return np.where(signal <= knee, light, rolled)


def mastering_peak(frame: av.VideoFrame) -> float | None:
    """Peak in cd/m2, in [100, 10000], by a frame's metadata; None if not credible."""
    # The lower one of the mastering display's peak and the content's brightest pixel
    # (SMPTE ST 2086, CTA-861 MaxCLL).
    peaks = []
    if (data := side_data(frame, "MASTERING_DISPLAY_METADATA")) is not None:
        # AVMasteringDisplayMetadata: ten rationals, the last one is the highest
        # luminance; then whether there are primaries, whether there is luminance.
        *_, number, divisor, _, known = struct.unpack_from("=22i", data)
        peaks.append(number / divisor if known and divisor else 0)
    if (data := side_data(frame, "CONTENT_LIGHT_LEVEL")) is not None:
        peaks.append(struct.unpack_from("=I", data)[0])
    credible = [p for p in peaks if _PEAKS[0] <= p <= _PEAKS[1]]
    return min(credible, default=None)


def _hlg_to_scene(signal):
    """Applies HLG's inverse OETF, BT.2100-2 table 5, scaled to an OOTF without gain."""
    # That is, light = scene * (luminance of scene) ** (gamma - 1).
    high = (np.exp((np.maximum(signal, 0.5) - _C) / _A) + _B) / 12
    scene = np.where(signal <= 0.5, signal**2 / 3, high)
    return scene * (_HLG_PEAK / REFERENCE_WHITE) ** (1 / _HLG_GAMMA)


def _rgb_to_xyz(primaries):
    """[3, 3] matrix of primaries given by chromaticities (SMPTE RP 177)."""
    columns = np.array([_xyz(c) for c in primaries]).T
    return columns * np.linalg.solve(columns, _xyz(_D65))


def _xyz(chromaticity):
    x, y = chromaticity
    return np.array([x / y, 1, (1 - x - y) / y])


_HDR = {PQ: "PQ", HLG: "HLG"}


class Pixels:
    """Converts the frames of one video, each according to its own tags."""

    def __init__(self, first, colour: Colour):
        """Takes the first frame (PyAV's), whose size all others are scaled to."""
        self._size, self._colour = (first.width, first.height), colour
        self._other_sizes = {}
        self._map = None
        if colour.transfer in _HDR:
            peak = mastering_peak(first)
            self._map = ToneMapper(colour.transfer, colour.primaries, peak)

    def __call__(self, frame) -> np.ndarray:
        """Converts PyAV's frame of any size to [H, W, 3] uint8 RGB of the first's."""
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
        """Reports every other frame size that was seen, one sentence each."""
        first = "{}x{}".format(*self._size)
        return [
            f"{counted(count, 'frame')} of {width}x{height} in mid-stream scaled to "
            f"{first}"
            for (width, height), count in self._other_sizes.items()
        ]


def coding(context, frame) -> Colour:
    """Colour coding of a stream by its first frame; a missing matrix is guessed."""
    # Untagged video of 720 rows or more is BT.709 and smaller video BT.601, as most
    # players take it.
    matrix = int(frame.colorspace)
    if frame.format.is_rgb:
        matrix = BT709
    elif matrix not in MATRICES and int(context.color_trc) in _HDR:
        matrix = BT2020
    elif matrix not in MATRICES:
        matrix = BT709 if min(frame.height, frame.width) >= 720 else SMPTE170M
    return Colour(matrix, int(context.color_primaries), int(context.color_trc))


def sampling(format) -> str | None:
    """The key of `SAMPLINGS` for PyAV's pixel format; None for grey."""
    if format.is_rgb or format.has_palette:
        return "RGB"
    shared = 64 // format.chroma_width(64), 64 // format.chroma_height(64)
    coloured = sum(not c.is_alpha for c in format.components) > 1
    return next((n for n, s in SAMPLINGS.items() if coloured and s == shared), None)


def is_full_range(frame) -> bool:
    """Whether the levels of PyAV's frame fill 0 to 255."""
    old = frame.format.name.startswith("yuvj")
    return old or frame.format.is_rgb or int(frame.color_range) == FULL


def is_hdr(colour: Colour) -> bool:
    """Whether the transfer characteristic is PQ or HLG."""
    return colour.transfer in _HDR


def lost(stream, frame, colour: Colour) -> list[str]:
    """Lists what 8-bit RGB cannot hold of a stream, by its tags and first frame."""
    notes, bits = [], max(c.bits for c in frame.format.components)
    if is_hdr(colour):
        kind = _HDR[colour.transfer]
        notes.append(
            f"HDR input ({kind}, {bits} bits) is tone-mapped to BT.709 with 8 bits"
        )
    elif bits > 8:
        notes.append(f"{bits}-bit input is converted to 8 bits")
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    alpha = any(c.is_alpha for c in frame.format.components)
    if alpha or tags.get("alpha_mode") == "1":  # VP8's and VP9's is another stream
        notes.append("the alpha channel is dropped")
    return notes
