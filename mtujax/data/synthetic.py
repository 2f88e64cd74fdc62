"""Blurry clips with exact motion, made from sharp photographs by shaking a camera.

A smooth camera path moves a crop over the photograph; each blurry frame averages the
sub-frames of its exposure in linear light, and the sharp frame is the middle one. The
motion between sharp frames is known exactly. NumPy and OpenCV only. Letters: T time,
H W pixels. Images are RGB; `poses` are 3x3 matrices from frame to photograph pixels.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from mtujax.data.camera import CameraPath, Shake


@dataclasses.dataclass(frozen=True)
class BlurredClip:
    """A blurry clip with its ground truth.

    Attributes:
        blurry: [T, H, W, 3] uint8.
        sharp: [T, H, W, 3] uint8.
        flow: [T, H, W, 2] float32 (dx, dy) in pixels, from each sharp frame back to the
            one before; zero for the first.
        valid: bool [T, H, W]; False where the flow leaves the frame, and in frame 0.
    """

    blurry: np.ndarray
    sharp: np.ndarray
    flow: np.ndarray
    valid: np.ndarray


def linear_from_srgb(image: np.ndarray) -> np.ndarray:
    """Light intensity from display values. Reference: IEC 61966-2-1.

    Args:
        image: [..., 3] uint8, or float in [0, 1].

    Returns:
        [..., 3] float32 in [0, 1].
    """
    x = image.astype(np.float32)
    if image.dtype == np.uint8:
        x /= 255.0
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: np.ndarray) -> np.ndarray:
    """Display values from light intensity. Reference: IEC 61966-2-1.

    Args:
        light: [..., 3] float, clipped to [0, 1].

    Returns:
        [..., 3] float32 in [0, 1].
    """
    x = np.clip(light, 0.0, 1.0).astype(np.float32)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def synthesize(
    photo: np.ndarray,
    rng: np.random.Generator,
    *,
    frames: int,
    height: int,
    width: int,
    shake: Shake | None = None,
) -> BlurredClip:
    """Makes one blurry clip from one photograph; the same generator, the same clip.

    Args:
        photo: [H', W', 3] sharp photograph in linear light, float32 in [0, 1].
        rng: source of randomness.
        frames: T >= 1.
        height: H of the frames in pixels.
        width: W.
        shake: ranges of motion and exposure.

    Returns:
        A `BlurredClip`.

    Raises:
        ValueError: if the photograph is smaller than a frame, or not float.
    """
    shake = shake or Shake()
    if photo.dtype != np.float32 or photo.ndim != 3:
        raise ValueError("photo: give linear light, float32 [H, W, 3]")
    if photo.shape[0] < height or photo.shape[1] < width:
        raise ValueError(
            f"photo of {photo.shape[1]}x{photo.shape[0]}: smaller than the "
            f"{width}x{height} frames; choose a smaller size"
        )
    duty = rng.uniform(*shake.duty)
    noise = rng.uniform(*shake.noise)
    times = np.arange(frames)
    path = CameraPath.draw(rng, height, width, shake)
    path = path.placed(_choose_crop(photo, rng, path.corners(frames, duty), shake))
    sharp = [_render(photo, path.pose(t), height, width) for t in times]
    blurry = [_expose(photo, path, t, duty, height, width) for t in times]
    flow, valid = _motion([path.pose(t) for t in times], height, width)
    blurred = srgb_from_linear(np.stack(blurry))
    blurred = blurred + rng.normal(0.0, noise, blurred.shape).astype(np.float32)
    return BlurredClip(
        _to_uint8(blurred), _to_uint8(srgb_from_linear(np.stack(sharp))), flow, valid
    )


def _choose_crop(photo, rng, corners, shake, candidates=6):
    """A scaled, maybe turned and mirrored crop that keeps `corners` inside the photo.

    Of a few, one with texture to learn from. A photograph too small for the path is
    magnified.
    """
    limit = np.array([photo.shape[1], photo.shape[0]]) - 1.0
    best, energy = None, -1.0
    for _ in range(candidates):
        turn = np.eye(2)
        if shake.turn:
            turn = turn[:, rng.permutation(2)] * rng.choice([-1.0, 1.0], 2)
        reach = corners @ turn.T
        low, high = reach.min(axis=0), reach.max(axis=0)
        scale = min(rng.uniform(*shake.scale), *(limit / (high - low)))
        place = rng.uniform(-scale * low, limit - scale * high)
        base = np.eye(3)
        base[:2, :2], base[:2, 2] = turn * scale, place
        first = (scale * low + place).astype(int)
        last = np.ceil(scale * high + place).astype(int)
        part = photo[first[1] : last[1] : 2, first[0] : last[0] : 2, 1]
        texture = np.abs(np.diff(np.sqrt(part), axis=1)).mean()
        if texture > energy:
            best, energy = base, texture
    return best


def _render(photo, pose, height, width):
    return cv2.warpAffine(
        photo,
        pose[:2],
        (width, height),
        # Not INTER_CUBIC: OpenCV's kernel (a = -0.75) bends even a linear slope.
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _expose(photo, path, time, duty, height, width):
    """The mean of the sub-frames of one exposure, close enough to leave no gaps."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]).T
    ends = [path.pose(time + side * duty / 2) @ corners for side in (-1, 1)]
    extent = np.abs(ends[1] - ends[0]).max()
    count = int(np.clip(np.ceil(extent), 2, 48)) | 1
    moments = time + duty * ((np.arange(count) + 0.5) / count - 0.5)
    total = np.zeros((height, width, 3), np.float32)
    for moment in moments:
        total += _render(photo, path.pose(moment), height, width)
    return total / count


def _motion(poses, height, width):
    """Exact backward flow [T, H, W, 2] and where it stays inside [T, H, W]."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    points = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64)
    flow = np.zeros((len(poses), height, width, 2), np.float32)
    valid = np.zeros((len(poses), height, width), bool)
    for t in range(1, len(poses)):
        source = points @ (np.linalg.inv(poses[t - 1]) @ poses[t]).T
        flow[t] = (source - points)[..., :2]
        limit = np.array([width - 1, height - 1])
        valid[t] = ((source[..., :2] >= 0) & (source[..., :2] <= limit)).all(axis=-1)
    return flow, valid


def _to_uint8(image):
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def read_photo(path: str, *, longest: int | None = None) -> np.ndarray:
    """Reads a photograph into linear light.

    Args:
        path: an image file.
        longest: a larger photograph is averaged down until its longer side has this
            many pixels, which makes them sharp; None keeps its size.

    Returns:
        [H, W, 3] float32 in [0, 1], RGB.

    Raises:
        ValueError: if the file cannot be read as an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not an image that can be read")
    photo = linear_from_srgb(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    factor = longest / max(photo.shape[:2]) if longest else 1.0
    if factor >= 1:
        return photo
    return cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def clip_batches(
    photos: Sequence[np.ndarray],
    rng: np.random.Generator,
    *,
    batch: int,
    frames: int,
    size: int,
    shake: Shake | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Endless training batches of clips, each from a photograph drawn at random.

    Args:
        photos: photographs in linear light, from `read_photo`.
        rng: source of randomness.
        batch: clips B per batch.
        frames: T per clip.
        size: side of the square frames in pixels.
        shake: ranges of motion and exposure.

    Yields:
        `blurry`, `sharp` uint8 [B, T, H, W, 3], `flow` float32 [B, T, H, W, 2] and
        `valid` bool [B, T, H, W].

    Raises:
        ValueError: if no photograph is large enough for `size`.
    """
    photos = [p for p in photos if min(p.shape[:2]) >= size]
    if not photos:
        raise ValueError(f"no photograph is as large as {size}x{size}")
    while True:
        clips = [
            synthesize(
                photos[rng.integers(len(photos))],
                rng,
                frames=frames,
                height=size,
                width=size,
                shake=shake,
            )
            for _ in range(batch)
        ]
        fields = [f.name for f in dataclasses.fields(BlurredClip)]
        yield {f: np.stack([getattr(c, f) for c in clips]) for f in fields}
