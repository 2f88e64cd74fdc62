"""Renders flat layers: blurry and sharp light, and exact motion. Pure, in JAX.

What `synthesis.host.scene` and `synthesis.host.clip.film` do, for a batch. Letters: B
clips, T time, S sub-frames, L layers (the background and L - 1 objects), H W pixels, h
w texels, N = B T frames, K frames at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mtujax.synthesis.device.camera import inverse, product
from mtujax.synthesis.host.scene import MIXED, SOLID, displacements, visible

TOGETHER = 8, 32
"""Frames at once on a CPU, and on an accelerator, where steps cost more."""


class Shots(NamedTuple):
    """Clips to be rendered."""

    # [B, h, w, 4] float16 or float32 light; the fourth channel is not used. Outside,
    # its border is repeated.
    background: jax.Array
    # [B, L - 1, h, w, 4] premultiplied light and alpha, from far to near; zero along
    # the border
    objects: jax.Array
    poses: jax.Array  # [B, T, S, L, 3, 3] from frame pixels to texels in each sub-frame
    # [B, T, S] of the sub-frames in the blurry frame; those after the last nonzero one
    # cost nothing
    weights: jax.Array
    middles: jax.Array  # [B, T, L, 3, 3] from frame pixels to texels in the sharp frame


class Film(NamedTuple):
    """Rendered clips."""

    blurry: jax.Array  # [B, T, H, W, 3] float32 light, before the sensor
    sharp: jax.Array  # [B, T, H, W, 3] float32 light
    # [B, T, H, W, 2] float32 (dx, dy) in pixels, of the surface visible in each sharp
    # frame, back to the previous frame; zero for the first
    flow: jax.Array
    # [B, T, H, W] bool: True where the pixel shows a single surface and so do the
    # pixels around its source, all inside the frame
    valid: jax.Array
    # [2, B, T, H, W] uint8: the layer that is most visible, and the same but `MIXED`
    # where it is not the only one
    labels: jax.Array


def film(shots: Shots, *, height: int, width: int) -> Film:
    """Renders clips; `height` and `width` are H and W of the frames in pixels."""
    shape = shots.weights.shape[:2]
    flat = shots._replace(
        poses=shots.poses.reshape(-1, *shots.poses.shape[2:]),
        weights=shots.weights.reshape(-1, shots.weights.shape[2]),
        middles=shots.middles.reshape(-1, *shots.middles.shape[2:]),
    )
    used = jnp.arange(1, shots.weights.shape[2] + 1)[None] * (flat.weights != 0)
    counts = used.max(axis=1)
    # Groups frames of similar exposure length, so that few wait for others.
    order = jnp.argsort(-counts)
    together = min(TOGETHER[jax.default_backend() != "cpu"], len(order))
    lacking = -len(order) % together
    groups = jnp.concatenate([order, order[:lacking]])
    groups = groups.reshape(-1, together)

    def expose(frames):
        return _expose(flat, frames, counts[frames].max(), height, width, shape[1])

    exposed = jax.lax.map(expose, groups)
    back = jnp.argsort(order)
    blurry, sharp, owner, alone = (
        x.reshape(-1, *x.shape[2:])[back].reshape(*shape, *x.shape[2:]) for x in exposed
    )
    flow = backward_flow(shots.middles, owner)
    later = (jnp.arange(shape[1]) > 0)[None, :, None, None]
    valid = later & visible(flow, alone, jnp.roll(alone, 1, axis=1))
    return Film(blurry, sharp, flow, valid, jnp.stack([owner, alone]))


def _expose(shots, frames, count, height, width, length):
    """Blurry and sharp light [K, H, W, 3] of K frames, and labels of the sharp ones."""
    poses, weights = shots.poses[frames], shots.weights[frames]

    def add(number, total):
        light = _render(shots, frames // length, poses[:, number], height, width)[0]
        return total + weights[:, number, None, None, None] * light

    start = jnp.zeros((len(frames), height, width, 3))
    blurry = jax.lax.fori_loop(0, count, add, start)
    seen = _render(shots, frames // length, shots.middles[frames], height, width)
    return blurry, *seen


def _render(shots, clips, poses, height, width):
    """Light [K, H, W, 3] and labels 2x [K, H, W] of clips [K] in poses [K, L, 3, 3]."""
    number, h, w, _ = shots.background.shape
    flat = shots.background.reshape(number * h * w, -1)
    x, y = project(poses[:, 0], height, width)
    frame = bilinear(flat, clips * (h * w), (h, w), x, y)[..., :3]
    owner = jnp.zeros(frame.shape[:-1], jnp.uint8)
    alone = owner
    _, objects, h, w, _ = shots.objects.shape
    flat = shots.objects.reshape(number * objects * h * w, 4)
    for layer in range(objects):
        x, y = project(poses[:, layer + 1], height, width)
        above = bilinear(flat, (clips * objects + layer) * (h * w), (h, w), x, y)
        alpha = above[..., 3]
        frame = frame * (1 - alpha[..., None]) + above[..., :3]
        owner = jnp.where(alpha >= 0.5, layer + 1, owner).astype(jnp.uint8)
        alone = jnp.where(alpha > 1 - SOLID, MIXED, alone)
        alone = jnp.where(alpha >= SOLID, layer + 1, alone).astype(jnp.uint8)
    return frame, owner, alone


def project(matrix: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Maps a frame's pixels by homographies [K, 3, 3] -> x and y, [K, H, W] each."""
    m = matrix[:, :, :, None, None]
    column = jnp.arange(width, dtype=jnp.float32)[None, None]
    row = jnp.arange(height, dtype=jnp.float32)[None, :, None]
    x, y, z = (m[:, i, 0] * column + m[:, i, 1] * row + m[:, i, 2] for i in range(3))
    return x / z, y / z


def bilinear(
    texels: jax.Array,
    first: jax.Array,
    size: tuple[int, int],
    x: jax.Array,
    y: jax.Array,
) -> jax.Array:
    """Samples pictures that are stored one after the other; outside, borders repeat."""
    # texels [R, C] of all pictures; first [K] int32, index of each picture's first
    # texel; size (h, w) of all pictures, at least 2; columns x and rows y [K, H, W] ->
    # [K, H, W, C] float32.
    h, w = size
    x, y = jnp.clip(x, 0, w - 1), jnp.clip(y, 0, h - 1)
    # Clipped again as integers, as a degenerate view can give NaN.
    left = jnp.clip(x.astype(jnp.int32), 0, w - 2)
    top = jnp.clip(y.astype(jnp.int32), 0, h - 2)
    across, down = (x - left)[..., None], (y - top)[..., None]
    index = first[:, None, None] + top * w + left
    corner = [
        texels.at[index + step].get(mode="promise_in_bounds").astype(jnp.float32)
        for step in (0, 1, w, w + 1)
    ]
    upper = corner[0] + across * (corner[1] - corner[0])
    lower = corner[2] + across * (corner[3] - corner[2])
    return upper + down * (lower - upper)


def backward_flow(middles: jax.Array, owner: jax.Array) -> jax.Array:
    """Flow from each frame to the previous one, of the surface each pixel shows."""
    # middles [B, T, L, 3, 3] from frame pixels to texels, and owner [B, T, H, W] uint8,
    # the layer that is most visible -> [B, T, H, W, 2] (dx, dy) in pixels; zero for the
    # first frame.
    back = product(inverse(middles[:, :-1]), middles[:, 1:])
    back = back / back[..., 2:, 2:] - jnp.eye(3)[None, None, None]
    x, y = (jnp.arange(n, dtype=jnp.float32) for n in owner.shape[:1:-1])
    now = owner[:, 1:, :, :, None]
    flow = displacements(back[:, :, 0], x, y)
    for layer in range(1, back.shape[2]):
        flow = jnp.where(now == layer, displacements(back[:, :, layer], x, y), flow)
    return jnp.pad(flow, ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
