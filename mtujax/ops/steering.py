"""Samples of a frame along its own motion: what undoes a blur lies along its path.

Blur averages a frame along the path that it moved during the exposure. Sampled along
that path, at shares of one frame's motion, every blur has the same direction and
length, and one filter takes it out. The motion is found in the blurry frames alone, by
pyramidal Lucas-Kanade between the frames before and after. Not of the paper: a further
input for forms of our own (`ModelConfig.motion_samples`).
Letters: B batch, H W pixels, h w pixels of a level or patches, C channels, p side of a
patch, K window, S samples.
"""

import jax
import jax.numpy as jnp
from jax import lax

from mtujax.config import MOTION_STRIDE
from mtujax.ops.resample import area_downsample, space_to_depth

_LEVELS = 4  # of the pyramid; the finest is at a quarter of the resolution
_ITERATIONS = 3  # on each level
_WINDOW = 5  # side of the window that is taken to move as one
_SMOOTH = 3  # side of the average over neighbouring motions
_DAMPING = 1e-4  # squared gradient below which there is nothing to follow
_STEP = 1.0  # pixels of a level that an iteration moves at most
_REACH = 40.0  # pixels a frame at which motion is cut off
_MARGIN = 24  # pixels beyond the frame, repeated from its edge, that samples may be of
_GREY = (0.299, 0.587, 0.114)
_CONTRAST, _FAR, _SLOW = 4.0, 10.0, 4.0  # scale of differences, motion and its length


def steered_samples(
    window: jax.Array, *, lookback: int, samples: int, patch: int
) -> tuple[jax.Array, jax.Array]:
    """What a frame and its neighbours are along the motion of each patch.

    Args:
        window: [B, K, H, W, 3] blurry frames in [0, 1], oldest first; H and W are
            multiples of 4p.
        lookback: frames of the window before the current one.
        samples: S on either side, the outermost a frame's motion away.
        patch: side p of a patch; its pixels share a motion.

    Returns:
        `along` [B, H, W, 2S]: differences to each grey pixel of the samples on either
        side of it. And features [B, H / p, W / p, (2S + 6) p p + 3] for a convolution:
        `along`, the differences to the frame before and the one after where the motion
        leads (RGB), the motion (dx, dy) and its length, scaled to be of order 1. Both
        float32, without gradient.
    """
    current, before = window[:, lookback], window[:, lookback - 1]
    after = window[:, min(lookback + 1, window.shape[1] - 1)]
    motion = frame_motion(before, current, after, patch=patch)
    grey = _grey(current)
    steps = [k / samples for k in range(-samples, samples + 1) if k]
    along = along_motion(grey[..., None], motion, jnp.asarray(steps))
    found = [along[..., 0] - grey[None]]
    for neighbour, step in ((before, -1.0), (after, 1.0)):
        (aligned,) = along_motion(neighbour, motion, jnp.asarray([step]))
        found.append(jnp.moveaxis(aligned - current, -1, 0))
    # Stored once: read through a transposition, each sample would be computed anew.
    pixels = lax.optimization_barrier(jnp.concatenate(found))
    pixels = lax.stop_gradient(jnp.moveaxis(pixels, 0, -1))
    motion = lax.stop_gradient(motion)
    length = jnp.linalg.norm(motion, axis=-1, keepdims=True)
    features = [
        _CONTRAST * space_to_depth(pixels, patch),
        motion / _FAR,
        jnp.minimum(length / _SLOW, 1),
    ]
    return pixels[..., : 2 * samples], jnp.concatenate(features, axis=-1)


def frame_motion(
    before: jax.Array, current: jax.Array, after: jax.Array, *, patch: int = 1
) -> jax.Array:
    """The motion v through a frame: `after(x + v)` looks like `before(x - v)`.

    Where the current frame stands in for a neighbour, as at the ends of a video, v is
    half of the motion to the other one, and doubled.

    Args:
        before: [B, H, W, 3] in [0, 1]; H and W are multiples of 4p.
        current: [B, H, W, 3], the frame.
        after: [B, H, W, 3].
        patch: side p of the patches that a motion is given for.

    Returns:
        [B, H / p, W / p, 2] float32 (dx, dy) in pixels a frame, each at most 40.
    """
    alone = [jnp.all(x == current, axis=(1, 2, 3)) for x in (before, after)]
    first, second = (
        area_downsample(_grey(x)[..., None])[..., 0] for x in (before, after)
    )
    pyramid = [(first, second)]
    while len(pyramid) < _LEVELS and _divisible(first.shape[1:]):
        first, second = _halved(first), _halved(second)
        pyramid.append((first, second))
    motion = jnp.zeros((*first.shape, 2), jnp.float32)
    for level, pair in enumerate(reversed(pyramid)):
        if level:
            motion = 2 * _resampled(motion, pair[0].shape[1:], 0.5)
        # A loop, where unrolled iterations would be compiled as one, for long.
        motion = lax.fori_loop(
            0, _ITERATIONS, lambda _, v, pair=pair: _refined(v, *pair), motion
        )
    size = [n // patch for n in current.shape[1:3]]
    motion = MOTION_STRIDE * _resampled(motion, size, patch / MOTION_STRIDE)
    motion = jnp.where((alone[0] | alone[1])[:, None, None, None], 2 * motion, motion)
    return jnp.clip(motion, -_REACH, _REACH)


def along_motion(image: jax.Array, motion: jax.Array, steps: jax.Array) -> jax.Array:
    """Samples an image bilinearly at each pixel plus a share of its patch's motion.

    Args:
        image: [B, H, W, C] float.
        motion: [B, h, w, 2] (dx, dy) in pixels, of patches of H / h pixels.
        steps: [S] shares of the motion.

    Returns:
        [S, B, H, W, C]; beyond a margin of 24 pixels around the frame what lies there.
    """
    batch, height, width, channels = image.shape
    side, edge = height // motion.shape[1], _MARGIN
    pads = ((0, 0), (edge, edge + 1), (edge, edge + 1), (0, 0))
    padded = jnp.pad(image, pads, mode="edge")
    rows, columns = height + 2 * edge, width + 2 * edge
    # The four corners of each place side by side: one row of memory to fetch.
    corners = [padded[:, i : rows + i, j : columns + j] for i in (0, 1) for j in (0, 1)]
    corners = lax.optimization_barrier(jnp.stack(corners))
    corners = jnp.moveaxis(corners, 0, -2).reshape(batch, -1, 4 * channels)
    corners = lax.optimization_barrier(corners)
    motion = jnp.repeat(jnp.repeat(motion, side, axis=1), side, axis=2)
    x0, y0 = (at + edge for at in _places(height, width))

    def sample(step):
        x = jnp.clip(x0 + step * motion[..., 0], 0, columns - 1)
        y = jnp.clip(y0 + step * motion[..., 1], 0, rows - 1)
        left = jnp.minimum(jnp.floor(x), columns - 2).astype(jnp.int32)
        top = jnp.minimum(jnp.floor(y), rows - 2).astype(jnp.int32)
        across, down = (x - left)[..., None], (y - top)[..., None]
        index = lax.optimization_barrier((top * columns + left).reshape(batch, -1, 1))
        found = lax.optimization_barrier(jnp.take_along_axis(corners, index, axis=1))
        found = found.reshape(batch, height, width, 4, channels)
        upper = found[..., 0, :] * (1 - across) + found[..., 1, :] * across
        lower = found[..., 2, :] * (1 - across) + found[..., 3, :] * across
        return upper * (1 - down) + lower * down

    return lax.map(sample, steps)


def _refined(motion, before, after):
    """An iteration of Lucas-Kanade on [B, h, w] images."""
    first, second = _shifted(before, -motion), _shifted(after, motion)
    across, down = _slopes((first + second) / 2)
    change = second - first
    products = [across**2, down**2, across * down, across * change, down * change]
    xx, yy, xy, xt, yt = jnp.moveaxis(_mean(jnp.stack(products, -1), _WINDOW), -1, 0)
    xx, yy = xx + _DAMPING, yy + _DAMPING
    # The images move apart by twice the step: after by it, before by its opposite.
    scale = 2 * (xx * yy - xy**2)
    step = jnp.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1) / scale[..., None]
    return _mean(motion + jnp.clip(step, -_STEP, _STEP), _SMOOTH)


def _shifted(image, motion):
    """`image` [B, h, w] at each pixel plus its motion, bilinear, its edge repeated."""
    batch, height, width = image.shape
    x, y = (at + motion[..., k] for k, at in enumerate(_places(height, width)))
    x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    left, top = jnp.floor(x), jnp.floor(y)
    across, down = x - left, y - top
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    right = jnp.minimum(left + 1, width - 1)
    bottom = jnp.minimum(top + 1, height - 1)
    flat = image.reshape(batch, -1)

    def at(y, x):
        index = (y * width + x).reshape(batch, -1)
        return jnp.take_along_axis(flat, index, axis=1).reshape(x.shape)

    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(bottom, left) * (1 - across) + at(bottom, right) * across
    return upper * (1 - down) + lower * down


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
    # Not a sum of slices: XLA would fuse all iterations into one, and take minutes.
    window = (1, side, side, 1)
    total = lax.reduce_window(
        jnp.pad(x, pads, mode="edge"), 0.0, lax.add, window, (1, 1, 1, 1), "VALID"
    )
    return total / side**2


def _halved(image):
    """Averages 2x2 pixels of [B, h, w]; an odd row or column is left out."""
    rows, columns = (n // 2 for n in image.shape[1:])
    image = image[:, : 2 * rows, : 2 * columns]
    return image.reshape(-1, rows, 2, columns, 2).mean((2, 4))


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
    """Whether a level can be halved; of a size that is known only later it can."""
    return all(not isinstance(n, int) or n >= 2 for n in size)


def _grey(image):
    return jnp.tensordot(image, jnp.asarray(_GREY, image.dtype), 1)
