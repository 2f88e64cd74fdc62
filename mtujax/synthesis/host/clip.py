"""Blurry clips with exact motion, made from sharp photographs, also as training draws.

A hand-held camera moves in front of a photograph and objects before it; each blurry
frame averages the sub-frames of its exposure in linear light, and the sharp frame is
the middle one. The motion between sharp frames is known exactly. NumPy and OpenCV only.
Letters: T time, H W pixels, h w of a crop. Images are RGB.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mtujax.common.text import counted
from mtujax.data.clips import ClipSpec, Sample, Samples, too_small
from mtujax.errors import UserError
from mtujax.synthesis.host.scene import Scene, backward_flow, draw_scene
from mtujax.synthesis.host.sensor import Sensor, subframe_times, through_h264
from mtujax.synthesis.photos import read_cutout, scaled_down
from mtujax.synthesis.settings import BlurSettings
from mtujax.video.image_files import read_image

UNSEEN = 0.1  # pixels of smear that do not show
JOINTS = 9  # points of the path at which an exposure's smear is measured


@dataclasses.dataclass(frozen=True)
class BlurredClip:
    """A blurry clip with its ground truth.

    Examples:
        >>> photo = read_photo("photos/arches.jpg")
        >>> clip = synthesize(
        ...     photo, np.random.default_rng(0), frames=2, height=48, width=64
        ... )
        >>> clip.flow.shape, bool(clip.valid[0].any())  # no frame before the first
        ((2, 48, 64, 2), False)

    Attributes:
        blurry: [T, H, W, 3] uint8 RGB.
        sharp: [T, H, W, 3] uint8 RGB.
        flow: [T, H, W, 2] float32 (dx, dy) in pixels, of the surface visible in each
            sharp frame, back to the previous frame; zero for the first.
        valid: bool [T, H, W]; False where the flow leaves the frame or leads to a
            hidden point, where two surfaces share a pixel, and in the first frame.
        duty: [T] float32 exposure time as a share of the frame interval.
    """

    blurry: np.ndarray
    sharp: np.ndarray
    flow: np.ndarray
    valid: np.ndarray
    duty: np.ndarray


def synthesize(
    photo: np.ndarray,
    rng: np.random.Generator,
    *,
    frames: int,
    height: int,
    width: int,
    blur: BlurSettings | None = None,
    cutouts: Sequence[np.ndarray] = (),
) -> BlurredClip:
    """Makes a blurry clip from a photograph; equal generators give equal clips.

    Examples:
        >>> photo = read_photo("photos/arches.jpg")
        >>> blur = BlurSettings(Shake(speed=(4, 8)))
        >>> clip = synthesize(
        ...     photo,
        ...     np.random.default_rng(0),
        ...     frames=3,
        ...     height=48,
        ...     width=64,
        ...     blur=blur,
        ... )
        >>> clip.blurry.shape
        (3, 48, 64, 3)

    Args:
        photo: [H', W', 3] sharp photograph: float32 linear light in [0, 1], or uint8
            display values.
        rng: source of randomness.
        frames: T >= 1.
        height: H of the frames in pixels.
        width: W of the frames in pixels.
        blur: motion, objects and exposure; None takes the defaults of `BlurSettings`,
            without objects.
        cutouts: [h, w, 4] uint8, from `read_cutouts`, that the objects look like; if
            empty, objects are pieces of the photograph.

    Returns:
        The clip.

    Raises:
        ValueError: if the photograph is smaller than a frame, or of another dtype or
            number of axes.
    """
    blur = blur or BlurSettings()
    sensor = Sensor.draw(rng, frames, blur.exposure)
    scene = draw_scene(
        photo,
        rng,
        frames=frames,
        height=height,
        width=width,
        blur=blur,
        sensor=sensor,
        cutouts=cutouts,
    )
    return film(scene, sensor, rng, frames=frames, longest=blur.exposure.longest)


def film(
    scene: Scene,
    sensor: Sensor,
    rng: np.random.Generator,
    *,
    frames: int,
    longest: float = 48.0,
) -> BlurredClip:
    """Renders a scene, exposed for less time where more than `longest` pixels smear."""
    height, width = scene.camera.height, scene.camera.width
    blurry, sharp = (np.empty((frames, height, width, 3), np.uint8) for _ in range(2))
    flow = np.zeros((frames, height, width, 2), np.float32)
    valid = np.zeros((frames, height, width), bool)
    duties = np.empty(frames, np.float32)
    before = None
    for t in range(frames):
        duties[t], light, middle, now = _expose(scene, t, sensor.duty[t], longest)
        sharp[t] = sensor.develop(middle)
        blurry[t] = sensor.develop(sensor.noisy(light, rng))
        if before:
            flow[t], valid[t] = backward_flow(*zip(before, now, strict=True))
        before = now
    if sensor.crf is not None:
        blurry = through_h264(blurry, sensor.crf)
    return BlurredClip(blurry, sharp, flow, valid, duties)


def _expose(scene, time, duty, longest):
    """Duty, mean of sub-frames a pixel apart at most, the middle one, poses, labels."""
    joints = np.linspace(-0.5, 0.5, JOINTS)
    travel = scene.travel(time + duty * joints)
    if travel > longest:
        duty *= longest / travel
        travel = scene.travel(time + duty * joints)
    count = max(int(np.ceil(travel)), 3 if travel > UNSEEN else 1) | 1
    poses = scene.poses(subframe_times(time, duty, count))
    total, middle, labels = None, None, None
    for number, pose in enumerate(poses):
        if number == count // 2:
            frame, labels = scene.render_labelled(pose)
            middle = cv2.cvtColor(frame, cv2.COLOR_RGBA2RGB)
        else:
            frame = scene.render(pose)
        total = frame if total is None else cv2.add(total, frame, dst=total)
    light = cv2.cvtColor(total, cv2.COLOR_RGBA2RGB)
    light *= np.float32(1 / count)
    return duty, light, middle, (poses[count // 2], labels)


class PhotoSamples(Samples):
    """Clips made from photographs when they are drawn: every one is new.

    Examples:
        >>> samples = PhotoSamples(["photos/arches.jpg"], ClipSpec(frames=3))
        >>> batches = training_batches(samples, spec=BatchSpec(crop=32, batch=2))
        >>> batch = next(batches)
        >>> batch["sharp"].shape, batch["motion"].shape
        ((2, 3, 32, 32, 3), (2, 3, 8, 8))

    Attributes:
        name: description for messages.
        spec: how clips are cut.
        note: None, as a photograph gives clips of any length.
    """

    note = None

    def __init__(
        self,
        photos: Sequence[str | os.PathLike],
        spec: ClipSpec | None = None,
        *,
        blur: BlurSettings | None = None,
        cutouts: Sequence[str | os.PathLike] = (),
        max_side: int | None = None,
    ):
        """Reads the photographs.

        Args:
            photos: PNG or JPEG files.
            spec: how clips are cut; None takes the defaults of `ClipSpec`.
            blur: motion, objects and exposure; None takes the defaults of
                `BlurSettings`, without objects.
            cutouts: PNG files with an alpha channel that the objects look like; if
                empty, objects are pieces of the photographs.
            max_side: pixels of the longer side to which larger photographs are scaled
                down; None keeps their sizes.

        Raises:
            UserError: naming a file that cannot be read, or if there is no photograph.
        """
        if not photos:
            raise UserError("no photographs are given, so there is nothing to draw")
        self.name, self.spec = counted(len(photos), "photograph"), spec or ClipSpec()
        self._photos, self._cutouts = ([Path(p) for p in f] for f in (photos, cutouts))
        self._blur, self._max_side = blur, max_side
        self._read()

    def _read(self):
        images = map(read_image, self._photos)
        self._images = [scaled_down(image, self._max_side) for image in images]
        self._shapes = list(map(read_cutout, self._cutouts))

    def __getstate__(self):
        """Leaves out the pixels."""
        return {**self.__dict__, "_images": None, "_shapes": None}

    def __setstate__(self, state):
        """Reads the photographs again."""
        self.__dict__.update(state)
        self._read()

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self._images)

    def check(self, height: int, width: int) -> None:
        """Checks that every photograph is as large as a crop.

        Args:
            height: h of the crop in pixels.
            width: w of the crop in pixels.

        Raises:
            UserError: naming the first photograph that is too small.
        """
        for path, image in zip(self._photos, self._images, strict=True):
            if image.shape[0] < height or image.shape[1] < width:
                raise too_small(path, *image.shape[:2], height, width)

    def describe(self, index: int) -> str:
        """Names a photograph, for messages.

        Args:
            index: number of the photograph.

        Returns:
            The name of its file.
        """
        return self._photos[index].name

    def draw(
        self, index: int, rng: np.random.Generator, height: int, width: int
    ) -> Sample:
        """Makes a new clip from a photograph.

        Args:
            index: number of the photograph.
            rng: source of randomness.
            height: h of the crop in pixels.
            width: w of the crop in pixels.

        Returns:
            A `Sample`: blurry frames with their look-back and look-ahead, [T, h, w, 3]
            uint8 sharp frames, and the exact backward flow of these in pixels with its
            mask, which is False in the first frame.
        """
        before = self.spec.lookback if self.spec.use_preceding_frames else 0
        frames = before + self.spec.frames + self.spec.lookahead
        size = dict(frames=frames, height=height, width=width)
        clip = synthesize(
            self._images[index], rng, **size, blur=self._blur, cutouts=self._shapes
        )
        positions = self.spec.positions(before, frames)
        targets = slice(before, before + self.spec.frames)
        flow, valid = clip.flow[targets].copy(), clip.valid[targets].copy()
        flow[0], valid[0] = 0, False
        return Sample(
            clip.blurry[positions], clip.sharp[targets], positions, flow, valid
        )
