"""The multi-task unit and its parts: detail network, motion layer, deblur layer.

Reference: Son et al. 2022, Sec. 3.3 and Fig. 4; layer sizes from the released models,
as the weights' initial distribution. Letters: B batch, H W patches of p x p pixels
(multiples of 4), h w motion grid (H / 4, W / 4), C channels in, O channels out, D
displacements.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtujax.config import LEAKY_SLOPE, ModelConfig
from mtujax.ops.convolution import conv_general_dilated, conv_transpose2d
from mtujax.ops.matching import best_displacement, cost_volume, match
from mtujax.ops.motion_samples import blended
from mtujax.ops.resampling import area_downsample, depth_to_space, displace

kernel_init = nn.initializers.normal(0.03)


def activate(x: jax.Array, activation: str | None) -> jax.Array:
    """Applies "relu", "leaky" or, for None, nothing to x [..., C]."""
    if activation is None:
        return x
    return nn.relu(x) if activation == "relu" else nn.leaky_relu(x, LEAKY_SLOPE)


class Conv(nn.Module):
    """A convolution with bias, zero-padded on every side, and an activation or None."""

    features: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    activation: str | None = "relu"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, more: jax.Array | None = None) -> jax.Array:
        """Maps x [B, H, W, C] to [B, H // stride, W // stride, O], plus `more`."""
        y = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=self.padding,
            kernel_init=kernel_init,
            dtype=self.dtype,
            conv_general_dilated=conv_general_dilated,
            name="conv",
        )(x)
        y = y if more is None else y + more
        return activate(y, self.activation)


class Pointwise(nn.Module):
    """A 1x1 convolution of several inputs side by side, which are not joined first."""

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, *inputs: jax.Array) -> jax.Array:
        """Maps [B, H, W, Ck] each, or [B, 1, 1, Ck] of all places, to [B, H, W, O]."""
        counts = [x.shape[-1] for x in inputs]
        kernel, bias = _Weights(self.features, name="conv")(sum(counts))
        kernels = jnp.split(kernel[0, 0], np.cumsum(counts)[:-1])
        total = bias.astype(self.dtype).reshape(1, 1, 1, -1)
        for x, part in zip(inputs, kernels, strict=True):
            x, part = nn.dtypes.promote_dtype(x, part, dtype=self.dtype)
            total = total + x @ part
        return total


class _Weights(nn.Module):
    """Those of a 1x1 convolution."""

    features: int

    @nn.compact
    def __call__(self, channels):
        kernel = self.param("kernel", kernel_init, (1, 1, channels, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class UpConv(nn.Module):
    """A transposed convolution (4x4, stride 2) with bias and an activation."""

    features: int
    activation: str = "relu"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [B, H, W, C] to [B, 2H, 2W, O]."""
        shape = (4, 4, x.shape[-1], self.features)
        kernel = self.param("kernel", kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose2d(x, kernel) + bias.reshape(1, 1, 1, -1)
        return activate(y, self.activation)


class ResidualBlock(nn.Module):
    """x + two 3x3 convolutions, each followed by the activation."""

    features: int
    activation: str = "relu"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [B, H, W, C] to [B, H, W, C]."""
        like = {"activation": self.activation, "dtype": self.dtype}
        y = Conv(self.features, name="conv_0", **like)(x)
        return x + Conv(self.features, name="conv_1", **like)(y)


FILTER_SCALE = 8.0  # of weights: neighbours differ little, so their effect is small


class DetailNetwork(nn.Module):
    """F^n: a U-Net whose output both tasks share."""

    channels: int
    num_blocks: int  # at the lowest resolution
    first_kernel: int = 5
    activation: str = "relu"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [B, H, W, 2C] to detail features [B, H, W, C]; H, W multiples of 4."""
        c = self.channels
        like = {"activation": self.activation, "dtype": self.dtype}
        k = self.first_kernel
        full = Conv(c, kernel=k, padding=k // 2, name="encode_1", **like)(x)
        half = Conv(c, stride=2, name="encode_2", **like)(full)
        entry = Conv(2 * c, stride=2, name="encode_3", **like)(half)
        y = entry
        for k in range(self.num_blocks):
            y = ResidualBlock(2 * c, name=f"block_{k}", **like)(y)
        y = entry + Conv(2 * c, name="block_end", **like)(y)
        y = half + UpConv(c, name="decode_1", **like)(y)
        return full + UpConv(c, name="decode_2", **like)(y)


class MotionLayer(nn.Module):
    """M^n's one learned layer: 2C features to match, at a quarter of the resolution."""

    channels: int
    activation: str = "relu"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps (structure-injected) detail [B, 4h, 4w, C] to [B, h, w, 2C]."""
        # Pad 1 with a 5x5 kernel, not "SAME": the kernel's centre is at 4y + 1.
        return Conv(
            2 * self.channels,
            kernel=5,
            stride=4,
            padding=1,
            activation=self.activation,
            dtype=self.dtype,
            name="layer",
        )(features)


class MotionSamples(NamedTuple):
    """What is seen along the motion; None for what the configuration leaves out."""

    along: jax.Array | None = None  # grey samples [B, H, W, p p, S]
    spectrum: jax.Array | None = None  # of the blur [B, F]
    moved: jax.Array | None = None  # the previous restored frame [B, pH, pW, 3]


class DeblurLayer(nn.Module):
    """D^n: one convolution from features to a float32 image or its residual."""

    residual_learning: bool = True  # the blurry frame is added
    patch: int = 1  # side p of the squares of pixels that each place gives
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        features: jax.Array,
        blurry: jax.Array,
        is_first: jax.Array,
        samples: MotionSamples,
    ) -> jax.Array:
        """Maps features [B, H, W, C] and blurry [B, pH, pW, 3] to an image like it."""
        # With samples `along` the motion the layer also outputs a filter of S weights
        # for each place, whose result at each of its pixels is added to all three
        # colours. `spectrum` of the blur adds to these weights what it alone suggests.
        # Of the frame before, `moved`, it outputs a share for each pixel, which does
        # not count where `is_first` [B] says that there is none.
        along, spectrum, moved = samples
        count = 0 if along is None else along.shape[-1]
        shares = 0 if moved is None else self.patch**2
        colours = 3 * self.patch**2
        wanted = colours + count + shares
        layer = Conv(wanted, activation=None, dtype=self.dtype, name="layer")
        image = layer(features).astype(jnp.float32)
        if along is not None:
            parts = jnp.split(image, [colours, colours + count], axis=-1)
            image, weights, logits = parts
            if spectrum is not None:
                shape = (spectrum.shape[-1], count)
                kernel = self.param("exposure", nn.initializers.zeros, shape)
                kernel = kernel.astype(jnp.float32)
                usual = jnp.dot(spectrum, kernel, precision=lax.Precision.HIGHEST)
                weights = weights + usual[:, None, None]
            filtered = jnp.sum(weights[..., None, :] * along, axis=-1)
            image = image + FILTER_SCALE * jnp.repeat(filtered, 3, axis=-1)
        image = depth_to_space(image, self.patch)
        image = blurry + image if self.residual_learning else image
        return image if moved is None else blended(image, moved, logits, is_first)


class Previous(NamedTuple):
    """What a unit reads of the previous frame."""

    # its motion features in this unit [B, h, w, 2C]; None where not matched
    motion: jax.Array | None
    detail: jax.Array  # detail features of its last unit [B, H, W, C]
    is_first: jax.Array  # bool [B]; True where there is no previous frame


class UnitOutputs(NamedTuple):
    """What a unit computes; None for what its configuration or `train` leaves out."""

    detail: jax.Array  # detail features f_t^n [B, H, W, C]
    features: jax.Array | None  # [detail, warped] [B, H, W, 2C], the next unit's input
    motion: jax.Array | None  # motion features [B, h, w, 2C]
    displacement: jax.Array | None  # the one in use, own or inherited [B, h, w, 2]
    volume: jax.Array | None  # cost volume [B, h, w, D]
    image: jax.Array | None  # restored frame [B, pH, pW, 3]


class MultiTaskUnit(nn.Module):
    """Detail network F^n with motion compensation M^n and deblurring D^n attached."""

    config: ModelConfig
    index: int  # 0-based position in the stack

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        structure: jax.Array,
        blurry: jax.Array,
        previous: Previous,
        displacement: jax.Array | None,
        train: bool,
        samples: MotionSamples,
    ) -> UnitOutputs:
        """Runs the unit on one frame; `train` adds the volume and the image."""
        # Features `x` [B, H, W, 2C] and `structure` f^b_t [B, H, W, C], frame `blurry`
        # [B, pH, pW, 3] in [0, 1], `displacement` of an earlier unit [B, h, w, 2] int32
        # or None.
        cfg = self.config
        last = self.index == cfg.num_units - 1
        detail = DetailNetwork(
            cfg.channels,
            cfg.num_blocks,
            cfg.first_kernel,
            cfg.activation,
            cfg.dtype,
            name="detail",
        )(x)
        motion = volume = features = image = None
        if self.index in cfg.matching_units:
            motion = self._motion_features(structure, detail)
            displacement, volume = self._match(motion, previous, train)
        if not last or cfg.last_unit_reads_warped:
            warped = self._or_initial(previous.detail, detail, previous.is_first)
            if displacement is not None:
                warped = displace(warped, displacement)
            features = jnp.concatenate([detail, warped], axis=-1)
        if last or train:
            deblur = DeblurLayer(
                cfg.residual_learning, cfg.patch, cfg.dtype, name="deblur"
            )
            read = detail if features is None else features
            image = deblur(read, blurry, previous.is_first, samples)
        return UnitOutputs(detail, features, motion, displacement, volume, image)

    def _motion_features(self, structure, detail):
        cfg = self.config
        injected = detail + structure if cfg.structure_injection else detail
        if not cfg.motion_layer:
            return area_downsample(injected)
        layer = MotionLayer(cfg.channels, cfg.activation, cfg.dtype, name="motion")
        return layer(injected)

    def _match(self, motion, previous, train):
        """The displacement [B, h, w, 2] and, in training, the volume it comes from."""
        radius = self.config.search_radius
        key = self._or_initial(previous.motion, motion, previous.is_first)
        if train:
            volume = cost_volume(motion, key, radius=radius)
            displacement = best_displacement(volume, radius=radius)
        else:
            volume = None
            displacement = match(motion, key, radius=radius)
        if self.config.initial_features == "zero":
            # Against zeros all scores tie, and the first class is no motion to report.
            still = previous.is_first.reshape(-1, 1, 1, 1)
            displacement = jnp.where(still, 0, displacement)
        return displacement, volume

    def _or_initial(self, stored, own, is_first):
        """The stored features; where a video starts, the frame's own or zeros."""
        own_start = self.config.initial_features == "own"
        start = own if own_start else jnp.zeros_like(own)
        return jnp.where(is_first.reshape(-1, 1, 1, 1), start, stored)
