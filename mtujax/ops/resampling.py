"""Sizes, value ranges and byte order of frames, and frames moved along a flow.

Flow is (dx, dy) in pixels and backward: `warped[y, x] = source[y + dy, x + dx]`, zero
where that is outside. Letters: B batch, H W pixels, h w motion grid, C channels.
"""

import collections
import functools
import warnings
from collections.abc import Callable

import chex
import einops
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import MOTION_STRIDE


def native(value):
    """Converts a NumPy array of any shape to this machine's order; all else passes."""
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        return value.astype(value.dtype.newbyteorder("="))
    return value


def any_byte_order(function: Callable) -> Callable:
    """Lets a function of arrays, compiled or not, take NumPy arrays of either order."""

    @functools.wraps(function)
    def call(*args, **options):
        args, options = jax.tree.map(native, (args, options))
        return function(*args, **options)

    return call


def padded_size(height: int, width: int, cell: int = MOTION_STRIDE) -> tuple[int, int]:
    """Rounds rows and columns up to multiples of a cell (pixels)."""
    return -(-height // cell) * cell, -(-width // cell) * cell


def pad_frames(frames: jax.Array, cell: int = MOTION_STRIDE) -> jax.Array:
    """Reflects frames [..., H, W, C] below and to the right, up to `padded_size`."""
    height, width = frames.shape[-3:-1]
    rows, columns = padded_size(height, width, cell)
    if (rows, columns) == (height, width):
        return frames
    pads = [(0, 0)] * frames.ndim
    pads[-3], pads[-2] = (0, rows - height), (0, columns - width)
    return jnp.pad(frames, pads, mode="reflect")


def space_to_depth(x: jax.Array, patch: int) -> jax.Array:
    """Turns each square of pixels into one place with more channels.

    Examples:
        >>> space_to_depth(jnp.ones((1, 8, 8, 3)), 2).shape
        (1, 4, 4, 12)

    Args:
        x: [..., pH, pW, C].
        patch: side p of the squares.

    Returns:
        [..., H, W, p p C], the pixels of a square row by row.
    """
    if patch == 1:
        return x
    pattern = "... (h p) (w q) c -> ... h w (p q c)"
    return einops.rearrange(x, pattern, p=patch, q=patch)


def depth_to_space(x: jax.Array, patch: int) -> jax.Array:
    """The inverse of `space_to_depth`.

    Examples:
        >>> depth_to_space(jnp.ones((1, 4, 4, 12)), 2).shape
        (1, 8, 8, 3)

    Args:
        x: [..., H, W, p p C].
        patch: side p of the squares.

    Returns:
        [..., pH, pW, C].
    """
    if patch == 1:
        return x
    pattern = "... h w (p q c) -> ... (h p) (w q) c"
    return einops.rearrange(x, pattern, p=patch, q=patch)


@any_byte_order
def area_downsample(x: jax.Array) -> jax.Array:
    """Averages each 4x4 block.

    Examples:
        >>> area_downsample(jnp.ones((1, 8, 12, 3))).shape
        (1, 2, 3, 3)

    Args:
        x: [B, 4h, 4w, C] float.

    Returns:
        [B, h, w, C] of the same dtype.
    """
    chex.assert_rank(x, 4)
    s = MOTION_STRIDE
    return einops.reduce(x, "b (h p) (w q) c -> b h w c", "mean", p=s, q=s)


def halved(x: jax.Array) -> jax.Array:
    """Averages 2x2 pixels of [B, h, w, C]; an odd row or column is left out."""
    rows, columns = (n // 2 for n in x.shape[1:3])
    x = x[:, : 2 * rows, : 2 * columns]
    return einops.reduce(x, "b (h p) (w q) c -> b h w c", "mean", p=2, q=2)


@any_byte_order
def area_resize(x: jax.Array, height: int, width: int) -> jax.Array:
    """Averages, for each output pixel, the input pixels that it overlaps.

    All that are touched have the same weight, as in PyTorch's "area": enlarging by a
    whole factor repeats pixels, reducing by one averages blocks.

    Examples:
        >>> area_resize(jnp.arange(4.0).reshape(1, 1, 4, 1), 1, 2).ravel().tolist()
        [0.5, 2.5]

    Args:
        x: [B, H, W, C] float.
        height: rows of the result.
        width: columns of the result.

    Returns:
        [B, height, width, C] of the same dtype.
    """
    chex.assert_rank(x, 4)
    rows, columns = (
        jnp.asarray(_overlaps(old, new), x.dtype)
        for old, new in zip(x.shape[1:3], (height, width), strict=True)
    )
    x = jnp.einsum("oh,bhwc->bowc", rows, x, precision="highest")
    return jnp.einsum("pw,bowc->bopc", columns, x, precision="highest")


def _overlaps(old, new):
    """Weights [new, old] of the input pixels that each output pixel averages."""
    start = np.arange(new) * old // new
    end = -(-np.arange(1, new + 1) * old // new)  # rounded up
    place = np.arange(old)
    touched = (place >= start[:, None]) & (place < end[:, None])
    return touched / touched.sum(axis=1, keepdims=True)


def to_unit_range(frames: jax.Array) -> jax.Array:
    """Converts frames [..., 3], uint8 or float in [0, 1], to float32 in [0, 1]."""
    if frames.dtype == jnp.uint8:
        return frames.astype(jnp.float32) / 255.0
    return frames.astype(jnp.float32)


def finite(frames: jax.Array) -> jax.Array:
    """Replaces NaN by 0, infinity by the end of [0, 1]; any shape, float."""
    return jnp.nan_to_num(frames, nan=0.0, posinf=1.0, neginf=0.0)


class Replaced:
    """Counts values that the network replaces, on the device; warns at the first."""

    def __init__(self, what: str):
        """Sets what has these values, for the warning."""
        self._what, self._found = what, 0
        self._counting = collections.deque()

    def add(self, frames: jax.Array) -> None:
        """Starts counting in frames of any shape; integers need none."""
        if jnp.issubdtype(frames.dtype, jnp.floating):
            count = _count(frames)
            # Within a transformation nothing can be read back, not even of constants.
            if not isinstance(count, jax.core.Tracer):
                self._counting.append(count)

    def look(self, *, wait: bool = False) -> None:
        """Warns if a count that is there, or with `wait` any, is the first not 0."""
        while self._counting and (wait or self._counting[0].is_ready()):
            count = int(self._counting.popleft())
            if count and not self._found:
                warnings.warn(
                    f"{self._what}: {count} values are NaN or infinite; such values "
                    "are replaced (NaN by 0, infinity by the end of [0, 1])",
                    stacklevel=4,
                )
            self._found += count

    @property
    def total(self) -> int:
        """Number of values so far."""
        self.look(wait=True)
        return self._found


@jax.jit
def _count(frames):
    return jnp.sum(~jnp.isfinite(frames))


def from_unit_range(frames: jax.Array, dtype) -> jax.Array:
    """Clamps float frames [..., 3] to [0, 1]; converts to uint8 or a float dtype."""
    chex.assert_type(frames, float)
    frames = jnp.clip(frames, 0.0, 1.0)
    if dtype == jnp.uint8:
        # Rounded half to even, as the release saves its frames.
        return jnp.round(frames * 255.0).astype(jnp.uint8)
    return frames.astype(dtype)


@any_byte_order
def backward_warp(source: jax.Array, flow: jax.Array) -> jax.Array:
    """Samples `source` bilinearly at each pixel plus its flow.

    Examples:
        >>> row = jnp.array([0.0, 10.0, 20.0, 30.0]).reshape(1, 1, 4, 1)
        >>> flow = jnp.full((1, 1, 4, 2), jnp.array([0.5, 0.0]))  # half a pixel
        >>> backward_warp(row, flow).ravel().tolist()
        [5.0, 15.0, 25.0, 15.0]

    Args:
        source: [B, H, W, C] float.
        flow: [B, H, W, 2] (dx, dy) in pixels.

    Returns:
        [B, H, W, C] in the dtype of `source`. Each of the four corners that is outside
        counts as zero. Differentiable in both arguments.
    """
    chex.assert_rank([source, flow], 4)
    chex.assert_equal_shape_prefix([source, flow], 3)
    _, height, width, _ = source.shape
    flow = flow.astype(jnp.float32)
    # Whole pixels are of the flow alone. Of its sum with the place, which a compiler
    # may round in two ways if the flow is a product, they could be others for the
    # corners than for the weights: a pixel off next to a whole one.
    whole = jnp.floor(flow)
    across, down = jnp.moveaxis(flow - whole, -1, 0)
    left = jnp.arange(width, dtype=jnp.float32)[None, None, :] + whole[..., 0]
    top = jnp.arange(height, dtype=jnp.float32)[None, :, None] + whole[..., 1]
    out = jnp.zeros(source.shape, jnp.float32)
    for row, wy in ((0, 1 - down), (1, down)):
        for column, wx in ((0, 1 - across), (1, across)):
            corner = _gather(
                source,
                (top + row).astype(jnp.int32),
                (left + column).astype(jnp.int32),
            )
            out += (wy * wx)[..., None] * corner
    return out.astype(source.dtype)


@any_byte_order
def displace(source: jax.Array, displacement: jax.Array) -> jax.Array:
    """Moves `source` by whole grid cells; equals `backward_warp` of the upsampled flow.

    The displacement is nearest-upsampled and scaled by 4, so every 4x4 block of pixels
    moves as one, onto the same grid: a gather of blocks, without interpolation.

    Examples:
        >>> source = jnp.arange(64.0).reshape(1, 8, 8, 1)
        >>> moved = displace(source, jnp.array([[[[1, 0]] * 2] * 2]))  # one cell
        >>> bool((moved[:, :, :4] == source[:, :, 4:]).all())
        True

    Args:
        source: [B, 4h, 4w, C] features, any dtype.
        displacement: [B, h, w, 2] int32 (dx, dy) in grid cells.

    Returns:
        [B, 4h, 4w, C], zero where a block comes from outside the source.
    """
    size = {"p": MOTION_STRIDE, "q": MOTION_STRIDE}
    blocks = einops.rearrange(source, "b (h p) (w q) c -> b h w (p q c)", **size)
    _, height, width, _ = blocks.shape
    x = jnp.arange(width, dtype=jnp.int32)[None, None, :] + displacement[..., 0]
    y = jnp.arange(height, dtype=jnp.int32)[None, :, None] + displacement[..., 1]
    moved = _gather(blocks, y, x)
    return einops.rearrange(moved, "b h w (p q c) -> b (h p) (w q) c", **size)


def upsampled_flow(displacement: jax.Array, side: int = MOTION_STRIDE) -> jax.Array:
    """Upsamples displacements to a flow: nearest neighbour, values times `side`."""
    # [B, h, w, 2] in cells -> [B, sh, sw, 2] float32 (dx, dy) in places of the finer
    # grid, s = `side` to a cell; `ModelConfig.cell` gives pixels.
    flow = displacement.astype(jnp.float32) * side
    return einops.repeat(flow, "b h w d -> b (h p) (w q) d", p=side, q=side)


def _gather(source, y, x):
    """Rows `source[b, y, x]` for integer y, x [B, h, w]; zeros outside."""
    _, height, width, _ = source.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = jnp.where(inside, y * width + x, 0)
    flat = einops.rearrange(source, "b h w c -> b (h w) c")
    index = einops.rearrange(index, "b h w -> b (h w) 1")
    rows = jnp.take_along_axis(flat, index, axis=1)
    rows = einops.rearrange(rows, "b (h w) c -> b h w c", w=x.shape[-1])
    return jnp.where(inside[..., None], rows, jnp.zeros((), source.dtype))
