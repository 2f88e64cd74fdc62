"""Batches of clips as training reads them.

Letters: B batch, T time, L frames given, K frames of a window, H W pixels, h w motion
grid.
"""

import flax.struct
import jax
import jax.numpy as jnp

from mtujax.errors import UserError
from mtujax.motion_labels import motion_labels
from mtujax.network import MTUNet
from mtujax.ops.unit_range import to_unit_range
from mtujax.recurrent import clip_windows

Batch = dict[str, jax.Array]


@flax.struct.dataclass
class Frames:
    """A batch of clips as the step reads it: leading axis time.

    Attributes:
        blurry: [B, L, H, W, 3] in [0, 1], all frames.
        index: int32 [T, B, K] places among them of each window.
        targets: "sharp" [T, B, H, W, 3]; with labels "motion" int32 and "motion_valid"
            bool [T, B, h, w].
    """

    blurry: jax.Array
    index: jax.Array
    targets: dict[str, jax.Array]


def read_batch(model: MTUNet, batch: Batch, *, labelled: bool = True) -> Frames:
    """Brings a batch into the form that a step reads.

    Args:
        model: the network.
        batch: `sharp` [B, T, H, W, 3] and `blurry` [B, T, H, W, 3] or, with the frames
            that the network sees around them, [B, lookback + T + lookahead, H, W, 3];
            uint8, or float in [0, 1]. If the network matches, also its labels: `motion`
            int [B, T, h, w] and `motion_valid` bool alike, or `flow` [B, T, H, W, 2] in
            pixels and `valid` bool [B, T, H, W], False in frames with none before
            them. H and W must be multiples of
            `ModelConfig.cell`. Others are not read.
        labelled: read labels, which a loss without a motion term does not need.

    Returns:
        The clips.

    Raises:
        UserError: if labels are missing.
        ValueError: for another number of blurry frames.
    """
    config = model.config
    sharp, blurry = to_unit_range(batch["sharp"]), to_unit_range(batch["blurry"])
    time, around = sharp.shape[1], blurry.shape[1] - sharp.shape[1]
    back = config.lookback
    if around == 0:
        frames, index = clip_windows(config, blurry)
    elif around == back + config.lookahead:
        parts = (
            blurry[:, back : back + time],
            blurry[:, :back],
            blurry[:, back + time :],
        )
        frames, index = clip_windows(config, *parts)
    else:
        raise ValueError(
            f"{blurry.shape[1]} blurry frames for {time} sharp ones: give as many, or "
            f"{back} before and {config.lookahead} after them as well"
        )
    targets = {"sharp": sharp}
    if labelled and config.matching_units:
        targets |= _motion_targets(batch, config)
    index, targets = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (index, targets))
    return Frames(frames, index, targets)


def _motion_targets(batch, config):
    if {"motion", "motion_valid"} <= batch.keys():
        motion, valid = batch["motion"], batch["motion_valid"]
    elif {"flow", "valid"} <= batch.keys():
        rule = {"radius": config.search_radius, "cell": config.cell}
        motion, valid = motion_labels(batch["flow"], batch["valid"], **rule)
    else:
        raise UserError(
            "batch without motion labels: give motion and motion_valid, or flow and "
            "valid, or train with motion_weight=0"
        )
    return {"motion": motion, "motion_valid": valid}
