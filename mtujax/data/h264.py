"""What H.264 leaves of a clip: 8 bits, 4:2:0, as phones write it.

Colours are turned to and from YCbCr (ITU-R BT.709, limited range) here, rounded and not
truncated, so that compression neither darkens nor tints. Letters: T time, H W pixels.
"""

from fractions import Fraction

import cv2
import numpy as np

# ITU-R BT.709: rows give Y, Cb, Cr of R, G, B in 0..255, then their offset.
_LUMA = np.array([0.2126, 0.7152, 0.0722])
YCBCR = np.array(
    [
        219 / 255 * _LUMA,
        224 / 255 * (np.array([0, 0, 1]) - _LUMA) / (2 - 2 * _LUMA[2]),
        224 / 255 * (np.array([1, 0, 0]) - _LUMA) / (2 - 2 * _LUMA[0]),
    ]
)
OFFSET = np.array([16.0, 128.0, 128.0])


def through_h264(frames: np.ndarray, crf: int) -> np.ndarray:
    """Encodes and decodes a clip.

    Args:
        frames: [T, H, W, 3] uint8, RGB.
        crf: constant rate factor, 0 to 51: 18 hardly shows, 28 does.

    Returns:
        [T, H, W, 3] uint8; the same on any number of cores, not with any x264.

    Raises:
        RuntimeError: if PyAV has no x264.
    """
    import av  # only here, and late: a machine that trains may do without it

    if "libx264" not in av.codecs_available:
        raise RuntimeError("PyAV was built without libx264; compress no clips")
    count, height, width, _ = frames.shape
    odd = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    even = np.pad(frames, odd, mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = even.shape[1:3]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 30)
    encoder.options = {"crf": str(crf), "preset": "fast", "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    packets, decoded = [], []
    for number, frame in enumerate(even):
        picture = av.VideoFrame.from_ndarray(_to_planes(frame), format="yuv420p")
        picture.pts, picture.time_base = number, encoder.time_base
        packets += encoder.encode(picture)
    for packet in [*packets, *encoder.encode(None), None]:
        decoded += decoder.decode(packet)
    decoded = np.stack([_from_planes(f.to_ndarray(format="yuv420p")) for f in decoded])
    return decoded[:count, :height, :width]


def _to_planes(frame):
    """[H * 3 / 2, W] uint8: Y, then Cb and Cr at half the size."""
    matrix = np.concatenate([YCBCR, OFFSET[:, None]], axis=1)
    ycbcr = cv2.transform(frame.astype(np.float32), matrix)
    height, width, _ = frame.shape
    half = (width // 2, height // 2)
    chroma = cv2.resize(ycbcr[..., 1:], half, interpolation=cv2.INTER_AREA)
    planes = [ycbcr[..., 0], chroma[..., 0], chroma[..., 1]]
    planes = np.concatenate([p.ravel() for p in planes]).reshape(-1, width)
    return np.rint(planes).clip(0, 255).astype(np.uint8)


def _from_planes(planes):
    """[H, W, 3] uint8."""
    width = planes.shape[1]
    height = planes.shape[0] * 2 // 3
    chroma = planes[height:].reshape(2, height // 2, width // 2).astype(np.float32)
    size = (width, height)
    chroma = [cv2.resize(c, size, interpolation=cv2.INTER_LINEAR) for c in chroma]
    ycbcr = np.dstack([planes[:height].astype(np.float32), *chroma])
    matrix = np.linalg.inv(YCBCR)
    matrix = np.concatenate([matrix, -(matrix @ OFFSET)[:, None]], axis=1)
    return np.rint(cv2.transform(ycbcr, matrix)).clip(0, 255).astype(np.uint8)
