"""The input pipeline: clips drawn, cropped, turned, labelled and batched by Grain.

All randomness comes from the seed: record n of the stream is the same in every run,
whatever the number of threads, worker processes and hosts, so that a resumed run sees
what it would have seen. A flow (dx, dy) turns with the image. Letters: B clips of this
host's batch, T target frames, L frames of the blurry side, H W pixels, h w those of a
crop or cells of s x s pixels, r search radius in cells.
"""

import dataclasses

import numpy as np

from mtujax.config import MOTION_STRIDE
from mtujax.data.clips import Clips, ClipSpec, Samples, VideoSamples
from mtujax.data.flow import MotionSource
from mtujax.data.frames import FrameSource
from mtujax.errors import UsageError, check_least
from mtujax.ops.labels import motion_labels


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """One of the ways in which a square maps to itself."""

    turns: int = 0  # counterclockwise quarter turns, done first
    vertical: bool = False  # then swap top and bottom
    horizontal: bool = False  # then swap left and right

    def before(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns, in pixels, that become `height` and `width`."""
        return (width, height) if self.turns % 2 else (height, width)

    def of(self, images: np.ndarray) -> np.ndarray:
        """Turns and flips pixels [..., H, W, C] -> a view [..., H', W', C]."""
        turned = np.rot90(images, self.turns, axes=(-3, -2))
        rows = slice(None, None, -1 if self.vertical else 1)
        columns = slice(None, None, -1 if self.horizontal else 1)
        return turned[..., rows, columns, :]

    def of_flow(self, flow: np.ndarray) -> np.ndarray:
        """Turns and flips a flow [..., H, W, 2] (dx, dy), pixels and vectors."""
        dx, dy = np.moveaxis(flow, -1, 0)
        for _ in range(self.turns % 4):
            dx, dy = dy, -dx
        dx = -dx if self.horizontal else dx
        dy = -dy if self.vertical else dy
        return self.of(np.stack([dx, dy], axis=-1))


@dataclasses.dataclass(frozen=True)
class Augment:
    """How often clips are turned and flipped; the defaults are the release's.

    Examples:
        >>> Augment(turn=0).draw(np.random.default_rng(0)).turns
        0

    Attributes:
        turn: probability of a turn: a quarter to the left 0.3 of it, to the right 0.3,
            half 0.4.
        flip: probability of a flip: vertical 0.3 of it, horizontal 0.3, both 0.4.
    """

    turn: float = 0.5
    flip: float = 0.5

    def __post_init__(self):
        """Raises a UsageError that names the first invalid probability."""
        _check_probabilities(turn=self.turn, flip=self.flip)

    def draw(self, rng: np.random.Generator) -> Symmetry:
        """Draws the symmetry of one clip.

        Args:
            rng: source of randomness.

        Returns:
            The `Symmetry` to apply to all frames of the clip.
        """
        turns = _choose(rng, self.turn, (0, 1, 3, 2))
        flips = ((False, False), (True, False), (False, True), (True, True))
        return Symmetry(turns, *_choose(rng, self.flip, flips))


def _choose(rng, probability, choices):
    """The first choice if nothing happens, else one of the other three."""
    if rng.random() >= probability:
        return choices[0]
    return choices[1 + int(np.searchsorted([0.3, 0.6], rng.random(), side="right"))]


@dataclasses.dataclass(frozen=True)
class Noise:
    """Gaussian noise of the blurry frames, drawn for each frame.

    The release has `Noise(1e-4, 1e-4)`, on float frames. That is 0.03 of a grey level:
    of frames in uint8, as here, it changes none.

    Examples:
        >>> grey = np.full((2, 8, 8, 3), 128, np.uint8)
        >>> noise, rng = Noise(0.01, 0.02, probability=1), np.random.default_rng(0)
        >>> noisy = noise.add(grey, [0, 1], rng)
        >>> bool(2 < noisy.std() < 6)
        True

    Attributes:
        low: smallest standard deviation, on the scale of [0, 1].
        high: largest; each frame draws one between them.
        probability: that a frame has noise.
    """

    low: float = 0.0
    high: float = 0.02
    probability: float = 0.5

    def __post_init__(self):
        """Raises a UsageError that names the invalid field."""
        _check_probabilities(probability=self.probability)
        if not 0 <= self.low <= self.high:
            raise UsageError(
                f"noise from {self.low} to {self.high}: give 0 <= low <= high"
            )

    def add(
        self, blurry: np.ndarray, positions: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Adds noise, rounded and clipped to uint8.

        Args:
            blurry: [L, H, W, 3] uint8.
            positions: [L] of the frames in their video: a frame that is repeated, as at
                the end of a video, has the same noise each time.
            rng: source of randomness.

        Returns:
            [L, H, W, 3] uint8.
        """
        noisy = blurry.copy()
        for position in np.unique(positions):
            if rng.random() >= self.probability:
                continue
            same = np.flatnonzero(positions == position)
            noise = rng.standard_normal(blurry.shape[1:], np.float32)
            noise *= np.float32(255 * rng.uniform(self.low, self.high))
            noise += blurry[same[0]]
            noisy[same] = np.rint(np.clip(noise, 0, 255, out=noise))
        return noisy


def _check_probabilities(**values):
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} {value}: a probability is in [0, 1]")


@dataclasses.dataclass(frozen=True)
class MotionLabels:
    """How a flow becomes classes (dy + r)(2r + 1) + (dx + r).

    A flow is averaged over a cell, divided by its side and rounded half to even, as in
    the release.

    Examples:
        >>> flow = np.full((1, 4, 4, 2), 4.0)  # a cell to the right and down
        >>> classes, _ = MotionLabels(radius=1).of(flow, np.ones((1, 4, 4), bool))
        >>> classes.tolist()
        [[[8]]]

    Attributes:
        radius: r of the network's search; displacements beyond it are clamped.
        label_all_cells: let every cell count, as in the release, whose flow network
            gives no mask: also where the motion was clamped, leaves the frame or is
            occluded. Without it, such cells are invalid, and so is a clip's first
            frame, which has no frame before it.
        cell: s, `ModelConfig.cell`, in pixels.
    """

    radius: int = 10
    label_all_cells: bool = False
    cell: int = MOTION_STRIDE

    def __post_init__(self):
        """Raises a UsageError for a negative radius."""
        check_least(0, radius=self.radius)

    def of(self, flow: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turns flows into classes.

        Args:
            flow: [T, sh, sw, 2] float backward flow (dx, dy) in pixels.
            valid: bool [T, sh, sw], False where the flow is unknown or undefined. The
                mean of a cell is over its valid pixels (with `label_all_cells` over
                all, of which unknown ones count 0); the cell is valid if half of them
                are.

        Returns:
            int32 [T, h, w] classes, and bool [T, h, w], whether they count.
        """
        return motion_labels(flow, valid, **dataclasses.asdict(self))


_AHEAD = 2  # batches prefetched for each thread


@dataclasses.dataclass(frozen=True)
class BatchSpec:
    """What a batch holds.

    Examples:
        >>> BatchSpec(crop=(128, 192), batch=4, augment=None).size
        (128, 192)

    Attributes:
        crop: side of the square crop in pixels, or its rows and columns; multiples of
            `labels.cell`. The release has 256.
        batch: batch size of this host. The release has 8 in all.
        augment: how often clips are turned and flipped; None: never.
        noise: added to the blurry frames; None: none.
        labels: how motion becomes classes.
    """

    crop: int | tuple[int, int] = 256
    batch: int = 8
    augment: Augment | None = Augment()
    noise: Noise | None = None
    labels: MotionLabels = MotionLabels()

    def __post_init__(self):
        """Raises a UsageError that names the first invalid field."""
        cell = self.labels.cell
        if any(side < cell or side % cell for side in self.size):
            raise UsageError(f"crop {self.crop}: sides are multiples of {cell} pixels")
        check_least(1, batch=self.batch)

    @property
    def size(self) -> tuple[int, int]:
        """Rows h and columns w of the crop."""
        return (self.crop,) * 2 if isinstance(self.crop, int) else tuple(self.crop)


class _Draw:
    """Makes a record from a clip's number; a class, so that it can be pickled."""

    def __init__(self, samples, spec):
        self._samples, self._spec = samples, spec

    def __call__(self, index, rng):
        spec = self._spec
        symmetry = (spec.augment or Augment(0, 0)).draw(rng)
        sample = self._samples.draw(int(index), rng, *symmetry.before(*spec.size))
        blurry = symmetry.of(sample.blurry)
        if spec.noise:
            blurry = spec.noise.add(blurry, sample.positions, rng)
        record = {"blurry": blurry, "sharp": symmetry.of(sample.sharp)}
        if sample.flow is not None:
            flow = symmetry.of_flow(sample.flow)
            valid = symmetry.of(sample.valid[..., None])[..., 0]
            record["motion"], record["motion_valid"] = spec.labels.of(flow, valid)
        record = {key: np.ascontiguousarray(value) for key, value in record.items()}
        return {**record, "record": np.int32(index)}


def training_batches(
    source: Samples | FrameSource,
    clips: ClipSpec | None = None,
    *,
    spec: BatchSpec | None = None,
    motion: MotionSource | None = None,
    seed: int = 0,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
    threads: int = 2,
    workers: int = 0,
):
    """Endless batches for training, every clip once before any is repeated.

    Examples:
        >>> frames = open_frames("pairs", "set", split="train")
        >>> spec = BatchSpec(crop=16, batch=2)
        >>> batches = training_batches(frames, ClipSpec(frames=3), spec=spec)
        >>> next(batches)["blurry"].shape
        (2, 7, 16, 16, 3)

    Args:
        source: the samples, or a dataset's frames as returned by `open_frames`.
        clips: how clips are cut out of those frames; None takes the release's.
        spec: what a batch holds; None takes the release's.
        motion: of those frames; without it, a batch has no labels.
        seed: of the order and all other randomness, from 0 to 2**32 - 1.
        start: batches to skip, unread: for resuming a run that had so many, with any
            number of workers, or hosts with the same total batch size.
        shard: index of this host and number of hosts: `jax.process_index()` and
            `jax.process_count()`. The hosts' batches together are those that one host
            would have with the sum of their sizes.
        threads: that prefetch batches, in each process.
        workers: processes that make them; 0 is best except where many cores feed a fast
            device. A script must then start under `if __name__ == "__main__":`.

    Returns:
        A `grain.DatasetIterator` of dicts: "blurry" uint8 [B, L, h, w, 3], "sharp"
        uint8 [B, T, h, w, 3]; with motion, "motion" int32 [B, T, h/s, w/s], classes
        (dy + r)(2r + 1) + (dx + r) of cells of s pixels, and "motion_valid" bool
        likewise; and "record" int32 [B], the number of each clip, which
        `Samples.describe` names. `set_state` resumes from what `get_state()` returned,
        with as many workers. A damaged file ends it with a `UserError` that names it.

    Raises:
        UserError: if a frame is smaller than the crop, or no video is long enough.
        UsageError: for an invalid setting.
    """
    spec = spec or BatchSpec()
    _check(seed, shard, start=start, threads=threads, workers=workers)
    samples = _samples(source, clips, motion)
    for height, width in {spec.size, spec.size[::-1] if spec.augment else spec.size}:
        samples.check(height, width)
    import grain

    # Sliced last: no work is done for records of another host, and a record does not
    # depend on the number of hosts.
    records = grain.MapDataset.range(len(samples)).seed(seed).shuffle().repeat()
    records = records.random_map(_Draw(samples, spec))
    batches = records[shard[0] :: shard[1]].batch(spec.batch, drop_remainder=True)
    ahead = _AHEAD * max(threads, 1)
    batches = batches[start:] if start else batches
    dataset = batches.to_iter_dataset(grain.ReadOptions(threads, ahead))
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # workers read them, `absl.app.run` parses them
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(workers))
    return iter(dataset)


def _samples(source, clips, motion):
    if isinstance(source, FrameSource):
        return VideoSamples(Clips(source, clips), motion)
    if clips is not None or motion is not None:
        raise UsageError(
            f"{source.name}: has clips and motion of its own; give them to it instead"
        )
    return source


def _check(seed, shard, **counts):
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed {seed}: from 0 to 2**32 - 1")
    if not 0 <= shard[0] < shard[1]:
        raise UsageError(f"shard {shard}: give (number of this host, number of hosts)")
    check_least(0, **counts)
