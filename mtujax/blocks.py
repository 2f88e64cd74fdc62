"""The layers all units are made of: convolutions with ReLU and residual blocks.

Letters: B batch, H W pixels, C channels in, O channels out. Weights start normal with
standard deviation 0.03 and biases at 0, as in the release.
"""

import flax.linen as nn
import jax

from mtujax.ops.conv import conv_general_dilated, conv_transpose2d

kernel_init = nn.initializers.normal(0.03)


class Conv(nn.Module):
    """A convolution with bias, zero-padded, and optionally ReLU.

    Attributes:
        features: output channels O.
        kernel: side of the square kernel.
        stride: step in pixels.
        padding: zeros on every side.
        relu: whether ReLU follows.
        dtype: compute precision.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    relu: bool = True
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
        return nn.relu(y) if self.relu else y


class UpConv(nn.Module):
    """A transposed convolution (4x4, stride 2) with bias and ReLU.

    Attributes:
        features: output channels O.
        dtype: compute precision.
    """

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [B, H, W, C] to [B, 2H, 2W, O]."""
        shape = (4, 4, x.shape[-1], self.features)
        kernel = self.param("kernel", kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return nn.relu(conv_transpose2d(x, kernel) + bias.reshape(1, 1, 1, -1))


class ResidualBlock(nn.Module):
    """x + two 3x3 convolutions, each followed by ReLU.

    Attributes:
        features: channels in and out.
        dtype: compute precision.
    """

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [B, H, W, C] to [B, H, W, C]."""
        y = Conv(self.features, dtype=self.dtype, name="conv_0")(x)
        return x + Conv(self.features, dtype=self.dtype, name="conv_1")(y)
