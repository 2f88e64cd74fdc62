"""The layers of all units: convolutions, activations and residual blocks.

Letters: B batch, H W pixels, C channels in, O channels out. Weights are initialised
normally with standard deviation 0.03 and biases with 0, as in the release.
"""

import flax.linen as nn
import jax

from mtujax.config import LEAKY_SLOPE
from mtujax.ops.convolution import conv_general_dilated, conv_transpose2d

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
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [B, H, W, C] to [B, H // stride, W // stride, O]."""
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
        return activate(y, self.activation)


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
