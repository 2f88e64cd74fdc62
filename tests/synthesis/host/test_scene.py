"""Scenes of layers: parallax, occlusion, and flow that is exact."""

import numpy as np
import pytest
from scenery import before, panning, psnr, rectangle, rest, warped, waves
from scipy.ndimage import binary_erosion

from mtujax.synthesis.host.camera import CameraPath, apply, corners
from mtujax.synthesis.host.clip import film
from mtujax.synthesis.host.scene import MIXED, backward_flow
from mtujax.synthesis.host.sensor import Sensor
from mtujax.synthesis.settings import Shake


def filmed(scene, frames=2, duty=0.0):
    sensor = Sensor(duty=np.full(frames, duty))
    return film(scene, sensor, np.random.default_rng(0), frames=frames)


def test_an_object_hides_where_it_is_and_uncovers_where_it_was():
    """A 40-pixel square moves 7 pixels to the right before a camera at rest."""
    square = rectangle(40, 40, centre=(0, 0), velocity=(7, 0), middle=1)
    clip = filmed(before(panning(0.0), waves(), square))
    inside, uncovered = np.zeros((2, 96, 160), bool)
    inside[28:68, 60:100] = True  # around the frame's middle, (79.5, 47.5)
    uncovered[28:68, 53:60] = True
    flow = np.where(inside[..., None], [-7, 0], 0)
    np.testing.assert_allclose(clip.flow[1], flow, atol=1e-4)
    np.testing.assert_array_equal(clip.valid[1], ~uncovered)


def test_what_leaves_the_frame_is_not_valid():
    clip = filmed(before(panning(5.0), waves()))
    # The picture moves right: its left edge came from outside.
    np.testing.assert_allclose(clip.flow[1, ..., 0], -5, atol=0.05)
    expected = np.arange(160) >= -clip.flow[1, 0, 0, 0]
    np.testing.assert_array_equal(clip.valid[1], np.tile(expected, (96, 1)))


def test_nearer_things_move_more_when_the_camera_walks_and_not_when_it_turns():
    square = rectangle(30, 30, centre=(0, 0), near=2.5)
    camera = panning(3.0)
    walking = filmed(before(camera, waves(), square)).flow[1]
    assert walking[48, 80, 0] == pytest.approx(2.5 * walking[4, 80, 0], rel=1e-3)
    turn = CameraPath(160, 96, 160.0, 0.0, np.array([3.0, 0, 0, 0]), rest())
    turning = filmed(before(turn, waves(), square)).flow[1]
    smooth = np.diff(turning[48, :, 0], axis=0)
    assert np.abs(smooth).max() < 0.02 and abs(turning[48, 80, 0]) > 2.5


@pytest.mark.parametrize("seed", range(3))
def test_the_flow_is_where_the_surface_was(seed):
    """Against the homographies, point by point: through the texture and out again."""
    camera = CameraPath.draw(
        np.random.default_rng(seed),
        frames=3,
        height=96,
        width=160,
        shake=Shake(speed=(9.0, 9.0)),
    )
    square = rectangle(40, 40, centre=(0, 0), velocity=(4, -3), middle=1, near=1.7)
    scene = before(camera, waves(500, 500), square)
    poses = scene.poses(np.arange(3.0))
    labels = [scene.render_labelled(p)[1] for p in poses]
    flow, _ = backward_flow((poses[1], poses[2]), (labels[1], labels[2]))
    points = np.array([[3, 5], [150, 90], [80, 48], [84, 44], [20, 80]])
    for x, y in points:
        layer = labels[2][0][y, x]
        texel = apply(poses[2, layer], np.array([[x, y]]))
        place = apply(np.linalg.inv(poses[1, layer]), texel)[0]
        np.testing.assert_allclose(flow[y, x], place - [x, y], atol=2e-3)


def test_warping_the_frame_before_gives_the_frame_also_behind_objects():
    square = rectangle(40, 40, centre=(3, 2), velocity=(4, -3), near=1.4)
    clip = filmed(before(panning(5.3, angle=0.4), waves(), square), frames=3)
    sharp = clip.sharp / np.float32(255)
    for t in (1, 2):
        # Splines read further than the pixels that the mask vouches for.
        safe = binary_erosion(clip.valid[t], iterations=6)
        right = psnr(warped(sharp[t - 1], clip.flow[t])[safe], sharp[t][safe])
        wrong = psnr(warped(sharp[t - 1], clip.flow[t] + 0.25)[safe], sharp[t][safe])
        assert right > 45 > wrong and safe.mean() > 0.5


def test_a_still_scene_is_valid_but_for_shared_pixels():
    clip = filmed(before(panning(0.0), waves(), rectangle(20, 20, centre=(0.5, 0))))
    assert not clip.flow.any()
    assert (~clip.valid[1]).sum() == 2 * 20  # its left and right edge, half covered


def test_a_half_transparent_object_is_no_surface_of_its_own():
    glass = rectangle(20, 20, centre=(0.5, 0.5), alpha=np.float32(0.4))
    scene = before(panning(0.0), waves(), glass)
    light, labels = scene.render_labelled(scene.poses(np.zeros(1))[0])
    assert labels[0][48, 80] == 0 and labels[1][48, 80] == MIXED
    behind = before(panning(0.0), waves()).render(scene.poses(np.zeros(1))[0])
    expected = 0.6 * behind[48, 80] + 0.4 * np.array([0.2, 0.3, 0.25, 1.0])
    np.testing.assert_allclose(light[48, 80], expected, atol=1e-5)


def test_a_nearer_object_hides_a_farther_one():
    far = rectangle(40, 40, centre=(0.5, 0.5))
    near = rectangle(20, 20, centre=(0.5, 0.5), near=2.0)
    scene = before(panning(0.0), waves(), far, near)
    _, labels = scene.render_labelled(scene.poses(np.zeros(1))[0])
    assert labels[0][48, 80] == 2 and labels[0][32, 64] == 1 and labels[0][2, 2] == 0


def test_objects_out_of_view_cost_and_change_nothing():
    away = rectangle(20, 20, centre=(4000, 0))
    alone, beside = before(panning(2.0), waves()), before(panning(2.0), waves(), away)
    np.testing.assert_array_equal(filmed(alone).sharp, filmed(beside).sharp)


def test_travel_is_the_longest_way_in_pixels():
    scene = before(panning(6.0), waves())
    assert scene.travel(np.linspace(-0.5, 0.5, 9)) == pytest.approx(6.0, rel=0.01)
    fast = rectangle(20, 20, centre=(0, 0), velocity=(9, 12), near=1.0)
    scene = before(panning(0.0), waves(), fast)
    assert scene.travel(np.linspace(-0.5, 0.5, 9)) == pytest.approx(15.0, rel=0.01)


@pytest.mark.parametrize("frames", [13, 200])
def test_no_path_turns_away_from_the_scene(frames):
    """However long the clip, the camera sees a bounded part of the plane before it."""
    for seed in range(20):
        camera = CameraPath.draw(
            np.random.default_rng(seed),
            frames=frames,
            height=90,
            width=160,
            shake=Shake(speed=(16.0, 16.0), pan=(0.8, 0.8), tilt=(0.0, 0.0)),
        )
        seen = camera.reach(np.arange(0, frames, 0.25))
        assert np.abs(seen).max() < 12 * 160
        views = np.linalg.inv(camera.planes(np.arange(frames))) @ camera.centring
        points = np.c_[corners(160, 90), np.ones(4)] @ np.swapaxes(views, 1, 2)
        assert (points[..., 2] > 0).all()
