"""Everything that fixes a training run, as frozen dataclasses.

Configuration files become a `RunConfig` at the door; the library knows no flags.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Literal

from mtujax.common.dataclass_json import from_dict, to_dict
from mtujax.common.text import nearest
from mtujax.config import ModelConfig
from mtujax.data.datasets import DATASETS
from mtujax.errors import UsageError, UserError, check_least
from mtujax.synthesis.settings import BlurSettings, Exposure, Objects, Shake

_TRAIN_CHOICES = {
    "scheme": ("paper", "release"),
    "optimizer": ("adam", "muon"),
    "loss": (None, "paper", "release", "psnr"),
    "schedule": ("cosine", "drops", "constant", "timed"),
}
_POSITIVE = ("steps", "learning_rate", "clip_norm", "loss_scale")


def _at_least(part, least, names, path=""):
    check_least(least, **{path + name: getattr(part, name) for name in names.split()})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Examples:
        >>> TrainConfig(steps=1000, learning_rate=5e-4).optimizer
        'adam'

    Attributes:
        steps: updates in all, but for the schedule "timed". With `frames_per_update`,
            a clip gives several.
        scheme: "paper", one Adam on the sum of both losses, or "release", an Adam for
            each; both with a deblurring loss of their own.
        optimizer: "adam" as published, or "muon", whose updates of kernels are
            orthogonal matrices (`optimizers.make_optimizers`).
        loss: deblurring loss in place of the scheme's: "paper", "release" or "psnr", as
            `training.losses.restoration_loss` has them; None takes the scheme's.
        frames_per_update: frames of a clip from one update to the next, 1 in the
            release; None for one update a clip.
        bptt: frames of truncated backpropagation through time: 1 detaches the state
            after each frame, as published; None propagates through an update.
        remat: compute each frame's activations again for its gradient, which saves
            memory where `bptt` is long.
        learning_rate: learning rate after the warm-up.
        schedule: "cosine" falls to 0 after `steps`; "drops" multiplies; "constant";
            "timed" falls as "cosine" does, to 0 when the run's time is over.
        drops: (number of updates, factor) of each drop of the schedule "drops".
        warmup: updates of linear warm-up, which also count.
        clip_norm: largest global norm of each gradient.
        motion_weight: alpha, the weight of the motion loss; with 0 it needs no labels.
        ema_decay: decay of the moving average of the parameters.
        revive_dead: at each validation redraw dead channels, so small that frames
            hardly change (`training.dead_channels.revived`); checkpoints hold these.
        loss_scale: first factor of the losses where the network computes in float16;
            `training.optimizers.adjusted_loss_scale` changes it from then on.
    """

    steps: int
    scheme: Literal["paper", "release"] = "paper"
    optimizer: Literal["adam", "muon"] = "adam"
    loss: Literal["paper", "release", "psnr"] | None = None
    frames_per_update: int | None = None
    bptt: int | None = 1
    remat: bool = False
    learning_rate: float = 1e-4
    schedule: Literal["cosine", "drops", "constant", "timed"] = "cosine"
    drops: Sequence[tuple[int, float]] = ((1_000_000, 0.25), (1_250_000, 0.25))
    warmup: int = 100
    clip_norm: float = 1.0
    motion_weight: float = 0.01
    ema_decay: float = 0.999
    revive_dead: bool = False
    loss_scale: float = 2.0**15

    @property
    def timed(self) -> bool:
        """Whether training ends with its time, not after a number of updates."""
        return self.schedule == "timed"

    @property
    def most(self) -> int:
        """Updates after which training ends, however much time there is."""
        return sys.maxsize if self.timed else self.steps

    def __post_init__(self):
        """Refuses what cannot be trained with; UsageError names the field."""
        for name, choices in _TRAIN_CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UsageError(
                    f"{name} {value!r}: must be {' or '.join(map(str, choices))}"
                )
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(
                    f"{name} {getattr(self, name)}: must be above 0 and finite"
                )
        _at_least(self, 0, "motion_weight warmup")
        _at_least(self, 1, "frames_per_update bptt")
        if (self.bptt or 0) > (self.frames_per_update or math.inf):
            raise UsageError(
                f"bptt {self.bptt}: at most the frames of an update, "
                f"frames_per_update={self.frames_per_update}"
            )
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"ema_decay {self.ema_decay}: must be in [0, 1)")
        # A list, as configuration files give it, could not be hashed.
        object.__setattr__(self, "drops", tuple(tuple(drop) for drop in self.drops))


RELEASE = TrainConfig(
    steps=1_300_000,
    scheme="release",
    frames_per_update=1,
    schedule="drops",
    warmup=0,
)
"""The release's training of the tables: an update for each frame, batch 8."""


def check_precision(model: ModelConfig, backend: str) -> None:
    """Refuses float16 on a CPU; `backend` is from `jax.default_backend()`."""
    if model.dtype == "float16" and backend == "cpu":
        raise UserError(
            "model.dtype float16 with loss scaling: not on a CPU; take bfloat16, or "
            "float32, which is faster there"
        )


_CHOICES = {
    "name": ("synthetic", *DATASETS),
    "made_on": ("auto", "device", "host"),
    "motion": ("auto", "kept", "dis", "teacher"),
}


def _check_ranges(part, path):
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, tuple) and not value[0] <= value[1]:
            raise UsageError(
                f"{path}.{field.name} {value}: is a range, the lower bound comes first"
            )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What a run trains on.

    Examples:
        >>> DataConfig(name="pairs", path="set", crop=64).frames
        13

    Attributes:
        name: "synthetic" films photographs; else a dataset: gopro, dvd, reds, bsd, or
            pairs (own frames).
        path: the folder of photographs, or the dataset's, unpacked or prepared.
        variant: kind of blur of a dataset, as gopro's blur_gamma; None takes its usual.
        split: part of a dataset that is trained on.
        frames: target frames of a clip.
        crop: side of the square crop in pixels.
        use_preceding_frames: let a clip of a dataset see the video before it; the
            release repeats the clip's first frame.
        augment_probability: probability that a dataset's clip is turned; a flip has the
            same.
        noise: largest standard deviation of noise added to a dataset's blurry frames,
            on the scale of [0, 1]. The release's 1e-4 changes no 8-bit frame.
        motion: labels of a dataset: "kept" next to it, "dis" computes OpenCV's flow for
            each clip (slow), "teacher" runs LiteFlowNet on the device; "auto" takes
            what is kept, else the teacher if one is given. Photographs give exact ones.
        teacher: weights of LiteFlowNet, "liteflownet" once it is fetched, or a file.
        flow: folder of the kept motion; None looks next to the dataset.
        label_all_cells: let cells count whose motion leads out of the frame or is
            hidden, as in the release.
        made_on: where photographs are filmed: "device", "host", or "auto": the device
            if it is no CPU.
        max_side: photographs are scaled down to that many pixels on the longer side;
            None keeps them. What is scaled down is sharp.
        cutouts: folder of PNG files with opacity, objects for the blur; None takes
            pieces of the photographs.
        shake: ranges of the camera's motion.
        objects: ranges of what is in front of the photographs; None for nothing.
        exposure: ranges of exposure, noise and compression.
        subframes: the most per frame that are averaged on the device; None: as many as
            the longest blur needs.
        threads: threads that make batches on the host.
        workers: further processes that make batches; 0 for none.
    """

    name: str = "synthetic"
    path: str = ""
    variant: str | None = None
    split: str = "train"
    frames: int = 13
    crop: int = 256
    use_preceding_frames: bool = False
    augment_probability: float = 0.5
    noise: float = 0.0
    motion: str = "auto"
    teacher: str | None = None
    flow: str | None = None
    label_all_cells: bool = False
    made_on: str = "auto"
    max_side: int | None = None
    cutouts: str | None = None
    shake: Shake = Shake()
    objects: Objects | None = Objects()
    exposure: Exposure = Exposure()
    subframes: int | None = None
    threads: int = 2
    workers: int = 0

    def __post_init__(self):
        """Refuses an unknown choice; UsageError names the nearest one."""
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UsageError(f"data.{name} {value!r}: {nearest(value, choices)}")
        _at_least(self, 1, "frames crop max_side subframes threads", "data.")
        _at_least(self, 0, "workers noise", "data.")
        for name, share in {
            "augment_probability": self.augment_probability,
            "exposure.compressed": self.exposure.compressed,
            "exposure.sharp": self.exposure.sharp,
            "exposure.averaged": self.exposure.averaged,
        }.items():
            if not 0 <= share <= 1:
                raise UsageError(f"data.{name} {share}: is a probability, from 0 to 1")
        for name in ("shake", "objects", "exposure"):
            if part := getattr(self, name):
                _check_ranges(part, f"data.{name}")


def blur_settings(data: DataConfig) -> BlurSettings:
    """Gathers the settings by which photographs are blurred."""
    return BlurSettings(data.shake, data.objects, data.exposure)


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """How a run is validated while it trains.

    Examples:
        >>> ValidationConfig(path="held_out", every=500).split
        'test'

    Attributes:
        path: folder of photographs that are not trained on: those of the fixed set give
            that set, others are filmed. Of a dataset, its root; None takes the trained
            one.
        split: part of a dataset that is validated on.
        clips: how many clips, but for the fixed set, which is whole.
        frames: frames of each clip.
        size: (rows, columns) of each frame's middle, which is restored.
        every: updates from one validation to the next; 0 for none.
        images: how many clips are shown as images.
    """

    path: str | None = None
    split: str = "test"
    clips: int = 8
    frames: int = 13
    size: tuple[int, int] = (256, 256)
    every: int = 5000
    images: int = 4

    def __post_init__(self):
        """Refuses numbers that mean nothing; UsageError names the field."""
        _at_least(self, 1, "clips frames", "validation.")
        _at_least(self, 0, "every images", "validation.")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A training run.

    Examples:
        >>> config = RunConfig(PRESETS["mtu1"], TrainConfig(steps=1000), batch=4)
        >>> config.train.scheme
        'paper'

    Attributes:
        model: the network.
        train: how its weights are updated.
        data: what it is trained on.
        validation: how it is validated.
        run: its folder, also remote as gs://bucket/run: checkpoints, logs, config.
        batch: clips of an update over all devices and hosts.
        seed: seed of the first weights and of all data.
        rescale_init: rescale the first weights, so that a short run learns; the release
            draws all from N(0, 0.03).
        init_from: weights to start from: a bundled name, a .safetensors file, or
            another run's folder; only a new run reads it.
        resume_state_from: a training state that `mtujax export --state` wrote, perhaps
            of other data, batch, schedule or precision; only a run without checkpoints
            reads it.
        save_every: updates from one checkpoint to the next.
        keep_latest: how many of the last checkpoints are kept.
        keep_every: updates between those kept for good, which are saved then, too;
            None for none.
        log_every: updates from one line of the log to the next.
        max_minutes: save and stop after that time; None for no limit. The schedule
            "timed" ends then.
        max_skipped_updates: updates in a row that may be skipped because a loss or
            gradient was not finite; then the run stops.
        tensorboard: also write what TensorBoard reads.
    """

    model: ModelConfig
    train: TrainConfig
    data: DataConfig = DataConfig()
    validation: ValidationConfig = ValidationConfig()
    run: str = "runs/mtu"
    batch: int = 8
    seed: int = 0
    rescale_init: bool = False
    init_from: str | None = None
    resume_state_from: str | None = None
    save_every: int = 1000
    keep_latest: int = 2
    keep_every: int | None = None
    log_every: int = 50
    max_minutes: float | None = None
    max_skipped_updates: int = 20
    tensorboard: bool = True

    def __post_init__(self):
        """Refuses numbers that mean nothing; UsageError names the field."""
        if not self.run:
            raise UsageError("run is empty: name a folder")
        _at_least(self, 1, "batch save_every keep_latest keep_every log_every")
        _at_least(self, 1, "max_skipped_updates")
        _at_least(self, 0, "seed max_minutes")
        if self.init_from and self.resume_state_from:
            raise UsageError(
                f"init_from {self.init_from}: "
                "not with resume_state_from, which has weights of its own"
            )
        if self.train.timed and self.max_minutes is None:
            raise UsageError("train.schedule timed: give max_minutes")
        if self.seed >= 2**32:
            raise UsageError(f"seed {self.seed}: must be below 2**32")
        cell, crop, size = self.model.cell, self.data.crop, self.validation.size
        rule = f"must be a multiple of {cell}, 4 * model.patch"
        if crop % cell:
            raise UsageError(f"data.crop {crop}: {rule}")
        if min(size) < 16 or any(side % cell for side in size):
            raise UsageError(f"validation.size {size}: each {rule}, and at least 16")


RENAMED = {
    "go_on_from": "resume_state_from",
    "most_skipped": "max_skipped_updates",
    "spread": "rescale_init",
    "data.every_cell": "data.label_all_cells",
    "data.longest": "data.max_side",
    "data.see_before": "data.use_preceding_frames",
    "data.turn": "data.augment_probability",
}
"""Fields that had another name.

Examples:
    >>> RENAMED["go_on_from"]
    'resume_state_from'
"""

_FREE = frozenset(
    """run init_from resume_state_from save_every keep_latest keep_every log_every
    max_minutes max_skipped_updates tensorboard validation train.steps train.remat
    data.path data.teacher data.flow data.cutouts
    data.made_on data.threads data.workers""".split()
)
"""What a resumed run may change: where things are, and what is only watched."""


def config_of(values: dict, where: str) -> RunConfig:
    """Builds the configuration that a run has kept; `where` is for messages."""
    try:
        return from_dict(values, RunConfig, renamed=RENAMED)
    except UsageError as error:
        raise UserError(
            f"{where}: {error}; read it with the mtujax that wrote it"
        ) from None


def state_fields(config: RunConfig) -> dict:
    """What must agree for a run to resume from the training state of another."""
    # Data, batch, schedule and precision may differ: the state is of the same
    # structure.
    values = to_dict(config)
    model = {k: v for k, v in values["model"].items() if k != "dtype"}
    train = {name: values["train"][name] for name in ("scheme", "optimizer")}
    return {"model": model, "train": train}


def fixed_fields(config: RunConfig) -> dict:
    """What a run must not change when it resumes from its checkpoints."""

    def kept(values, path):
        return {
            name: kept(value, f"{path}{name}.") if isinstance(value, dict) else value
            for name, value in values.items()
            if f"{path}{name}" not in _FREE
        }

    return kept(to_dict(config), "")
