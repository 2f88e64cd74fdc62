"""Validation during training: a few clips, restored with the moving average.

Letters: T time, H W pixels.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.data.clips import Clips, ClipSpec
from mtujax.data.locate import open_frames
from mtujax.errors import UserError
from mtujax.metrics.image import MOST_PSNR, psnr
from mtujax.model.clip import restore_clip
from mtujax.model.network import MTUNet, inference_params
from mtujax.ops.resampling import from_unit_range, to_unit_range
from mtujax.synthesis.host.clip import synthesize
from mtujax.synthesis.validation_set import is_validation_folder, validation_clips
from mtujax.training.config import RunConfig, blur_settings
from mtujax.training.dead_channels import dead_masks
from mtujax.training.inputs import read_scaled

_SEED = 20220  # of clips filmed for validation, whatever the run's own seed
_LOOKED_AT = 2  # frames of each clip, for dead channels: the first and a later one


@dataclasses.dataclass(frozen=True)
class Clip:
    """A named validation clip: `blurry` and `sharp` [T, H, W, 3] uint8."""

    name: str
    blurry: np.ndarray
    sharp: np.ndarray


@dataclasses.dataclass(frozen=True)
class ValidationResult:
    """How well the clips are restored."""

    psnr: float  # dB, mean over frames, then over clips
    blurry: float  # the same for the blurry frames
    by_clip: dict[str, float]  # dB by name
    # [H, 3 W, 3] uint8 by name: the middle frame blurry, restored, sharp
    images: dict[str, np.ndarray]
    dead: dict[str, np.ndarray]  # channels by layer, from `dead_masks`


def open_clips(config: RunConfig) -> list[Clip]:
    """Reads the validation clips of a run; none where `validation` names nothing."""
    wanted = config.validation
    if not wanted.every or (config.data.name == "synthetic" and not wanted.path):
        return []
    if config.data.name != "synthetic":
        clips = _of_set(config)
    elif is_validation_folder(wanted.path):
        made = validation_clips(wanted.path)
        clips = [Clip(m.entry.name, m.clip.blurry, m.clip.sharp) for m in made]
    else:
        clips = _filmed(config)
    cell = config.model.cell
    return [_middle(clip, wanted.frames, wanted.size, cell) for clip in clips]


def _of_set(config):
    data, wanted = config.data, config.validation
    path = wanted.path or data.path
    place = dict(split=wanted.split, config=data.variant)
    try:
        source = open_frames(data.name, path, **place)
    except UserError as error:
        raise UserError(f"{error}; validation.every=0 disables it") from None
    spec = ClipSpec(frames=wanted.frames, lookback=0, lookahead=0)
    try:
        clips = Clips(source, spec)
    except UserError as error:
        raise UserError(
            f"validation: {error}; validation.every=0 disables it"
        ) from None
    chosen = np.linspace(0, len(clips) - 1, min(wanted.clips, len(clips)))
    read = []
    for index in np.unique(chosen.astype(int)):
        video, start = clips.place(index)
        frames = clips.read(int(index))
        name = f"{source.videos[video].name}-{start}"
        read.append(Clip(name, frames["blurry"], frames["sharp"]))
    return read


def _filmed(config):
    data, wanted = config.data, config.validation
    height, width = wanted.size
    size = dict(width=width, height=height, setting="validation.size")
    photos, _ = read_scaled(wanted.path, data.max_side, **size)
    names, filmed = list(photos), []
    for number in range(wanted.clips):
        name = names[number % len(names)]
        made = synthesize(
            photos[name],
            np.random.default_rng([_SEED, number]),
            frames=wanted.frames,
            height=height,
            width=width,
            blur=blur_settings(data),
        )
        filmed.append(Clip(f"{name}-{number}", made.blurry, made.sharp))
    return filmed


def _middle(clip, frames, size, cell):
    """Crops the first frames of a clip to their middle; sizes are multiples of cell."""
    rows, columns = clip.sharp.shape[1:3]
    if rows < size[0] or columns < size[1]:
        raise UserError(
            f"validation clip {clip.name} is {columns}x{rows}, smaller than the "
            f"{size[1]}x{size[0]} of validation.size; give one that fits, as (rows, "
            f"columns): --config.validation.size='({rows - rows % cell}, "
            f"{columns - columns % cell})'"
        )
    top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
    part = np.s_[:frames, top : top + size[0], left : left + size[1]]
    return Clip(clip.name, clip.blurry[part], clip.sharp[part])


class Validator:
    """Restores the validation clips and scores them."""

    def __init__(self, model: MTUNet, clips: list[Clip], *, images: int):
        """Takes clips of one size; `images` of them are pictured."""
        self._model, self._clips, self._images = model, clips, images
        self._blurry = {c.name: _mean_psnr(c.blurry, c.sharp) for c in clips}

    def __call__(self, params: dict) -> ValidationResult:
        """Scores parameters by 8-bit frames; training-only ones are ignored."""
        params, scores, images = inference_params(params), {}, {}
        for clip in self._clips:
            restored = np.asarray(_restored(self._model, params, clip.blurry))
            scores[clip.name] = _mean_psnr(restored, clip.sharp)
            if len(images) < self._images:
                middle = len(restored) // 2
                row = clip.blurry[middle], restored[middle], clip.sharp[middle]
                images[clip.name] = np.concatenate(row, axis=1)
        mean = float(np.mean(list(scores.values())))
        blurry = float(np.mean(list(self._blurry.values())))
        seen = [clip.blurry[:_LOOKED_AT] for clip in self._clips]
        dead = dead_masks(self._model, params, seen)
        return ValidationResult(mean, blurry, scores, images, dead)


@functools.partial(jax.jit, static_argnums=0)
def _restored(model, params, clip):
    restored = restore_clip(model, params, to_unit_range(clip)[None])[1][0]
    return from_unit_range(restored, jnp.uint8)


def _mean_psnr(frames, sharp):
    # Equal frames have infinite PSNR, next to which no other would count.
    each = psnr(to_unit_range(frames), to_unit_range(sharp))
    return float(jnp.mean(jnp.minimum(each, MOST_PSNR)))
