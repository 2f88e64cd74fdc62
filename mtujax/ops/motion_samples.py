"""Samples of a frame along its own motion, which is where a blur can be undone.

Blur averages a frame along the path that it moved during the exposure. Sampled along
that path, at fractions of one frame's motion, every blur has the same direction and
length, and one filter removes it. The motion is estimated from the blurry frames alone,
by pyramidal Lucas-Kanade between the previous and the next frame. Not in the paper: a
further input for networks of our own (`ModelConfig.motion_samples`).
Letters: B batch, H W pixels, h w pixels of a level or patches, C channels, p side of a
patch, K window, S samples.
"""

import functools

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtujax.config import MOTION_STRIDE
from mtujax.ops.resampling import (
    any_byte_order,
    area_downsample,
    depth_to_space,
    halved,
)

LARGEST_MOTION = 40.0  # pixels per frame, in x and in y, to which motion is clipped
LEVELS = 4  # of the pyramid; the finest is at a quarter of the resolution
PYRAMID_SIDE = MOTION_STRIDE * 2 ** (LEVELS - 1)  # of frames that have all levels
ITERATIONS = 3  # on each level
WINDOW = 5  # side of the window that is assumed to move as one
SMOOTH = 9  # side of the average over neighbouring motions
FIT = 3e4  # how fast a motion loses weight in it that leaves squared differences
PLAIN = 1e-5  # texture as much as which one without any weighs
DAMPING = 1e-4  # squared gradient below which there is no texture to track
STEP = 1.0  # largest step of an iteration in pixels of a level
AGREEMENT = 0.02  # root mean square difference, of [0, 1], that halves a frame's share
AROUND = 3  # side in patches of the square over which differences are averaged
GREY = (0.299, 0.587, 0.114)
SPACING = 0.25  # of a neighbour's samples, as a share of the motion to it
CONTRAST, FAR, SLOW = 4.0, 10.0, 4.0  # scale of differences, motion and its length


def steered_samples(
    window: jax.Array,
    motion: jax.Array,
    restored: jax.Array | None = None,
    to_neighbours: jax.Array | None = None,
    *,
    lookback: int,
    samples: int,
    patch: int,
    neighbour_samples: int = 0,
) -> tuple[jax.Array, tuple[jax.Array, ...], jax.Array | None]:
    """Samples a frame and its neighbours along the motion of each patch."""
    # Window [B, K, H, W, 3] in [0, 1], oldest first, with H and W multiples of 4p, and
    # motion [B, H / p, W / p, 2] give, in float32 and without gradient, first `along`
    # [B, H / p, W / p, p p, 2S], of each patch's pixels: grey samples less the pixel's
    # own grey, S on either side, the outermost a frame's motion away. Then features for
    # a convolution, side by side and scaled to order 1: [B, H / p, W / p, (2S + 6) p p]
    # of `along` and the RGB differences to the previous and next frame where the motion
    # leads; and [B, H / p, W / p, 3], the motion (dx, dy) and its length. Given the
    # previous frame `restored` [B, H, W, 3], it is a third neighbour: there are 3 p p
    # features more, and `moved` [B, H, W, 3] is that frame where the motion leads,
    # otherwise None. Given `to_neighbours` [B, H / p, W / p, 4], of `frame_motions`,
    # these lead to the neighbours in place of the motion; and with N
    # `neighbour_samples`, `along` also has grey samples of the previous frame and of
    # the next one if there is one, N on either side of where they lead and one there.
    before, current, after = middle(window, lookback)
    motion, back, forth = lax.stop_gradient(_three_motions(motion, to_neighbours))
    steps = [k / samples for k in range(-samples, samples + 1) if k]
    shades = grey(current)[..., None]
    parts = [(shades, motion, steps, shades)]
    if neighbour_samples:
        around = SPACING * np.arange(-neighbour_samples, neighbour_samples + 1)
        parts.append((grey(before)[..., None], back, [*(around - 1)], shades))
        if window.shape[1] > lookback + 1:  # else it is the frame itself
            parts.append((grey(after)[..., None], forth, [*(around + 1)], shades))
    taps = sum(len(places) for _, _, places, _ in parts)
    parts += [(before, back, [-1.0], current), (after, forth, [1.0], current)]
    if restored is not None:
        parts.append((lax.stop_gradient(restored), back, [-1.0], current))
    shape = "b (h y) (w x) c -> b h w (y x) c"
    pixels = [
        along_patches(image, way, places)
        - einops.rearrange(own, shape, y=patch, x=patch)
        for image, way, places, own in parts
    ]
    # Stored once and as the layer reads it: else each sample is computed again.
    pixels = lax.optimization_barrier(CONTRAST * jnp.concatenate(pixels, axis=-1))
    pixels = lax.stop_gradient(pixels)
    length = jnp.linalg.norm(motion, axis=-1, keepdims=True)
    speed = jnp.concatenate([motion / FAR, jnp.minimum(length / SLOW, 1)], axis=-1)
    moved = None
    if restored is not None:
        change = pixels[..., -3:] / CONTRAST
        shape = "b h w (y x) c -> b (h y) (w x) c"
        moved = current + einops.rearrange(change, shape, y=patch)
    features = pixels.reshape(*motion.shape[:3], -1), speed
    return pixels[..., :taps] / CONTRAST, features, moved


def _three_motions(motion, to_neighbours):
    """The motion, that from the previous frame, and that to the next one."""
    if to_neighbours is None:
        return motion, motion, motion
    return motion, to_neighbours[..., :2], to_neighbours[..., 2:]


def blended(
    current: jax.Array, moved: jax.Array, logits: jax.Array, is_first: jax.Array
) -> jax.Array:
    """Mixes the frame before, moved, into the current one: [B, H, W, 3] float32."""
    # `current` and `moved`: [B, H, W, 3] in [0, 1]. `logits`: [B, h, w, p p], 0 is a
    # share of a half if both are equal. `is_first`: bool [B], True where no frame is
    # before. How far both agree is measured: no gradient goes there.
    side = current.shape[1] // logits.shape[1]
    change = moved - current
    shape = "b (h y) (w x) c -> b h w 1"
    unlike = einops.reduce(change**2, shape, "mean", y=side, x=side)
    unlike = lax.stop_gradient(_mean(unlike, AROUND))
    share = jax.nn.sigmoid(logits - jnp.log1p(2 * unlike / AGREEMENT**2))
    share = jnp.where(is_first.reshape(-1, 1, 1, 1), 0, share)
    return current + depth_to_space(share, side) * change


# A call from outside a compiled function would compile the loop of each level again.
# Inlined, what a network is traced or exported to stays as it is.
@any_byte_order
@functools.partial(jax.jit, static_argnames="patch", inline=True)
def frame_motion(
    before: jax.Array, current: jax.Array, after: jax.Array, *, patch: int = 1
) -> jax.Array:
    """Finds the motion v through a frame: `after(x + v)` looks like `before(x - v)`.

    Where a neighbour is the current frame itself, as at the ends of a video, half of
    the motion to the other neighbour is found, and doubled.

    Examples:
        >>> frames = jax.random.uniform(jax.random.key(0), (3, 1, 32, 32, 3))
        >>> frame_motion(*frames, patch=2).shape
        (1, 16, 16, 2)

    Args:
        before: [B, H, W, 3] in [0, 1]; H and W are multiples of 4p.
        current: [B, H, W, 3], the frame.
        after: [B, H, W, 3].
        patch: side p of the patches, each of which has one motion.

    Returns:
        [B, H / p, W / p, 2] float32 (dx, dy) in pixels per frame, each in [-40, 40].
    """
    motion = _coarse_motion(before, current, after)[0]
    return _of_patches(motion, current, patch)


@any_byte_order
@functools.partial(jax.jit, static_argnames="patch", inline=True)
def frame_motions(
    before: jax.Array, current: jax.Array, after: jax.Array, *, patch: int = 1
) -> tuple[jax.Array, jax.Array]:
    """As `frame_motion`, and (u, w) [B, H / p, W / p, 4] to each neighbour alone."""
    # `before(x - u)` and `after(x + w)` look like `current(x)`. Both are refined from
    # the motion; to a neighbour that is the frame itself, it is the motion.
    motion, pair, alone = _coarse_motion(before, current, after)
    own = area_downsample(grey(current)[..., None])
    own, start = jnp.concatenate([own, own]), jnp.concatenate([-motion, motion])
    corners = _corners(jnp.concatenate(pair))
    found = lax.fori_loop(
        0, ITERATIONS, lambda _, v: _followed(v, own[..., 0], corners), start
    )
    found = jnp.where(jnp.concatenate(alone)[:, None, None, None], start, found)
    back, forth = jnp.split(found, 2)
    both = jnp.concatenate([-back, forth], axis=-1)
    return tuple(_of_patches(x, current, patch) for x in (motion, both))


def _of_patches(motion, current, patch):
    """Coarse motion in pixels of the frame, for each patch of it."""
    size = [n // patch for n in current.shape[1:3]]
    motion = MOTION_STRIDE * _resampled(motion, size, patch / MOTION_STRIDE)
    return jnp.clip(motion, -LARGEST_MOTION, LARGEST_MOTION)


def _coarse_motion(before, current, after):
    """Motion in pixels of a quarter of the resolution; the greys; which are alone."""
    alone = [jnp.all(x == current, axis=(1, 2, 3)) for x in (before, after)]
    pair = [area_downsample(grey(x)[..., None]) for x in (before, after)]
    pyramid = [pair]
    while len(pyramid) < LEVELS and _divisible(pair[0].shape[1:3]):
        pair = [halved(x) for x in pair]
        pyramid.append(pair)
    motion = jnp.zeros((*pair[0].shape[:3], 2), jnp.float32)
    for level, pair in enumerate(reversed(pyramid)):
        if level:
            motion = 2 * _resampled(motion, pair[0].shape[1:3], 0.5)
        corners = [_corners(x) for x in pair]
        # A loop: unrolled iterations would be compiled as one, which takes long.
        motion = lax.fori_loop(
            0, ITERATIONS, lambda _, v, c=corners: _refined(v, *c), motion
        )
    motion = jnp.where((alone[0] | alone[1])[:, None, None, None], 2 * motion, motion)
    return motion, pyramid[0], alone


@any_byte_order
def along_motion(image: jax.Array, motion: jax.Array, steps: jax.Array) -> jax.Array:
    """Samples an image bilinearly at each pixel plus a fraction of its patch's motion.

    Examples:
        >>> image = jnp.arange(4.0).reshape(1, 1, 4, 1)
        >>> motion = jnp.full((1, 1, 4, 2), jnp.array([2.0, 0.0]))
        >>> samples = along_motion(image, motion, jnp.array([0.0, 0.5]))
        >>> samples[1].ravel().tolist()  # half of two pixels further
        [1.0, 2.0, 3.0, 3.0]

    Args:
        image: [B, H, W, C] float.
        motion: [B, h, w, 2] (dx, dy) in pixels, of patches of H / h pixels.
        steps: [S] fractions of the motion.

    Returns:
        [S, B, H, W, C]; beyond the frame its edge is repeated.
    """
    found = along_patches(image, motion, steps)
    return einops.rearrange(
        found,
        "b h w (y x) (s c) -> s b (h y) (w x) c",
        y=image.shape[1] // motion.shape[1],
        c=image.shape[-1],
    )


def along_patches(
    image: jax.Array,
    motion: jax.Array,
    steps: jax.Array | list[float],
    *,
    corner_only: bool = False,
) -> jax.Array:
    """`along_motion` in the order of patches: [B, h, w, p p, S C], or [..., 1, S C]."""
    batch, height, width, channels = image.shape
    side = height // motion.shape[1]
    kept = 1 if corner_only else side
    # All pixels of a patch move alike: a window one larger than the patch holds them
    # and their neighbours, and they share the fractions of a pixel.
    pads = ((0, 0), (side, side), (side, side), (0, 0))
    padded = jnp.pad(image, pads, mode="edge")
    corner = patch_corners(*motion.shape[1:3], side)
    steps = jnp.asarray(steps, jnp.float32).reshape(1, 1, 1, -1, 1)
    # Whole pixels are of the product alone. Of a sum with the corner, which a compiler
    # may round once or twice, it could be another number for the windows than for the
    # shares: a pixel off where the place is next to a whole one.
    moved = steps * motion[..., None, :]
    whole = jnp.floor(moved)
    share = (moved - whole)[..., None, None, None]
    limits = jnp.asarray([width - 1.0, height - 1.0]).reshape(1, 1, 1, 1, 2)
    start = jnp.clip(corner[..., None, :] + whole, -side, limits)
    start = start.astype(jnp.int32) + side
    windows = lax.gather(
        padded,
        start[..., ::-1],
        lax.GatherDimensionNumbers(
            offset_dims=(4, 5, 6),
            collapsed_slice_dims=(),
            start_index_map=(1, 2),
            operand_batching_dims=(0,),
            start_indices_batching_dims=(0,),
        ),
        (1, kept + 1, kept + 1, channels),
        mode="promise_in_bounds",
    )
    across, down = share[..., 0, :, :, :], share[..., 1, :, :, :]
    rows = windows[..., :-1, :] * (1 - across) + windows[..., 1:, :] * across
    found = rows[..., :-1, :, :] * (1 - down) + rows[..., 1:, :, :] * down
    return einops.rearrange(found, "b h w s y x c -> b h w (y x) (s c)")


def patch_corners(height: int, width: int, side: int) -> jax.Array:
    """[1, h, w, 2]: x and y of the first pixel of each patch."""
    x, y = _places(height, width)
    return side * jnp.stack(jnp.broadcast_arrays(x, y), axis=-1)


def middle(window: jax.Array, lookback: int) -> tuple[jax.Array, ...]:
    """The previous, current and next frame; for a missing next one the current."""
    after = min(lookback + 1, window.shape[1] - 1)
    return window[:, lookback - 1], window[:, lookback], window[:, after]


def _corners(image):
    """[B, H, W, 4C]: each pixel of [B, H, W, C] and those right of and below it."""
    batch, height, width, channels = image.shape
    padded = jnp.pad(image, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    # Side by side: one row of memory to fetch.
    corners = [padded[:, i : height + i, j : width + j] for i in (0, 1) for j in (0, 1)]
    corners = lax.optimization_barrier(jnp.stack(corners))
    corners = jnp.moveaxis(corners, 0, -2).reshape(batch, height, width, 4 * channels)
    return lax.optimization_barrier(corners)


def _sampled(corners, motion):
    """Samples the image that has these corners at each pixel plus its motion."""
    batch, height, width, channels = corners.shape
    x, y = (at + motion[..., k] for k, at in enumerate(_places(height, width)))
    x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    left, top = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    across, down = (x - left)[..., None], (y - top)[..., None]
    index = lax.optimization_barrier((top * width + left).reshape(batch, -1, 1))
    rows = corners.reshape(batch, -1, channels)
    found = lax.optimization_barrier(jnp.take_along_axis(rows, index, axis=1))
    found = found.reshape(batch, height, width, 4, channels // 4)
    upper = found[..., 0, :] * (1 - across) + found[..., 1, :] * across
    lower = found[..., 2, :] * (1 - across) + found[..., 3, :] * across
    return upper * (1 - down) + lower * down


def _refined(motion, before, after):
    """One iteration of Lucas-Kanade between two images, given by their corners."""
    first, second = _sampled(before, -motion)[..., 0], _sampled(after, motion)[..., 0]
    return _stepped(motion, first, second, 2)


def _followed(motion, own, other):
    """One iteration between an image that stays and one, given by its corners."""
    return _stepped(motion, own, _sampled(other, motion)[..., 0], 1)


def _stepped(motion, first, second, apart):
    """One iteration, from two images that a step moves `apart` times as far apart."""
    across, down = _slopes((first + second) / 2)
    change = second - first
    products = [across**2, down**2, across * down, across * change, down * change]
    # What one of them does not show, as it enters or leaves, is no measurement.
    products.append(change**2 + jnp.minimum(_beyond(motion), 1))
    means = _mean(jnp.stack(products, -1), WINDOW)
    xx, yy, xy, xt, yt, unlike = jnp.moveaxis(means, -1, 0)
    # About the smaller eigenvalue: texture in both directions.
    texture = jnp.maximum(xx * yy - xy**2, 0) / (xx + yy + 1e-9)
    weight = jnp.sqrt(texture + PLAIN) / (1 + FIT * unlike)
    xx, yy = xx + DAMPING, yy + DAMPING
    # Twice: after by the step, before by its opposite.
    scale = apart * (xx * yy - xy**2)
    step = jnp.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / scale[..., None]
    motion = motion + jnp.clip(step, -STEP, STEP)
    # Where little is to be seen, the motion around counts.
    weighted = jnp.concatenate([motion, jnp.ones_like(motion[..., :1])], -1)
    total = _mean(weight[..., None] * weighted, SMOOTH)
    return total[..., :2] / total[..., 2:]


def _beyond(motion):
    """How far each pixel plus or less its motion lies outside the image: [B, h, w]."""
    far = [
        jnp.abs(motion[..., k]) - jnp.minimum(at, at.max() - at)
        for k, at in enumerate(_places(*motion.shape[1:3]))
    ]
    return jnp.maximum(jnp.maximum(*far), 0)


def _places(height, width):
    """The pixels' x [1, 1, w] and y [1, h, 1]."""
    x, y = (jnp.arange(n, dtype=jnp.float32) for n in (width, height))
    return x[None, None, :], y[None, :, None]


def _slopes(image):
    """Central differences of [B, h, w] along x and y, the edge repeated."""
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    return across / 2, down / 2


def _mean(x, side):
    """Average of [B, h, w, C] over windows of `side`, the edge repeated."""
    reach = side // 2
    pads = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    x = jnp.pad(x, pads, mode="edge")
    # Not a sum of slices: XLA would fuse all iterations into one, and take minutes.
    for window in ((1, side, 1, 1), (1, 1, side, 1)):
        x = lax.reduce_window(x, 0.0, lax.add, window, (1, 1, 1, 1), "VALID")
    return x / side**2


def _resampled(x, size, step):
    """Samples x [B, h, w, C] linearly, `step` pixels apart, its edge repeated."""
    for axis, count in zip((1, 2), size, strict=True):
        last = x.shape[axis] - 1
        at = (jnp.arange(count, dtype=jnp.float32) + 0.5) * step - 0.5
        at = jnp.clip(at, 0, last)
        low = jnp.floor(at)
        share = (at - low).reshape([-1 if k == axis else 1 for k in range(x.ndim)])
        low = low.astype(jnp.int32)
        high = jnp.minimum(low + 1, last)
        x = jnp.take(x, low, axis) * (1 - share) + jnp.take(x, high, axis) * share
    return x


def _divisible(size):
    """Whether a level can be halved; sizes known only later (`jax.export`) can."""
    return all(not isinstance(n, int) or n >= 2 for n in size)


def grey(image: jax.Array) -> jax.Array:
    """[..., 3] -> [...], as seen."""
    return jnp.tensordot(image, jnp.asarray(GREY, image.dtype), 1)
