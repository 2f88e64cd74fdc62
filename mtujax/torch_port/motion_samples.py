"""`ops.motion_samples` in PyTorch, for the twin: a frame sampled along its motion.

Built from PyTorch's own resampling. The constants of `ops.motion_samples` are repeated
on purpose, as all of it is: the two forms check each other.
Letters: B batch, K window, H W pixels, h w pixels of a level, p side of a patch, S
samples.
"""

import math

import torch
import torch.nn.functional as F

from mtujax.config import EXPOSURE_FREQUENCIES, ModelConfig
from mtujax.ops.motion_samples import middle
from mtujax.torch_port.layers import space_to_depth

FILTER_SCALE = 8.0
_LEVELS, _ITERATIONS, _WINDOW, _SMOOTH, _DAMPING = 4, 3, 5, 9, 1e-4
_REACH = 40.0
_USUAL = (1.4, 1.3, 0.7, 0.0, -0.6, -1.0, -1.4, -1.7, -2.0, -2.1, -2.3, -2.4)


def steered_channels(config: ModelConfig) -> int:
    """Number of channels of `steered_samples`' features; 0 for no samples."""
    if not config.motion_samples:
        return 0
    spectrum = EXPOSURE_FREQUENCIES if config.exposure_spectrum else 0
    neighbours = 9 if config.blend_previous else 6
    return (config.filter_taps + neighbours) * config.patch**2 + 3 + spectrum


def steered_input(
    window: torch.Tensor, restored: torch.Tensor, config: ModelConfig
) -> tuple[torch.Tensor | None, ...]:
    """What a network takes along the motion: `along`, spectrum, `moved`, features."""
    # Window [B, K, 3, H, W], previous frame [B, 3, H, W], spectrum [B, F]; None for
    # what is not taken.
    if not config.motion_samples:
        return None, None, None, None
    before, current, after = middle(window, config.lookback)
    three, ways = (before, current, after), None
    if config.neighbour_samples:
        motion, ways = frame_motions(*three, patch=config.patch)
    else:
        motion = frame_motion(*three, patch=config.patch)
    along, features, moved = steered_samples(
        window,
        motion,
        restored if config.blend_previous else None,
        ways,
        lookback=config.lookback,
        samples=config.motion_samples,
        patch=config.patch,
        neighbour_samples=config.neighbour_samples,
    )
    if not config.exposure_spectrum:
        return along, None, moved, features
    spectrum = blur_spectrum(current, motion)
    everywhere = spectrum[..., None, None].expand(-1, -1, *features.shape[2:])
    return along, spectrum, moved, torch.cat([features, everywhere], dim=1)


@torch.no_grad()
def steered_samples(
    window: torch.Tensor,
    motion: torch.Tensor,
    restored: torch.Tensor | None = None,
    to_neighbours: torch.Tensor | None = None,
    *,
    lookback: int,
    samples: int,
    patch: int,
    neighbour_samples: int = 0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Samples a frame and its neighbours along the motion of each patch."""
    # Window [B, K, 3, H, W] in [0, 1], oldest first, H and W multiples of 4p, and
    # motion [B, 2, H / p, W / p] -> `along` [B, 2S, H, W], grey samples less the
    # pixel's own grey, and features [B, (2S + 6) p p + 3, H / p, W / p]; both float32.
    # Given the previous frame `restored`, 3 p p features more, and `moved` like it.
    # `to_neighbours` [B, 4, H / p, W / p] leads to the neighbours; of each that the
    # window has there are 2N + 1 samples more in `along`, p p times as many features.
    before, current, after = middle(window, lookback)
    ways = motion.repeat(1, 2, 1, 1) if to_neighbours is None else to_neighbours
    flow, back, forth = F.interpolate(
        torch.cat([motion, ways], dim=1), scale_factor=patch, mode="nearest"
    ).split(2, dim=1)
    grey = _grey(current)
    steps = [k / samples for k in range(-samples, samples + 1) if k]
    along = torch.cat([_moved(grey, s * flow) for s in steps], dim=1) - grey
    sides = [_moved(before, -back) - current, _moved(after, forth) - current]
    moved = None
    if restored is not None:
        moved = _moved(restored, -back)
        sides.append(moved - current)
    most = neighbour_samples
    reach = range(-most, most + 1) if most else ()
    neighbours = [(before, back, -1), (after, forth, 1)]
    if window.shape[1] == lookback + 1:
        neighbours.pop()
    beside = [
        _moved(_grey(image), (place + k / 4) * way) - grey
        for image, way, place in neighbours
        for k in reach
    ]
    along = torch.cat([along, *beside], dim=1)
    pixels = space_to_depth(4 * torch.cat([along, *sides], dim=1), patch)
    length = (motion.norm(dim=1, keepdim=True) / 4).clamp(max=1)
    return along, torch.cat([pixels, motion / 10, length], dim=1), moved


def blended(
    current: torch.Tensor,
    moved: torch.Tensor,
    logits: torch.Tensor,
    is_first: torch.Tensor,
) -> torch.Tensor:
    """`ops.motion_samples.blended`: frames [B, 3, H, W], logits [B, p p, h, w]."""
    side = current.shape[2] // logits.shape[2]
    with torch.no_grad():
        unlike = (moved - current).square().mean(dim=1, keepdim=True)
        unlike = _mean(F.avg_pool2d(unlike, side), 3)
    odds = logits.exp() / (1 + 2 * unlike / 0.02**2)
    share = F.pixel_shuffle(odds / (1 + odds), side)
    share = share * ~is_first.reshape(-1, 1, 1, 1)
    return (1 - share) * current + share * moved


@torch.no_grad()
def blur_spectrum(frame: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """`ops.blur.blur_spectrum` by definition: [B, 3, H, W], [B, 2, h, w] -> [B, F]."""
    batch, (height, width) = len(frame), frame.shape[2:]
    motion = motion[..., ::2, ::2]
    side = height // motion.shape[2]
    flow = F.interpolate(motion, scale_factor=side, mode="nearest")
    samples = [_moved(_grey(frame), k / 8 * flow) for k in range(-16, 17)]
    samples = torch.cat(samples, dim=1)[..., ::side, ::side]
    x = torch.arange(0, width, side).expand(motion.shape[2:])
    y = torch.arange(0, height, side)[:, None].expand(motion.shape[2:])
    room = torch.stack([x.minimum(width - 1 - x), y.minimum(height - 1 - y)])
    speed = motion.norm(dim=1)
    used = (speed > 3) & (speed < _REACH) & (2 * motion.abs() <= room).all(dim=1)
    spectra = []
    for b in range(batch):
        change = samples[b].diff(dim=0)[:, used[b]].double()
        lags = [(change[: 32 - k] * change[k:]).sum() / (32 - k) for k in range(25)]
        found = torch.zeros(EXPOSURE_FREQUENCIES, dtype=torch.float64)
        for n in range(EXPOSURE_FREQUENCIES):
            found[n] = lags[0] + sum(
                (1 + math.cos(math.pi * k / 25))
                * math.cos(2 * math.pi * k * (n + 1) / 32)
                * lags[k]
                for k in range(1, 25)
            )
        share = (found / lags[0].clamp(min=1e-12)).clamp(min=1e-3)
        unusual = (share.log() - torch.tensor(_USUAL)) / 0.75
        believed = min(float(used[b].float().mean()) / 0.02, 1)
        spectra.append(believed * unusual.clamp(-2.5, 2.5))
    return torch.stack(spectra).float().to(frame.device)


@torch.no_grad()
def frame_motion(
    before: torch.Tensor, current: torch.Tensor, after: torch.Tensor, *, patch: int = 1
) -> torch.Tensor:
    """Pyramidal symmetric Lucas-Kanade of [B, 3, H, W] thrice: [B, 2, H / p, W / p]."""
    return _of_patches(_coarse_motion(before, current, after), current, patch)


@torch.no_grad()
def frame_motions(
    before: torch.Tensor, current: torch.Tensor, after: torch.Tensor, *, patch: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `frame_motion`, and to each neighbour alone: [B, 4, H / p, W / p]."""
    coarse, found = _coarse_motion(before, current, after), []
    for image, sign in ((before, -1), (after, 1)):
        own, other = (F.avg_pool2d(_grey(x), 4) for x in (current, image))
        motion = sign * coarse
        for _ in range(_ITERATIONS):
            motion = _step(motion, own, _moved(other, motion), 1)
        found.append(torch.where(_same(image, current), coarse, sign * motion))
    motions = coarse, torch.cat(found, dim=1)
    return tuple(_of_patches(x, current, patch) for x in motions)


def _of_patches(motion, current, patch):
    size = [n // patch for n in current.shape[2:]]
    return (4 * F.interpolate(motion, size, mode="bilinear")).clamp(-_REACH, _REACH)


def _same(image, current):
    """[B, 1, 1, 1]: whether a neighbour is the frame itself, so that none is there."""
    return (image == current).flatten(1).all(1).reshape(-1, 1, 1, 1)


def _coarse_motion(before, current, after):
    """At a quarter of the resolution, in its pixels."""
    alone = _same(before, current) | _same(after, current)
    pyramid = [[F.avg_pool2d(_grey(x), 4) for x in (before, after)]]
    while len(pyramid) < _LEVELS and min(pyramid[-1][0].shape[2:]) > 1:
        pyramid.append([F.avg_pool2d(x, 2) for x in pyramid[-1]])
    motion = None
    for pair in reversed(pyramid):
        if motion is None:
            motion = torch.cat([torch.zeros_like(pair[0])] * 2, dim=1)
        else:
            motion = 2 * F.interpolate(motion, scale_factor=2.0, mode="bilinear")
            missing = [n - m for n, m in zip(pair[0].shape, motion.shape, strict=True)]
            motion = F.pad(motion, (0, missing[3], 0, missing[2]), mode="replicate")
        for _ in range(_ITERATIONS):
            motion = _refined(motion, *pair)
    return torch.where(alone, 2 * motion, motion)


def _refined(motion, before, after):
    """One iteration of Lucas-Kanade on [B, 1, h, w] images."""
    return _step(motion, _moved(before, -motion), _moved(after, motion), 2)


def _step(motion, first, second, moving):
    """One iteration, of images of which one or both are `moving`."""
    wide = F.pad((first + second) / 2, (1, 1, 1, 1), mode="replicate")
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    slopes, change = torch.cat([across, down], dim=1), second - first
    # Each pixel's 2x2 system: (products + damping) step = -moments / moving.
    products = torch.einsum("bihw,bjhw->bijhw", slopes, slopes).flatten(1, 2)
    products = _mean(products, _WINDOW).permute(0, 2, 3, 1).unflatten(-1, (2, 2))
    moments = _mean(slopes * change, _WINDOW).permute(0, 2, 3, 1)
    system = products + _DAMPING * torch.eye(2, device=motion.device)
    step = torch.linalg.solve(system, -moments / moving).permute(0, 3, 1, 2)
    trace = products.diagonal(dim1=-2, dim2=-1).sum(-1)
    texture = torch.linalg.det(products).clamp(min=0) / (trace + 1e-9)
    weight = torch.sqrt(texture[:, None] + 1e-5)
    unlike = change**2 + _beyond(motion).clamp(max=1)
    weight = weight / (1 + 3e4 * _mean(unlike, _WINDOW))
    moved = weight * (motion + step.clamp(-1, 1))
    return _mean(moved, _SMOOTH) / _mean(weight, _SMOOTH)


def _beyond(motion):
    """How far pixels that move by +-[B, 2, h, w] leave the image: [B, 1, h, w]."""
    height, width = motion.shape[2:]
    x = torch.arange(width, device=motion.device)
    y = torch.arange(height, device=motion.device)[:, None]
    places = [(motion[:, :1], x, width), (motion[:, 1:], y, height)]
    outside = [F.relu(d.abs() - at.minimum(n - 1 - at)) for d, at, n in places]
    return torch.maximum(*outside)


def _mean(x, side):
    x = F.pad(x, (side // 2,) * 4, mode="replicate")
    return F.avg_pool2d(x, side, stride=1)


def _moved(image, flow):
    """`image` [B, C, h, w] at each pixel plus its flow, bilinear, its edge repeated."""
    height, width = image.shape[2:]
    x = torch.arange(width, device=image.device) + flow[:, 0]
    y = torch.arange(height, device=image.device)[:, None] + flow[:, 1]
    # From -1 to 1 between the centres of the outermost pixels.
    grid = [2 * at / max(n - 1, 1) - 1 for at, n in ((x, width), (y, height))]
    options = {"padding_mode": "border", "align_corners": True}
    return F.grid_sample(image, torch.stack(grid, dim=-1), **options)


def _grey(image):
    red, green, blue = image.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue
