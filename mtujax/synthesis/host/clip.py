"""Blurry clips with exact motion, made from sharp photographs.

A hand-held camera moves in front of a photograph and objects before it; each blurry
frame averages the sub-frames of its exposure in linear light, and the sharp frame is
the middle one. The motion between sharp frames is known exactly. NumPy and OpenCV only.
Letters: T time, H W pixels. Images are RGB.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from mtujax.synthesis.host.scene import Scene, backward_flow, draw_scene
from mtujax.synthesis.host.sensor import Sensor, subframe_times, through_h264
from mtujax.synthesis.settings import BlurSettings

UNSEEN = 0.1  # pixels of smear that do not show
JOINTS = 9  # points of the path at which an exposure's smear is measured


@dataclasses.dataclass(frozen=True)
class BlurredClip:
    """A blurry clip with its ground truth.

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
