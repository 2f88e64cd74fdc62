"""The previous restored frame, moved along the motion and mixed into the current one.

Noise and the remainders of blur differ from frame to frame, what is to be seen does
not: a mean of both frames is steadier and nearer to the sharp one, wherever the motion
is found well enough for them to agree. Not in the paper: a further output of networks
of our own (`ModelConfig.blend_previous`).
Letters: B batch, H W pixels, h w patches, p side of a patch.
"""

import einops
import jax
import jax.numpy as jnp
from jax import lax

from mtujax.ops.motion_samples import window_mean
from mtujax.ops.resampling import depth_to_space

AGREEMENT = 0.02  # root mean square difference, of [0, 1], that halves the share
AROUND = 3  # side in patches of the square over which differences are averaged


def blended(
    current: jax.Array, moved: jax.Array, logits: jax.Array, is_first: jax.Array
) -> jax.Array:
    """Mixes the frame before, moved, into the current one: [B, H, W, 3] float32."""
    # `current` and `moved`: [B, H, W, 3] in [0, 1]. `logits`: [B, h, w, p p], 0 is a
    # share of a half if both are equal. `is_first`: bool [B], True where no frame is
    # before. How far both agree is measured: no gradient goes there.
    side = current.shape[1] // logits.shape[1]
    change = moved - current
    shape = "b (h y) (w x) c -> b h w 1"
    unlike = einops.reduce(change**2, shape, "mean", y=side, x=side)
    unlike = lax.stop_gradient(window_mean(unlike, AROUND))
    share = jax.nn.sigmoid(logits - jnp.log1p(2 * unlike / AGREEMENT**2))
    share = jnp.where(is_first.reshape(-1, 1, 1, 1), 0, share)
    return current + depth_to_space(share, side) * change
