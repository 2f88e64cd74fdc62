"""Sources of a run's batches: files, or photographs filmed on the host or the device.

Batch n is the same in every run with the same settings, whatever the number of devices
and hosts, so that its number is the only state. Letters: B clips of this host's share,
T target frames, L blurry frames, H W pixels.
"""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtujax import liteflownet, parallel, synthesis
from mtujax.common.text import counted
from mtujax.data.clips import Clips, ClipSpec, Samples, VideoSamples
from mtujax.data.flow import ComputedMotion, dis_flow
from mtujax.data.locate import NoMotion, open_frames, open_motion
from mtujax.data.pipeline import (
    Augment,
    BatchSpec,
    MotionLabels,
    Noise,
    training_batches,
)
from mtujax.errors import UsageError, UserError
from mtujax.ops.labels import motion_labels
from mtujax.synthesis.host.clip import PhotoSamples
from mtujax.synthesis.photos import (
    images_in,
    read_cutouts,
    read_photos,
    scaled_down,
)
from mtujax.training.config import RunConfig, blur_settings
from mtujax.training.gradients import Batch
from mtujax.training.optimizers import reads_labels

Prepare = Callable[[Any, Batch], Batch]


@dataclasses.dataclass(frozen=True)
class Feed:
    """Batches of a run, and what the device still has to do to them."""

    name: str  # description of their source
    notes: tuple[str, ...]  # sentences on what differs from the settings
    # takes the number of batches consumed and returns an endless iterator of the next
    # ones: arrays of this host [B, ...]; "record", if any, is not for the device
    start: Callable[[int], Iterator[dict[str, np.ndarray]]]
    describe: Callable[[int], str]  # names a record
    constants: Any = None  # arrays for `prepare`, the same for every batch
    # pure function of the constants and a batch that returns what
    # `training.gradients.read_batch` takes; None if batches are that already
    prepare: Prepare | None = None


def open_feed(config: RunConfig) -> Feed:
    """Opens the source of a run's batches; reads no clip yet."""
    data = config.data
    if not data.path:
        what = "a folder of photographs" if data.name == "synthetic" else "its folder"
        raise UsageError(f"data.path is not given: name {what}")
    if data.name != "synthetic":
        return _dataset(config)
    on_device = jax.default_backend() != "cpu"
    if data.made_on != "auto":
        on_device = data.made_on == "device"
    feed = _device_photos(config) if on_device else _host_photos(config)
    unused = [f"data.{n} is not used" for n in ("teacher", "flow") if getattr(data, n)]
    why = [f"{', '.join(unused)}: the motion of photographs is known"] if unused else []
    return dataclasses.replace(feed, notes=(*feed.notes, *why))


def labelled(config: RunConfig) -> bool:
    """Whether a run's loss needs motion labels."""
    return bool(config.model.matching_units) and reads_labels(config.train)


def _clips(config):
    model = config.model
    return ClipSpec(
        frames=config.data.frames,
        lookback=model.lookback,
        lookahead=model.lookahead,
        use_preceding_frames=config.data.use_preceding_frames,
    )


def _host_feed(config: RunConfig, samples: Samples, **options) -> Feed:
    """Opens batches that Grain makes on the host."""
    data = config.data
    spec = BatchSpec(
        crop=data.crop,
        batch=parallel.local_batch(config.batch),
        augment=Augment(data.augment_probability, data.augment_probability)
        if data.augment_probability
        else None,
        noise=Noise(0.0, data.noise) if data.noise else None,
        labels=MotionLabels(
            config.model.search_radius, data.label_all_cells, config.model.cell
        ),
    )
    size = (data.crop, data.crop)
    samples.check(*size)

    def start(done):
        batches = training_batches(
            samples,
            spec=spec,
            seed=config.seed,
            start=done,
            shard=(jax.process_index(), jax.process_count()),
            threads=data.threads,
            workers=data.workers,
        )
        with contextlib.closing(batches):
            try:
                yield from batches
            except RuntimeError as error:
                found = re.search(r"Worker process .* exit code (-?\d+)", str(error))
                if not found:
                    raise
                raise UserError(
                    f"a data worker died (exit code {found[1]}), perhaps out of "
                    "memory: give fewer data.workers, or 0; the same command resumes "
                    "from the last checkpoint"
                ) from error

    notes = (samples.note,) if samples.note else ()
    return Feed(samples.name, notes, start, samples.describe, **options)


def _dataset(config):
    data = config.data
    place = dict(split=data.split, config=data.variant)
    source = open_frames(data.name, data.path, **place, threads=data.threads)
    motion, options, notes = None, {}, ()
    if labelled(config):
        motion, options, notes = _motion(config, source, place)
    samples = VideoSamples(Clips(source, _clips(config)), motion)
    feed = _host_feed(config, samples, **options)
    return dataclasses.replace(feed, notes=(*feed.notes, *notes))


def _motion(config, source, place):
    """Returns the labels' source, or feed options to make them on the device; notes."""
    data, notes = config.data, ()
    if data.motion == "dis":
        return ComputedMotion(source, dis_flow), {}, notes
    if data.motion in ("auto", "kept"):
        kept = dict(**place, folder=data.flow)
        try:
            return open_motion(data.name, data.path, source, **kept), {}, notes
        except NoMotion as error:
            if data.motion == "kept" or (data.flow and not data.teacher):
                raise
            if not data.teacher:
                raise UserError(
                    f"{error}; or give data.teacher, data.motion=dis, or "
                    "train.motion_weight=0"
                ) from None
        notes = (f"no motion of {source.name} is kept, so data.teacher gives it",)
    if not data.teacher:
        raise UsageError(
            "data.teacher is not given: `mtujax fetch liteflownet` brings it"
        )
    params = liteflownet.load_teacher(data.teacher)[1]
    settings = dict(
        radius=config.model.search_radius,
        label_all_cells=data.label_all_cells,
        cell=config.model.cell,
    )

    def prepare(params, batch):
        return batch | liteflownet.label_motion(params, batch["sharp"], **settings)

    return None, dict(constants=params, prepare=prepare), notes


def _host_photos(config):
    data = config.data
    samples = PhotoSamples(
        images_in(data.path),
        _clips(config),
        blur=blur_settings(data),
        cutouts=images_in(data.cutouts, "cut-outs") if data.cutouts else (),
        max_side=data.max_side,
    )
    return _host_feed(config, samples)


def read_scaled(
    path: str, max_side: int | None, *, width: int, height: int, setting: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads photographs, scaled to `max_side`; UserError if below `setting`'s."""
    photos, small = read_photos(
        path, width=width, height=height, remedy=f"give a smaller {setting}"
    )
    photos = {name: scaled_down(photo, max_side) for name, photo in photos.items()}
    for name, photo in photos.items():
        if photo.shape[0] < height or photo.shape[1] < width:
            raise UserError(
                f"{path}: {name}, scaled down to data.max_side={max_side}, is smaller "
                f"than {width}x{height} ({setting})"
            )
    return photos, small


def _device_photos(config):
    """Opens clips filmed on the device: the host only numbers them."""
    data, model = config.data, config.model
    size = dict(width=data.crop, height=data.crop, setting="data.crop")
    photos, small = read_scaled(data.path, data.max_side, **size)
    constants, film = synthesis.make_clips(
        list(photos.values()),
        read_cutouts(data.cutouts),
        frames=data.frames + model.lookahead,
        size=data.crop,
        blur=blur_settings(data),
        subframes=data.subframes,
    )
    key = jax.random.key(config.seed)

    def prepare(constants, batch):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["clip"])
        return _as_trained(film(constants, keys), config)

    share = parallel.local_batch(config.batch)
    first = jax.process_index() * share  # this process's clips of the global batch

    def start(done):
        while True:
            clip = done * config.batch + first + np.arange(share)
            yield {"clip": (clip % 2**32).astype(np.uint32)}
            done += 1

    notes = [f"{', '.join(small[:5])}: smaller than {data.crop} pixels, left out"]
    return Feed(
        f"{counted(len(photos), 'photograph')} filmed on the device",
        tuple(notes if small else ()),
        start,
        lambda clip: f"clip {clip} of seed {config.seed}",
        constants,
        prepare,
    )


def _as_trained(clip, config):
    """Cuts clips as `ClipSpec.positions` does without frames before the first."""
    data, model = config.data, config.model
    blurry, sharp = clip["blurry"], clip["sharp"][:, : data.frames]
    before = jnp.repeat(blurry[:, :1], model.lookback, axis=1)
    batch = {"blurry": jnp.concatenate([before, blurry], axis=1), "sharp": sharp}
    if not labelled(config):
        return batch
    flow, valid = (clip[name][:, : data.frames] for name in ("flow", "valid"))
    motion, counts = motion_labels(
        flow,
        valid.at[:, 0].set(False),  # nothing is before it
        radius=model.search_radius,
        label_all_cells=data.label_all_cells,
        cell=model.cell,
    )
    return batch | {"motion": motion, "motion_valid": counts}
