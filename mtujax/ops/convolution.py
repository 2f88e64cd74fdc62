"""Convolutions in NHWC / HWIO, with a gradient that is fast inside loops on a CPU.

XLA's CPU backend rewrites convolution gradients into a fast layout only outside of
`scan`, `cond` and `map` bodies; inside they run 12-25 times slower. On a CPU `conv2d`
writes both gradients as operations that are fast anywhere. Letters: B batch, H W
pixels, C channels in, O channels out.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# A convolution gives the kernel's gradient with half of the memory, but on one core: a
# product per tap is faster for so few output channels, or so many positions.
_FEW_CHANNELS, _MANY_PLACES = 8, 2**14
Pads = tuple[tuple[int, int], tuple[int, int]]


def conv2d(x: jax.Array, kernel: jax.Array, strides: tuple, pads: Pads) -> jax.Array:
    """Convolves [B, H, W, C] by [kh, kw, C, O] of its dtype; no forward-mode AD."""
    # H' is (H + top + bottom - kh) // stride + 1; `pads` is ((top, bottom), (left,
    # right)).
    return _conv2d(x, kernel, tuple(strides), tuple(map(tuple, pads)))


def conv_general_dilated(
    x, kernel, strides, padding, *, dimension_numbers=None, **options
):
    """`conv2d` as Flax calls it; ValueError for dilations or groups other than 1."""
    # Flax passes the layouts of DIMENSIONS as `dimension_numbers`.
    groups = options.get("feature_group_count", 1)
    dilations = [options.get(k) for k in ("lhs_dilation", "rhs_dilation")]
    if groups != 1 or any(d is not None and set(d) != {1} for d in dilations):
        raise ValueError(f"dilated or grouped convolution: {options}")
    return conv2d(x, kernel, strides, padding)


def _convolve(x, kernel, strides, pads, **dilation):
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=DIMENSIONS, **dilation
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d(x, kernel, strides, pads):
    return _convolve(x, kernel, strides, pads)


def _forward(x, kernel, strides, pads):
    return _convolve(x, kernel, strides, pads), (x, kernel)


def _backward(strides, pads, residuals, grad):
    def stated(x, kernel, grad):
        return (
            _input_gradient(x.shape, kernel, strides, pads, grad),
            _kernel_gradient(x, kernel.shape, strides, pads, grad),
        )

    def derived(x, kernel, grad):
        return jax.vjp(lambda x, k: _convolve(x, k, strides, pads), x, kernel)[1](grad)

    # Not chosen by the present device: this may be compiled for another one.
    return lax.platform_dependent(*residuals, grad, cpu=stated, default=derived)


_conv2d.defvjp(_forward, _backward)


def _input_gradient(shape, kernel, strides, pads, grad):
    # Correlation of the dilated gradient with the turned kernel. The barrier keeps XLA
    # from folding the turn into dimension numbers that its slow path would take.
    turned = lax.rev(kernel, (0, 1)).transpose(0, 1, 3, 2)
    turned = lax.optimization_barrier(turned)
    out_pads = []
    for axis in (0, 1):
        size, k = shape[1 + axis], kernel.shape[axis]
        dilated = (grad.shape[1 + axis] - 1) * strides[axis] + 1
        low = k - 1 - pads[axis][0]
        out_pads.append((low, size - dilated - low + k - 1))
    return _convolve(grad, turned, (1, 1), out_pads, lhs_dilation=strides)


def _kernel_gradient(x, shape, strides, pads, grad):
    places = grad.shape[1] * grad.shape[2]
    if shape[-1] < _FEW_CHANNELS or places > _MANY_PLACES:
        return _by_taps(x, shape, strides, pads, grad)
    # A convolution whose kernel is the gradient, dilated by the strides: the batch is
    # summed over as channels are, and the channels take the place of the batch.
    if any(grad.shape[axis] > x.shape[axis] for axis in (1, 2)):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        pads = ((0, 0), (0, 0))
    turned = lax.optimization_barrier(x.transpose(3, 1, 2, 0))
    kernel = lax.optimization_barrier(grad.transpose(1, 2, 0, 3))
    out_pads = []
    for axis in (0, 1):
        low, size = pads[axis][0], x.shape[1 + axis]
        dilated = (grad.shape[1 + axis] - 1) * strides[axis] + 1
        out_pads.append((low, shape[axis] - 1 + dilated - size - low))
    found = _convolve(turned, kernel, (1, 1), out_pads, rhs_dilation=strides)
    return found.transpose(1, 2, 0, 3)


def _by_taps(x, shape, strides, pads, grad):
    # One matrix product per tap of the kernel.
    kh, kw, channels, features = shape
    batch, rows, columns, _ = grad.shape
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    flat = grad.reshape(-1, features)

    def tap(i, j):
        last = (i + (rows - 1) * strides[0] + 1, j + (columns - 1) * strides[1] + 1)
        part = lax.slice(
            padded, (0, i, j, 0), (batch, *last, channels), (1, *strides, 1)
        )
        return part.reshape(-1, channels).T @ flat

    taps = [tap(i, j) for i in range(kh) for j in range(kw)]
    return jnp.stack(taps).reshape(shape)


def conv_transpose2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """PyTorch's of stride 2, pad 1: [B, H, W, C] by [4, 4, C, O]: [B, 2H, 2W, O]."""
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    # Output row 2y reads input rows y - 1 and y, row 2y + 1 reads y and y + 1, so all
    # four phases are one 2x2 convolution over the padded input, each taken one position
    # apart: no zero is multiplied, and the gradient is that of `conv2d`.
    # Tap 3 - phase - 2t of the transposed kernel meets input t of the phase's window.
    phases = kernel[::-1, ::-1].reshape(2, 2, 2, 2, channels, features)
    phases = phases.transpose(0, 2, 4, 1, 3, 5)
    phases = phases.reshape(2, 2, channels, 4 * features)
    y = conv2d(x, phases, (1, 1), ((1, 1), (1, 1)))
    y = y.reshape(batch, height + 1, width + 1, 2, 2, features)
    rows = [
        jnp.stack([y[:, a : a + height, b : b + width, a, b] for b in (0, 1)], axis=3)
        for a in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, features)
