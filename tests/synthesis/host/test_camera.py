"""Paths of camera and objects, against the geometry of a pinhole, point by point."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mtujax.synthesis.host.camera import CameraPath, ObjectPath, Waves, apply
from mtujax.synthesis.settings import Objects, Shake

TIMES = np.arange(-0.5, 4.6, 0.5)
POINTS = np.array([[-70.0, -40.0], [60.0, 30.0], [0.0, 0.0], [12.0, -33.0]])


def waved(waves, time):
    """The sums of sines, one by one."""
    return [
        sum(a * np.sin(f * time + p) for a, f, p in zip(*channel, strict=True))
        for channel in zip(*waves, strict=True)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_plane_is_seen_where_a_turned_and_moved_pinhole_sees_it(seed):
    rng = np.random.default_rng(seed)
    shake = Shake(speed=(9.0, 9.0), roll=1.0, zoom=0.01, forward=0.01)
    camera = CameraPath.draw(rng, frames=5, height=96, width=160, shake=shake)
    near, tilt = 1.7, np.array([0.3, -0.2])
    for time, plane in zip(
        TIMES, camera.planes(TIMES, near=near, tilt=tuple(tilt)), strict=True
    ):
        pose = np.array(waved(camera.waves, time))
        reach = 0.3 * 160
        pose[:4] += reach * np.sin(camera.pan * (time - 2) / reach)
        yaw, pitch, x, y = pose[:4] / camera.focal
        roll, zoom, forward = pose[4:]
        for point, seen in zip(POINTS, apply(plane, POINTS), strict=True):
            # The scene's point, at distance 1 / near / (1 + tilt . direction).
            direction = point / camera.focal
            place = np.array([*direction, 1.0]) / (near * (1 + tilt @ direction))
            turn = Rotation.from_euler("yxz", [yaw, -pitch, roll])
            place = turn.apply(place) + [x, y, forward]
            expected = camera.focal * np.exp(zoom) * place[:2] / place[2]
            np.testing.assert_allclose(seen, expected, atol=1e-8)


def test_an_object_is_turned_and_scaled_about_its_moving_centre():
    rng = np.random.default_rng(0)
    path = ObjectPath.draw(
        rng, centre=np.array([30.0, -8.0]), middle=2.0, objects=Objects(still=0.0)
    )
    for time, matrix in zip(TIMES, path.places(TIMES), strict=True):
        x, y, angle, growth = waved(path.waves, time)
        centre = path.centre + path.velocity * (time - 2) + [x, y]
        turned = Rotation.from_euler("z", angle).as_matrix()[:2, :2] @ POINTS.T
        expected = np.exp(growth) * turned.T + centre
        np.testing.assert_allclose(apply(matrix, POINTS), expected, atol=1e-10)


def test_waves_change_about_as_fast_as_asked():
    rng = np.random.default_rng(0)
    times = np.linspace(0, 50, 501)
    drawn = [
        Waves.draw(rng, np.array([2.0, 5.0]), (0.03, 0.25)).at(times)
        for _ in range(200)
    ]
    speed = np.sqrt(np.mean(np.square(np.diff(drawn) / 0.1), axis=(0, 2)))
    np.testing.assert_allclose(speed, [1.0, 2.5], rtol=0.1)
