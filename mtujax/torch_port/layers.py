"""Matching, moving and rearranging of features, for the PyTorch twin.

Two matchers that must agree: a loop over all displacements that is obviously right, and
a banded one that is fast. Displacement (dx, dy) has class (dy + r)(2r + 1) + (dx + r).
Letters: B batch, h w motion grid, C channels, r search radius, D = (2r + 1)**2.
Scores are float32 whatever the input: a rounded score can flip the arg-max.
"""

from collections.abc import Iterator

import einops
import torch
import torch.nn.functional as F

from mtujax.config import MOTION_STRIDE

_TILE = 32  # columns per band
_POOL = 5  # side of the averaging window over each displacement's plane


def match_loop(
    query: torch.Tensor, key: torch.Tensor, *, radius: int = 10
) -> torch.Tensor:
    """Best displacement [B, h, w, 2] of [B, C, h, w], one by one: the oracle."""
    query, key = query.detach(), key.detach()
    best = index = torch.zeros(())
    for place, plane in enumerate(_planes(query, key, radius)):
        if place == 0:
            best, index = plane, torch.zeros_like(plane, dtype=torch.int64)
            continue
        better = plane > best  # strict: an earlier class keeps a tie
        best = torch.where(better, plane, best)
        index = torch.where(better, place, index)
    return displacement_from_class(index, radius=radius)


def cost_volume(
    query: torch.Tensor, key: torch.Tensor, *, radius: int = 10
) -> torch.Tensor:
    """Pooled cosine similarity [B, h, w, D] of [B, C, h, w] twice; differentiable."""
    return torch.stack(list(_planes(query, key, radius)), dim=-1)


def match_banded(
    query: torch.Tensor, key: torch.Tensor, *, radius: int = 10
) -> torch.Tensor:
    """`match_loop`, one row of displacements at a time; the first class wins a tie."""
    # Columns are cut into bands; one batched matrix product scores all dx of a band,
    # and the wanted scores are its diagonals, read in place through strides.
    height, width = query.shape[-2:]
    side = 2 * radius + 1
    tile = min(_TILE, width)
    missing = -width % tile
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        query, key = _unit_norm(query), _unit_norm(key)
        query = F.pad(query, (0, missing))
        query = einops.rearrange(query, "b c h (n t) -> b h n t c", t=tile).contiguous()
        key = F.pad(key, (radius, radius + missing, radius, radius))
        key = einops.rearrange(key, "b c v u -> b v c u").contiguous()
        # [B, h + 2r, n, C, t + 2r]: overlapping views of the bands, then one copy.
        bands = key.unfold(-1, tile + 2 * radius, tile)
        bands = einops.rearrange(bands, "b v c n u -> b v n c u").contiguous()
        best = index = None
        for dy in range(side):
            scores = _diagonals(query @ bands[:, dy : dy + height], side)
            planes = einops.rearrange(scores, "b h n t d -> b d h (n t)")
            planes = F.avg_pool2d(planes[..., :width], _POOL, 1, _POOL // 2)
            top, dx = planes.max(dim=1)
            if best is None:
                best, index = top, dx
                continue
            better = top > best  # strict: an earlier row keeps a tie
            best = torch.where(better, top, best)
            index = torch.where(better, dy * side + dx, index)
    return displacement_from_class(index, radius=radius)


def displacement_from_class(index: torch.Tensor, *, radius: int) -> torch.Tensor:
    """Converts classes [...] to displacements [..., 2] (dx, dy) in grid cells."""
    side = 2 * radius + 1
    return torch.stack([index % side - radius, index // side - radius], dim=-1)


def displace(source: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """Moves every pixel by four times its grid cell's displacement; differentiable."""
    # [B, C, 4h, 4w] by integer [B, h, w, 2] (dx, dy) in grid cells -> [B, C, 4h, 4w],
    # zero where a pixel comes from outside.
    height, width = source.shape[-2:]
    size = {"p": MOTION_STRIDE, "q": MOTION_STRIDE}
    flow = einops.repeat(displacement, "b h w d -> b (h p) (w q) d", **size)
    flow = flow * MOTION_STRIDE
    x = torch.arange(width, device=source.device)[None, None, :] + flow[..., 0]
    y = torch.arange(height, device=source.device)[None, :, None] + flow[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = torch.where(inside, y * width + x, 0)
    index = einops.repeat(index, "b h w -> b c (h w)", c=source.shape[1])
    moved = einops.rearrange(source, "b c h w -> b c (h w)").gather(2, index)
    moved = einops.rearrange(moved, "b c (h w) -> b c h w", w=width)
    return torch.where(inside[:, None], moved, 0)


def pad_frames(window: torch.Tensor, cell: int) -> torch.Tensor:
    """Reflects [B, K, H, W, 3] up to multiples of a cell: [B, K, 3, H', W']."""
    # Reflects as often as needed; torch's own padding does so only once.
    for axis in (2, 3):
        size = window.shape[axis]
        place = torch.arange(-(-size // cell) * cell, device=window.device)
        place = (size - 1 - place % max(2 * size - 2, 1)).abs()
        window = window.index_select(axis, size - 1 - place)
    return einops.rearrange(window, "b k h w c -> b k c h w")


def space_to_depth(images: torch.Tensor, patch: int) -> torch.Tensor:
    """[B, C, pH, pW] -> [B, p p C, H, W], the pixels of a square row by row."""
    pattern = "b c (h p) (w q) -> b (p q c) h w"
    return einops.rearrange(images, pattern, p=patch, q=patch)


def _unit_norm(features: torch.Tensor) -> torch.Tensor:
    return F.normalize(features.float(), dim=1, eps=1e-12)


def _planes(query, key, radius) -> Iterator[torch.Tensor]:
    """Yields the pooled scores [B, h, w] of each displacement in turn."""
    height, width = query.shape[-2:]
    query, key = _unit_norm(query), F.pad(_unit_norm(key), (radius,) * 4)
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            moved = key[..., dy : dy + height, dx : dx + width]
            plane = (query * moved).sum(dim=1, keepdim=True)
            yield F.avg_pool2d(plane, _POOL, 1, _POOL // 2)[:, 0]


def _diagonals(product: torch.Tensor, side: int) -> torch.Tensor:
    """Entries [..., t, t + d], d < side, of a contiguous [..., T, T + side - 1]."""
    *lead, tile, span = product.shape
    strides = (*product.stride()[:-2], span + 1, 1)
    return product.as_strided((*lead, tile, side), strides)
