"""Warping of images and features by a backward flow or grid displacement (Sec. 3.4).

Flow is (dx, dy) in pixels and backward: `warped[y, x] = source[y + dy, x + dx]`, zero
where that is outside. Letters: B batch, H W pixels, h w motion grid, C channels.
"""

import chex
import einops
import jax
import jax.numpy as jnp

from mtujax.config import MOTION_STRIDE
from mtujax.ops.resampling import any_byte_order


@any_byte_order
def backward_warp(source: jax.Array, flow: jax.Array) -> jax.Array:
    """Samples `source` bilinearly at each pixel plus its flow.

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
    x = jnp.arange(width, dtype=jnp.float32)[None, None, :] + flow[..., 0]
    y = jnp.arange(height, dtype=jnp.float32)[None, :, None] + flow[..., 1]
    left, top = jnp.floor(x), jnp.floor(y)
    across, down = x - left, y - top
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
    """Upsamples a displacement map to a flow: nearest neighbour, values times `side`.

    [B, h, w, 2] in cells -> [B, sh, sw, 2] float32 (dx, dy) in places of the finer
    grid, s = `side` to a cell; `ModelConfig.cell` gives pixels.
    """
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
