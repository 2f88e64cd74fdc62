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


@dataclasses.dataclass(frozen=True)
class Shake:
    """How a hand-held camera moves and exposes; ranges are drawn from, once per clip.

    Attributes:
        speed: pixels per frame of the shake and pan together, log-uniform.
        pan: share of the speed that is a steady pan, the rest oscillates.
        frequency: of the oscillation, in cycles per frame.
        roll: degrees per frame at the given speed of 1 px per frame.
        zoom: relative change of scale per frame, at 1 px per frame.
        duty: exposure time as a share of the frame interval.
        scale: photograph pixels per frame pixel.
        noise: standard deviation on the blurry side, in [0, 1] after the camera's
            response.
    """

    speed: tuple[float, float] = (0.5, 16.0)
    pan: tuple[float, float] = (0.0, 0.8)
    frequency: tuple[float, float] = (0.03, 0.25)
    roll: float = 0.05
    zoom: float = 0.0005
    duty: tuple[float, float] = (0.2, 1.0)
    scale: tuple[float, float] = (0.8, 1.25)
    noise: tuple[float, float] = (0.0, 0.01)


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
    path = _CameraPath.draw(photo, rng, height, width, shake)
    duty = rng.uniform(*shake.duty)
    noise = rng.uniform(*shake.noise)
    times = np.arange(frames)
    sharp = [_render(photo, path.pose(t), height, width) for t in times]
    blurry = [_expose(photo, path, t, duty, height, width) for t in times]
    flow, valid = _motion([path.pose(t) for t in times], height, width)
    blurred = srgb_from_linear(np.stack(blurry))
    blurred = blurred + rng.normal(0.0, noise, blurred.shape).astype(np.float32)
    return BlurredClip(
        _to_uint8(blurred), _to_uint8(srgb_from_linear(np.stack(sharp))), flow, valid
    )


@dataclasses.dataclass(frozen=True)
class _CameraPath:
    """A smooth pose over time: base crop, then roll, zoom and translation about it."""

    base: np.ndarray  # 3x3, centred frame pixels to photograph pixels
    centre: np.ndarray  # of the frame, in pixels
    velocity: np.ndarray  # of the pan: x, y in pixels per frame
    amplitude: np.ndarray  # [4, K]: x, y (pixels), roll (radians), log zoom
    frequency: np.ndarray  # [4, K] radians per frame
    phase: np.ndarray  # [4, K]

    @classmethod
    def draw(cls, photo, rng, height, width, shake):
        speed = np.exp(rng.uniform(*np.log(shake.speed)))
        angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(*shake.pan)
        frequency = 2 * np.pi * rng.uniform(*shake.frequency, (4, 3))
        # A sine of amplitude a and angular frequency w moves by about a w a frame.
        size = np.array([1, 1, np.radians(shake.roll), shake.zoom])[:, None] * speed
        amplitude = size * rng.normal(0, 0.7, (4, 3)) / (frequency * np.sqrt(3))
        amplitude[:2] *= 1 - share
        return cls(
            base=_choose_crop(photo, rng, height, width, shake),
            centre=np.array([(width - 1) / 2, (height - 1) / 2]),
            velocity=speed * share * np.array([np.cos(angle), np.sin(angle)]),
            amplitude=amplitude,
            frequency=frequency,
            phase=rng.uniform(0, 2 * np.pi, (4, 3)),
        )

    def pose(self, time: float) -> np.ndarray:
        """The 3x3 matrix from frame pixels (x, y, 1) to photograph pixels."""
        waves = np.sin(self.frequency * time + self.phase) - np.sin(self.phase)
        x, y, roll, zoom = (self.amplitude * waves).sum(axis=1)
        x, y = np.array([x, y]) + self.velocity * time
        c, s = np.exp(zoom) * np.cos(roll), np.exp(zoom) * np.sin(roll)
        move = np.array([[c, -s, x], [s, c, y], [0, 0, 1]])
        centred = np.eye(3)
        centred[:2, 2] = -self.centre
        return self.base @ move @ centred


def _choose_crop(photo, rng, height, width, shake, candidates=3):
    """A turned, flipped and scaled crop; of a few, one with texture to learn from."""
    best, energy = None, -1.0
    for _ in range(candidates):
        turn = np.eye(2)[:, rng.permutation(2)] * rng.choice([-1.0, 1.0], 2)
        reach = np.abs(turn) @ np.array([width, height]) / 2
        room = np.array([photo.shape[1], photo.shape[0]]) / 2
        scale = min(rng.uniform(*shake.scale), *(room / reach))
        low = reach * scale
        high = 2 * room - low - 1
        base = np.eye(3)
        base[:2, :2] = turn * scale
        base[:2, 2] = rng.uniform(low, np.maximum(low, high))
        x, y = base[:2, 2].astype(int)
        rx, ry = low.astype(int)
        part = photo[max(y - ry, 0) : y + ry : 2, max(x - rx, 0) : x + rx : 2, 1]
        texture = np.abs(np.diff(np.sqrt(part), axis=1)).mean() if part.size else 0.0
        if texture > energy:
            best, energy = base, texture
    return best


def _render(photo, pose, height, width):
    return cv2.warpAffine(
        photo,
        pose[:2],
        (width, height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
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


def read_photo(path: str) -> np.ndarray:
    """Reads a photograph into linear light.

    Args:
        path: an image file.

    Returns:
        [H, W, 3] float32 in [0, 1], RGB.

    Raises:
        ValueError: if the file cannot be read as an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not an image that can be read")
    return linear_from_srgb(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


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
