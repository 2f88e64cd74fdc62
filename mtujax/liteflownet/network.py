"""The flow teacher: LiteFlowNet in Flax, and its labels for the motion loss.

After Hui et al., "LiteFlowNet" (CVPR 2018), as the published training uses it. It is
never trained here: no gradient passes. At each level of a pyramid the flow so far is
improved by matching and smoothed by regularization. Letters: B batch, T time, H W
pixels, h w motion grid (H and W over the side of a cell; in a layer, its rows and
columns), C channels, r search radius in cells.
"""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mtujax.config import MOTION_STRIDE
from mtujax.ops.labels import motion_labels, returns
from mtujax.ops.resampling import area_resize, backward_warp, halved, to_unit_range

LEVELS = (2, 3, 4, 5, 6)
FLOW_UNIT = 20.0  # the internal flow times this is in pixels of full resolution
_KERNELS = {2: 7, 3: 5, 4: 5, 5: 3, 6: 3}
_REACH = 3  # displacements matched each way
_FEATURES = {1: (32,), 2: (32,) * 3, 3: (64,) * 2, 4: (96,) * 2, 5: (128,), 6: (192,)}


class Features(nn.Module):
    """NetC: a pyramid of features, one level for each halving of the resolution."""

    @nn.compact
    def __call__(self, images: jax.Array) -> dict[int, jax.Array]:
        """Maps images [B, H, W, 3] to {level: features [B, h, w, C]}, levels 1 to 6."""
        pyramid, x = {}, images
        for level, widths in _FEATURES.items():
            for k, width in enumerate(widths):
                # The first convolution of a level, 1 apart, halves the resolution.
                strides = 2 if level > 1 and k == 0 else 1
                kernel = 7 if level == 1 else 3
                name = f"conv_{level}_{k}"
                x = leaky(_conv(width, kernel, name, strides=strides)(x))
            pyramid[level] = x
        return pyramid


class Matching(nn.Module):
    """M: refines the coarser level's flow so that both frames' features meet."""

    level: int

    @nn.compact
    def __call__(
        self, first: jax.Array, second: jax.Array, flow: jax.Array | None
    ) -> jax.Array:
        """Refines [B, h/2, w/2, 2], None if coarsest, by [B, h, w, C]: [B, h, w, 2]."""
        if self.level == 2:
            first, second = _each(_conv(64, 1, "feature"), first, second)
        if flow is not None:
            flow = UpDepthwise(name="up_flow")(flow)
            second = backward_warp(second, flow * pixels_per_unit(self.level))
        if self.level <= 3:
            # Sampled at even pixels for displacements of even length: the matching of
            # a grid of half the resolution, which is then upsampled.
            scores = leaky(correlation(first[:, ::2, ::2], second[:, ::2, ::2]))
            scores = UpDepthwise(name="up_scores")(scores)
        else:
            scores = leaky(correlation(first, second))
        step = FlowHead(_KERNELS[self.level], name="head")(scores)
        return step if flow is None else flow + step


class Subpixel(nn.Module):
    """S: refines the flow from the features themselves."""

    level: int

    @nn.compact
    def __call__(
        self, first: jax.Array, second: jax.Array, flow: jax.Array
    ) -> jax.Array:
        """Refines a flow [B, h, w, 2] by first, second [B, h, w, C]."""
        if self.level == 2:
            first, second = _each(_conv(64, 1, "feature"), first, second)
        second = backward_warp(second, flow * pixels_per_unit(self.level))
        x = jnp.concatenate([first, second, flow], axis=-1)
        return flow + FlowHead(_KERNELS[self.level], name="head")(x)


class Regularization(nn.Module):
    """R: averages the flow over a neighbourhood, with weights chosen per pixel."""

    level: int

    @nn.compact
    def __call__(
        self, images: tuple[jax.Array, jax.Array], first: jax.Array, flow: jax.Array
    ) -> jax.Array:
        """Smooths a flow [B, h, w, 2] by images [B, h, w, 3] and first [B, h, w, C]."""
        moved = backward_warp(images[1], flow * pixels_per_unit(self.level))
        error = jnp.sqrt(jnp.sum((images[0] - moved) ** 2, axis=-1, keepdims=True))
        centred = flow - jnp.mean(flow, axis=(1, 2), keepdims=True)
        if self.level <= 4:
            first = leaky(_conv(128, 1, "feature")(first))
        x = jnp.concatenate([error, centred, first], axis=-1)
        for k, width in enumerate((128, 128, 64, 64, 32, 32)):
            x = leaky(_conv(width, 3, f"conv_{k}")(x))
        distance = -(self._distance(x) ** 2)
        weights = jnp.exp(distance - jnp.max(distance, axis=-1, keepdims=True))
        total = jnp.sum(weights, axis=-1, keepdims=True)
        side = _KERNELS[self.level]
        parts = [
            NeighbourSum(side, name=f"scale_{axis}")(flow[..., k : k + 1], weights)
            for k, axis in enumerate("xy")
        ]
        return jnp.concatenate(parts, axis=-1) / total

    def _distance(self, x):
        side = _KERNELS[self.level]
        if self.level >= 5:
            return _conv(side**2, side, "distance_0")(x)
        x = _conv(side**2, (side, 1), "distance_0")(x)
        return _conv(side**2, (1, side), "distance_1")(x)


class FlowHead(nn.Module):
    """Four convolutions from features to a flow; `kernel` is the side of the last."""

    kernel: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [B, h, w, C] to [B, h, w, 2]."""
        for k, width in enumerate((128, 64, 32)):
            x = leaky(_conv(width, 3, f"conv_{k}")(x))
        return _conv(2, self.kernel, "last")(x)


class NeighbourSum(nn.Module):
    """A weighted sum over the k x k neighbourhood of each pixel, zeros outside."""

    side: int

    @nn.compact
    def __call__(self, values: jax.Array, weights: jax.Array) -> jax.Array:
        """Sums [B, h, w, 1] with learned factors and weights [B, h, w, k * k]."""
        count, reach = self.side**2, self.side // 2
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (1, 1, count, 1))
        bias = self.param("bias", nn.initializers.zeros, (1,))
        near = _shifted(values, reach)
        terms = [
            near[k] * weights[..., k : k + 1] * kernel[0, 0, k, 0] for k in range(count)
        ]
        return functools.reduce(jnp.add, terms) + bias.reshape(1, 1, 1, 1)


class UpDepthwise(nn.Module):
    """PyTorch's depthwise transposed convolution (4x4, stride 2, pad 1), no bias."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [B, h, w, C] to [B, 2h, 2w, C]."""
        batch, height, width, channels = x.shape
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (4, 4, 1, channels))
        kernel = kernel.reshape(4, 4, 1, 1, 1, channels)
        near = _shifted(x, 1)

        def phase(a, b):
            # Output row 2y + a reads input rows y - 1 + a and y + a: taps 3 - a, 1 - a.
            terms = [
                near[3 * (a + i) + b + j] * kernel[3 - a - 2 * i, 3 - b - 2 * j]
                for i in (0, 1)
                for j in (0, 1)
            ]
            return functools.reduce(jnp.add, terms)

        rows = [jnp.stack([phase(a, b) for b in (0, 1)], axis=3) for a in (0, 1)]
        return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, channels)


def pixels_per_unit(level: int) -> float:
    """How many pixels of a level one unit of the internal flow is."""
    return FLOW_UNIT / 2 ** (level - 1)


def leaky(x: jax.Array) -> jax.Array:
    """LeakyReLU with slope 0.1, of any x [...]."""
    return nn.leaky_relu(x, 0.1)


def correlation(first: jax.Array, second: jax.Array) -> jax.Array:
    """Mean products of [B, h, w, C] and it moved by up to 3: [B, h, w, 49]."""
    height, width = first.shape[1:3]
    side = 2 * _REACH + 1
    edge = (_REACH, _REACH)
    padded = jnp.pad(second, ((0, 0), edge, edge, (0, 0)))

    def row(dy):
        rows = jax.lax.dynamic_slice_in_dim(padded, dy, height, axis=1)
        moved = [rows[:, :, dx : dx + width] for dx in range(side)]
        return jnp.stack([jnp.mean(first * m, axis=-1) for m in moved], axis=-1)

    scores = jax.lax.map(row, jnp.arange(side))  # a loop keeps the program short
    scores = jnp.moveaxis(scores, 0, 3)
    return scores.reshape(*first.shape[:3], side**2)


def _conv(features, kernel, name, *, strides=1):
    """A convolution with bias; `kernel` is a side or (rows, columns)."""
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    pads = [(side // 2, side // 2) for side in sides]
    return nn.Conv(features, sides, strides=strides, padding=pads, name=name)


def _each(conv, first, second):
    return leaky(conv(first)), leaky(conv(second))


def _shifted(x, reach):
    """Views of x [B, h, w, C] shifted by each (dy, dx), row-major, zeros outside."""
    height, width = x.shape[1:3]
    edge, places = (reach, reach), range(2 * reach + 1)
    padded = jnp.pad(x, ((0, 0), edge, edge, (0, 0)))
    return [padded[:, i : i + height, j : j + width] for i in places for j in places]


SIDES = 32  # the network's frames have sides that are multiples of this


class LiteFlowNet(nn.Module):
    """Optical flow from coarse to fine, at half of the resolution.

    Examples:
        >>> frame = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
        >>> flow, variables = jax.eval_shape(
        ...     LiteFlowNet().init_with_output, jax.random.key(0), frame, frame
        ... )
        >>> flow.shape  # half of the resolution
        (1, 32, 48, 2)
    """

    @nn.compact
    def __call__(self, current: jax.Array, previous: jax.Array) -> jax.Array:
        """Finds where each pixel of a frame was in the previous one."""
        # [B, H, W, 3] float32 in [0, 1] twice, with sides that are multiples of 32 (or
        # a ValueError) -> [B, H/2, W/2, 2] backward flow (dx, dy) in pixels of the full
        # resolution.
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

    Examples:
        >>> _, teacher = load_teacher("teacher.safetensors")
        >>> sharp = jax.ShapeDtypeStruct((1, 3, 64, 96, 3), jnp.uint8)
        >>> jax.eval_shape(label_motion, teacher, sharp)["motion"].shape
        (1, 3, 16, 24)

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
