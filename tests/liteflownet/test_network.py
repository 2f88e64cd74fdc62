"""The teacher's flow at any size, and the labels made of it."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recordings

from mtujax.data.flow import consistent
from mtujax.liteflownet import network as teacher
from mtujax.liteflownet.convert import teacher_params
from mtujax.liteflownet.network import LiteFlowNet, label_motion
from mtujax.ops.labels import motion_labels, returns
from mtujax.ops.resampling import area_resize, backward_warp


@pytest.fixture(scope="module")
def params():
    return teacher_params(recordings.read_teacher().tensors)


class SaysWhatIsDrawn:
    """A network whose flow is drawn in the frame: red is dx, green dy."""

    def apply(self, variables, current, previous):
        assert current.shape == previous.shape
        assert not any(side % 32 for side in current.shape[1:3])
        batch, height, width, _ = current.shape
        halves = current[..., :2].reshape(batch, height // 2, 2, width // 2, 2, 2)
        return halves.mean((2, 4))


@pytest.fixture
def drawn(monkeypatch):
    """`flow` and `label_motion`, run by that network."""

    def compiled_again(
        compiled, **options
    ):  # what was compiled with the real one is not it
        return jax.jit(functools.partial(compiled.__wrapped__), **options)

    monkeypatch.setattr(teacher, "LiteFlowNet", SaysWhatIsDrawn)
    monkeypatch.setattr(teacher, "flow", compiled_again(teacher.flow))
    return teacher.flow, compiled_again(
        label_motion, static_argnames=("radius", "label_all_cells")
    )


def test_frames_of_any_size_are_enlarged_and_the_flow_brought_back(drawn, rng):
    flow, _ = drawn
    current, previous = rng.random((2, 1, 40, 72, 3)).astype(np.float32)
    enlarged = cv2.resize(current[0], (96, 64), interpolation=cv2.INTER_LINEAR)
    half = enlarged.reshape(32, 2, 48, 2, 3).mean((1, 3))[..., :2]
    expected = area_resize(jnp.asarray(half)[None], 40, 72)
    expected = expected * np.float32([72 / 96, 40 / 64]).reshape(1, 1, 1, 2)
    found = flow({}, jnp.asarray(current), jnp.asarray(previous))
    assert (found.shape, found.dtype) == ((1, 40, 72, 2), jnp.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_gradient_passes(drawn, rng):
    flow, _ = drawn
    frames = jnp.asarray(rng.random((2, 1, 32, 32, 3)), jnp.float32)
    gradient = jax.grad(lambda x: flow({}, x, frames[:1, 0]).sum())(frames[0])
    assert not gradient.any()


def test_bytes_are_read_as_parts_of_255(drawn):
    flow, _ = drawn
    frames = jnp.full((1, 32, 32, 3), 51, jnp.uint8)
    np.testing.assert_allclose(flow({}, frames, frames), 0.2, atol=1e-6)


# dx of the 2x2 values that the network gives for a cell, and the cell's class.
CELLS = [
    ([1, 2, 2, 3], 0),  # 2 pixels, half a cell: to the even 0
    ([6, 6, 6, 6], 2),  # one and a half: to the even 2
    ([-2, -2, -1, -3], 0),
    ([-6, -5, -7, -6], -2),
    ([2, 2, 2, 2.5], 1),
    ([9, 0, 0, 0.5], 1),  # the mean counts, not the nearest
    ([41, 41, 41, 41], 10),
    ([42, 42, 42, 42.5], 10),  # more than ten and a half: clamped, then rounded
    ([300, 300, 300, 300], 10),
    ([-42, -42, -42, -300], -10),
]


@pytest.mark.parametrize("axis", [0, 1])
def test_classes_of_a_drawn_flow_are_those_worked_out_by_hand(drawn, axis):
    clip = np.zeros((1, 2, 32, 64, 3), np.float32)
    for n, (values, _) in enumerate(CELLS):
        pixels = np.float32(values).reshape(2, 2).repeat(2, 0).repeat(2, 1)
        clip[0, 1, 4:8, 4 * n : 4 * n + 4, axis] = pixels
    labels = drawn[1]({}, jnp.asarray(clip), radius=10, label_all_cells=True)
    expected = np.full((1, 2, 8, 16), 220)  # (0, 0)
    for n, (_, cells) in enumerate(CELLS):
        expected[0, 1, 1, n] = 220 + cells * (1, 21)[axis]
    np.testing.assert_array_equal(labels["motion"], expected)
    assert labels["motion"].dtype == jnp.int32
    assert labels["motion_valid"].dtype == bool and labels["motion_valid"].all()


def test_cells_do_not_count_that_are_clamped_or_lead_out_or_not_back(drawn):
    clip = np.zeros((2, 3, 32, 64, 3), np.float32)
    clip[0, 1, ..., 0], clip[0, 2, ..., 0] = 8, -8  # 2 cells
    clip[1, 1, ..., 1], clip[1, 2, ..., 1] = 24, -24  # 6
    labels = drawn[1]({}, jnp.asarray(clip), radius=3, label_all_cells=False)
    valid, motion = labels["motion_valid"], labels["motion"]
    assert not valid[:, 0].any() and (motion[:, 0] == 24).all()
    # Frame 1 leads to the right, and frame 0, at rest, does not lead back.
    assert not valid[0, 1].any()
    expected = np.ones((8, 16), bool)
    expected[:, :2] = False  # 8 to the left of the frame
    np.testing.assert_array_equal(valid[0, 2], expected)
    assert (motion[0, 2][expected] == 24 - 2).all()
    assert not valid[1].any()  # frame 2 leads back, but from too far


def test_a_clip_of_one_frame_has_labels_too(drawn):
    clip = jnp.zeros((2, 1, 32, 32, 3), jnp.uint8)
    for every in (True, False):
        labels = drawn[1]({}, clip, radius=1, label_all_cells=every)
        assert labels["motion"].shape == (2, 1, 8, 8)
        assert (labels["motion"] == 4).all()
        assert (labels["motion_valid"] == every).all()


def test_sides_that_are_no_multiples_are_named():
    with pytest.raises(ValueError, match=r"\(30, 32\): sides must be multiples of 4"):
        label_motion({}, jnp.zeros((1, 2, 30, 32, 3)))
    frame = jnp.zeros((1, 40, 64, 3))
    with pytest.raises(ValueError, match=r"\(40, 64\): sides must be multiples of 32"):
        LiteFlowNet().apply({"params": {}}, frame, frame)


def smooth(rng, scale, size=(48, 64)):
    field = cv2.GaussianBlur(rng.normal(0, 1, (*size, 2)), (0, 0), 12)
    return (field * scale / np.abs(field).max()).astype(np.float32)


def leads_back(back, forth):
    return returns(back, backward_warp(forth, back))


def test_what_leads_back_does_so_in_the_input_pipeline_too(rng):
    back = smooth(rng, 4) + np.float32([9, -5])
    forth = smooth(rng, 1.5) - back
    expected = consistent(back, forth)
    assert 0.2 < expected.mean() < 0.8
    known = jax.jit(leads_back)(jnp.asarray(back)[None], jnp.asarray(forth)[None])
    # OpenCV reads between pixels to the nearest 32nd.
    assert np.mean(known[0] == expected) > 0.995


@pytest.mark.slow
def test_it_lowers_for_an_accelerator(params):
    shape = jax.ShapeDtypeStruct
    params = jax.tree.map(lambda x: shape(x.shape, x.dtype), params)
    clip = shape((2, 3, 64, 64, 3), jnp.uint8)
    exported = jax.export.export(label_motion, platforms=["tpu"])(params, clip)
    assert [out.shape for out in exported.out_avals] == [(2, 3, 16, 16)] * 2


@pytest.mark.slow
def test_labels_of_real_clips_are_those_of_their_flows(params, rng):
    clip = (rng.random((2, 3, 40, 36, 3)) * 255).astype(np.uint8)
    for every in (True, False):
        labels = label_motion(params, jnp.asarray(clip), label_all_cells=every)
        for t in (1, 2):
            back = teacher.flow(params, clip[:, t], clip[:, t - 1])
            forth = teacher.flow(params, clip[:, t - 1], clip[:, t])
            wanted = motion_labels(back, leads_back(back, forth), label_all_cells=every)
            agree = [
                np.mean(labels[name][:, t] == value)
                for name, value in zip(("motion", "motion_valid"), wanted, strict=True)
            ]
            assert min(agree) > 0.99  # rounding may decide a cell
