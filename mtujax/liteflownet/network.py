"""The flow teacher: LiteFlowNet in Flax, and its labels for the motion loss.

After Hui et al., "LiteFlowNet" (CVPR 2018), as the published training uses it. It is
never trained here: no gradient passes. Letters: B batch, T time, H W pixels, h w motion
grid (H and W over the side of a cell), r search radius in cells.
"""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mtujax.config import MOTION_STRIDE
from mtujax.liteflownet.layers import (
    FLOW_UNIT,
    LEVELS,
    Features,
    Matching,
    Regularization,
    Subpixel,
)
from mtujax.ops.labels import motion_labels, returns
from mtujax.ops.resampling import area_resize, halved, to_unit_range
from mtujax.ops.warping import backward_warp

SIDES = 32  # the network's frames have sides that are multiples of this


class LiteFlowNet(nn.Module):
    """Optical flow from coarse to fine, at half of the resolution."""

    @nn.compact
    def __call__(self, current: jax.Array, previous: jax.Array) -> jax.Array:
        """Finds where each pixel of a frame was in the previous one.

        Args:
            current: [B, H, W, 3] float32 in [0, 1]; sides are multiples of 32.
            previous: [B, H, W, 3], likewise.

        Returns:
            [B, H/2, W/2, 2] backward flow (dx, dy) in pixels of the full resolution.

        Raises:
            ValueError: for other sides.
        """
        chex.assert_rank(current, 4)
        chex.assert_equal_shape([current, previous])
        if any(side % SIDES for side in current.shape[1:3]):
            raise ValueError(
                f"frames of {current.shape[1:3]}: sides must be multiples of {SIDES}"
            )
        images = jnp.concatenate([current, previous])
        features = Features(name="features")(images)
        sizes = {1: images}
        for level in LEVELS:
            sizes[level] = halved(sizes[level - 1])
        flow = None
        for level in reversed(LEVELS):
            first, second = jnp.split(features[level], 2)
            pair = tuple(jnp.split(sizes[level], 2))
            flow = Matching(level, name=f"matching_{level}")(first, second, flow)
            flow = Subpixel(level, name=f"subpixel_{level}")(first, second, flow)
            smooth = Regularization(level, name=f"regularization_{level}")
            flow = smooth(pair, first, flow)
        return flow * FLOW_UNIT


@jax.jit
def flow(params: dict, current: jax.Array, previous: jax.Array) -> jax.Array:
    """Backward flow [B, H, W, 2] in pixels of [B, H, W, 3], uint8 or in [0, 1]."""
    # No gradient passes. For the network, sides are enlarged to multiples of 32.
    chex.assert_rank(current, 4)
    batch, height, width, _ = current.shape
    rows, columns = (-(-side // SIDES) * SIDES for side in (height, width))

    def enlarged(frames):
        frames = to_unit_range(lax.stop_gradient(frames))
        # Not antialiased, as nothing is made smaller; half-pixel centres.
        size = (batch, rows, columns, 3)
        return jax.image.resize(frames, size, method="linear", antialias=False)

    half = LiteFlowNet().apply(
        {"params": lax.stop_gradient(params)}, enlarged(current), enlarged(previous)
    )
    scale = jnp.array([width / columns, height / rows]).reshape(1, 1, 1, 2)
    return area_resize(half, height, width) * scale


@functools.partial(jax.jit, static_argnames=("radius", "label_all_cells", "cell"))
def label_motion(
    params: dict,
    sharp: jax.Array,
    *,
    radius: int = 10,
    label_all_cells: bool = False,
    cell: int = MOTION_STRIDE,
) -> dict[str, jax.Array]:
    """Labels sharp clips with their true displacements, by the release's rule.

    The flow from each frame to the previous one is averaged over a cell, divided by the
    cell's side, clamped to the radius and rounded half to even. One pair of frames of
    each clip is processed at a time, which bounds the memory.

    Args:
        params: of `LiteFlowNet`.
        sharp: [B, T, H, W, 3] clips, uint8 or float in [0, 1]; H and W are multiples
            of the cell.
        radius: search radius r in cells.
        label_all_cells: let every cell count, as in the release. Without it, cells are
            invalid whose motion was clamped, leads out of the frame, or does not lead
            back (which needs the flow both ways: twice the work), and so is the whole
            first frame, which has no previous one and gets a flow of 0.
        cell: side of a cell in pixels, `ModelConfig.cell`.

    Returns:
        "motion" int32 [B, T, h, w], classes (dy + r)(2r + 1) + (dx + r), and
        "motion_valid" bool [B, T, h, w]; constant for the gradient.

    Raises:
        ValueError: for sides that are no multiples of the cell.
    """
    chex.assert_rank(sharp, 5)
    batch, _, height, width, _ = sharp.shape
    if height % cell or width % cell:
        raise ValueError(
            f"frames of {(height, width)}: sides must be multiples of {cell}"
        )
    rule = {"radius": radius, "label_all_cells": label_all_cells, "cell": cell}

    def of_pair(frames):
        current, previous = frames
        if label_all_cells:
            found = flow(params, current, previous)
            known = jnp.ones(found.shape[:3], bool)
        else:
            there = jnp.concatenate([current, previous])
            back = jnp.concatenate([previous, current])
            found, forth = jnp.split(flow(params, there, back), 2)
            known = returns(found, backward_warp(forth, found))
        return motion_labels(found, known, **rule)

    frames = jnp.moveaxis(sharp, 1, 0)
    labels = lax.map(of_pair, (frames[1:], frames[:-1]))
    nothing = jnp.zeros((batch, height, width, 2))
    unknown = jnp.zeros((batch, height, width), bool)
    first = motion_labels(nothing, unknown, **rule)
    parts = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, labels)
    motion, valid = (jnp.moveaxis(part, 0, 1) for part in parts)
    return {"motion": motion, "motion_valid": valid}
