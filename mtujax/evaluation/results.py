"""What an evaluation writes: finished videos one by one, then tables and totals.

    settings.json   what is evaluated; another evaluation is refused
    videos/         a file for each finished video, from which a later start resumes
    frames/         restored frames, if they are kept: VIDEO/FRAME.png
    results.json    everything, see below
    frames.csv      a row for each frame; blank where a protocol does not count it
    videos.csv      a row for each video, and the total
    table.md        the table of videos, for readers

`results.json`, version 1, has sums of scores and all that they depend on; it is read by
`read_results` and by `mtujax report`:

    kind, version   "mtujax evaluation", 1
    device          kind of the first device, as JAX names it
    machine         date, devices, processor, versions (`common.hardware.machine`);
                    values that differed between starts are listed, as "A; B"
    method          name; of a network also sha256 of its weights, parameters and
                    config with its dtype, which are null for results made elsewhere
    dataset         name, split, variant (null if it has none), and in videos for each
                    its name, frames, height and width
    protocols       by name: means psnr (dB) and ssim, and blurry_psnr of the blurry
                    frames (null in results of older versions), over which average
                    ("frames" or "videos"); frames scored, videos that hold them;
                    infinite, unaligned and invalid frames among them; and in by_video
                    for each video counted, the [first, one after last] of the frames
                    that count, and the fields of `evaluation.scores.Sums`
    motion          means psnr, ssim, share and end_point_error (pixels); pairs, and
                    undefined, infinite and known ones; by_video; or null
    consistency     means restored and sharp; pairs, and undefined and invalid ones;
                    by_video; or null
    seconds         wall-clock time of each stage of the start that wrote the file

A number that is not finite is text: "nan", "inf"; a mean of no pairs is null. Means are
for readers; `read_results` takes sums and computes them again.

`frames.csv`:

    video, frame, name      the video, the frame's number from 0, its file's name
    PROTOCOL psnr, ssim     scores; inf without any error
    PROTOCOL blurry_psnr    PSNR of the blurry frame
    koehler gain            factor applied to the result
    koehler shift_rows, shift_columns   shift in pixels, down and right
    koehler aligned         1, or 0 for a black frame
    motion psnr, ssim, share            motion accuracy from the frame before
    motion end_point_error              in pixels; absent if no video has exact flow
    consistency restored, sharp         warping errors from the frame before

`videos.csv`: frames; of each protocol counted, the means, infinite, unaligned and
invalid; of motion and consistency the means over pairs of neighbours, pairs, and how
many were undefined, infinite, known or invalid.
"""

import contextlib
import csv
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from mtujax.common.dataclass_json import (
    from_dict,
    plain,
    read_json,
    to_dict,
    write_json,
)
from mtujax.common.files import irregular, one_at_a_time, publish, staged, whole_output
from mtujax.config import ModelConfig
from mtujax.data.frames import VideoInfo
from mtujax.errors import UserError
from mtujax.evaluation.scores import (
    ConsistencySums,
    MotionSums,
    ProtocolScores,
    VideoRecord,
    add_up,
)
from mtujax.video.image_folder import FolderWriter, ImageKind

T = TypeVar("T")

EVALUATION, BENCH = "mtujax evaluation", "mtujax bench"
"""Kinds of result files."""

_MADE_BY = {EVALUATION: "eval.py", BENCH: "`mtujax bench`"}


VERSION = 1
"""Version of the files that can be read."""


@dataclasses.dataclass(frozen=True)
class Method:
    """The method that restored the scored frames.

    Examples:
        >>> Method("other").parameters is None  # frames restored elsewhere
        True

    Attributes:
        name: of the weights, without folder and suffix, or of results made elsewhere.
        sha256: of the weights, hexadecimal; None for results made elsewhere.
        parameters: number of parameters; None likewise.
        config: the network, with the dtype that it ran in; None likewise.
    """

    name: str
    sha256: str | None = None
    parameters: int | None = None
    config: ModelConfig | None = None


@dataclasses.dataclass(frozen=True)
class Scored:
    """The dataset that was evaluated."""

    name: str  # as `gopro`
    split: str  # part of the dataset
    variant: str | None  # its kind of blur; None for a dataset that has only one
    videos: tuple[VideoInfo, ...]  # of the split


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All results of an evaluation.

    Examples:
        >>> found = evaluate(
        ...     "mine.safetensors", dataset="pairs", path="set", out="found"
        ... )
        >>> found.method.name, list(found.protocols)
        ('mine', ['rt-paper', 'koehler'])

    Attributes:
        method: the method evaluated.
        dataset: the dataset it was evaluated on.
        protocols: scores by the protocol's name, in the order asked for.
        motion: motion accuracy by the video's name; None if not asked for.
        consistency: temporal consistency likewise.
        machine: device, versions and date, from `common.hardware.machine`; values that
            differed between videos are listed.
        seconds: wall-clock time by stage, of the start that wrote the results.
    """

    method: Method
    dataset: Scored
    protocols: dict[str, ProtocolScores]
    motion: dict[str, MotionSums] | None = None
    consistency: dict[str, ConsistencySums] | None = None
    machine: dict[str, str | int] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def motion_total(self) -> MotionSums | None:
        """Motion accuracy over all videos; None if not asked for."""
        return None if self.motion is None else add_up(self.motion, MotionSums)

    @property
    def consistency_total(self) -> ConsistencySums | None:
        """Temporal consistency over all videos; None if not asked for."""
        steady = self.consistency
        return None if steady is None else add_up(steady, ConsistencySums)


def write_results(path: str | os.PathLike, evaluation: Evaluation) -> None:
    """Writes an evaluation to a JSON file, all or nothing.

    Examples:
        >>> found = evaluate(
        ...     "mine.safetensors", dataset="pairs", path="set", out="written"
        ... )
        >>> write_results("copy.json", found)
        >>> read_results("copy.json").protocols == found.protocols
        True

    Args:
        path: a `.json` file; an existing one is replaced atomically.
        evaluation: to write.

    Raises:
        OSError: if it cannot be written.
    """
    write_json(Path(path), to_json(evaluation))


def to_json(evaluation: Evaluation) -> dict:
    """Converts an evaluation to the JSON values of its file."""
    method, protocols = evaluation.method, evaluation.protocols
    config = method.config and to_dict(method.config)
    return plain(
        {
            "kind": EVALUATION,
            "version": VERSION,
            "device": evaluation.machine.get("device"),
            "machine": evaluation.machine,
            "method": {**vars(method), "config": config},
            "dataset": to_dict(evaluation.dataset),
            "protocols": {name: _protocol(protocols[name]) for name in protocols},
            "motion": _pairs(evaluation.motion, evaluation.motion_total),
            "consistency": _pairs(evaluation.consistency, evaluation.consistency_total),
            "seconds": evaluation.seconds,
        }
    )


def read_results(path: str | os.PathLike) -> Evaluation:
    """Reads an evaluation from a JSON file.

    Examples:
        >>> _ = evaluate("mine.safetensors", dataset="pairs", path="set", out="read")
        >>> read_results("read/results.json").method.name
        'mine'

    Args:
        path: a file that `write_results` wrote.

    Returns:
        The evaluation.

    Raises:
        UserError: naming the file, if it is missing, is no evaluation, is of another
            version, or is damaged.
    """
    return read_file(path, {EVALUATION: evaluation_of})


def read_file(path: str | os.PathLike, readers: Mapping[str, Callable[[dict], T]]) -> T:
    """Reads a results file by the reader of its kind; a UserError names the file."""
    path = Path(path)
    if what := irregular(path):
        raise UserError(f"{path}: is a {what}, not a file")
    try:
        values = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    if not isinstance(values, dict) or values.get("kind") not in tuple(readers):
        made_by = " or ".join(_MADE_BY[kind] for kind in readers)
        raise UserError(f"{path}: not results of {made_by}")
    if values.get("version") != VERSION:
        raise UserError(
            f"{path}: results of version {values.get('version')}, this mtujax reads "
            f"version {VERSION}; measure again, or use the mtujax that wrote them"
        )
    try:
        return readers[values["kind"]](values)
    except KeyError as error:
        raise UserError(f"{path}: damaged, lacks {error.args[0]}") from None
    except (UserError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error})") from None


def _protocol(scores):
    psnr, ssim = scores.means
    total = scores.total
    return {
        "psnr": psnr,
        "ssim": ssim,
        "blurry_psnr": scores.blurry_mean,
        "average": scores.average,
        "frames": total.frames,
        "videos": scores.videos,
        "infinite": total.infinite,
        "unaligned": total.unaligned,
        "invalid": total.invalid,
        "by_video": {
            name: {"counted": one.counted, **dataclasses.asdict(one.sums)}
            for name, one in scores.by_video.items()
        },
    }


def _pairs(by_video, total):
    if by_video is None:
        return None
    each = {name: dataclasses.asdict(one) for name, one in by_video.items()}
    return {**total.summary, "by_video": each}


def evaluation_of(values: dict) -> Evaluation:
    """Reads an evaluation from the JSON values of its file."""
    given = {name: values[name] for name in ("method", "dataset", "machine", "seconds")}
    protocols = {
        name: {
            "average": scores["average"],
            "by_video": {n: _split(sums) for n, sums in scores["by_video"].items()},
        }
        for name, scores in values["protocols"].items()
    }
    pairs = {
        name: values[name] if values[name] is None else values[name]["by_video"]
        for name in ("motion", "consistency")
    }
    return from_dict({**given, "protocols": protocols, **pairs}, Evaluation)


def _split(sums):
    sums = dict(sums)
    return {"counted": sums.pop("counted"), "sums": sums}


SETTINGS, RESULTS, TABLE = "settings.json", "results.json", "table.md"
FRAMES, VIDEOS = "frames.csv", "videos.csv"
"""Names of files in the folder."""


class EvaluationFolder:
    """Where an evaluation keeps its results."""

    def __init__(self, path: Path):
        """Creates the folder."""
        self.path = path
        try:
            (path / "videos").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be the folder of an evaluation ({error.strerror})"
            ) from error

    def locked(self) -> contextlib.AbstractContextManager:
        """Keeps other evaluations out."""
        busy = "another evaluation is writing here; stop that, or name another folder"
        return one_at_a_time(self.path / ".lock", self.path, busy=busy)

    def settings(self) -> dict | None:
        """Reads the settings; None in a new folder."""
        remedy = "name another folder, or delete it"
        try:
            return read_json(self.path / SETTINGS, remedy)
        except FileNotFoundError:
            if any((self.path / "videos").iterdir()):
                raise UserError(
                    f"{self.path}: {SETTINGS} is missing, so what is finished there is "
                    f"of unknown origin; {remedy}"
                ) from None
            return None

    def results(self) -> Evaluation | None:
        """Reads an earlier start's results; None unless all tables are there, too."""
        if not all((self.path / name).is_file() for name in (TABLE, FRAMES, VIDEOS)):
            return None
        try:
            return read_results(self.path / RESULTS)
        except UserError:
            return None

    def finished(self, video: str, *, frames: bool) -> VideoRecord | None:
        """Reads a video's record; None if missing or damaged, or without `frames`."""
        if frames and not (self.path / "frames" / video).is_dir():
            return None
        try:
            return read_json(self._record(video), kind=VideoRecord)
        except (FileNotFoundError, UserError):
            return None

    def finish(self, record: VideoRecord) -> None:
        """Saves the record of a finished video."""
        write_json(self._record(record.video.name), dataclasses.asdict(record))

    def write_rows(self, name: str, rows: Iterable[dict]) -> None:
        """Writes a CSV file of at least one row, all with the same columns."""
        rows = iter(rows)
        first = next(rows)
        with (
            whole_output(self.path / name, folder=False) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, list(first))
            table.writeheader()
            table.writerow(first)
            table.writerows(rows)

    def _record(self, video):
        return self.path / "videos" / f"{video}.json"


class SavedFrames:
    """Restored frames of a video as PNG files, under their final name once whole."""

    def __init__(self, folder: EvaluationFolder, video: str):
        """Creates a folder to write to; leftovers of an earlier start are deleted."""
        (folder.path / "frames").mkdir(exist_ok=True)
        self._stack = contextlib.ExitStack()
        staging = staged(folder.path / "frames" / video, folder=True)
        self._made = self._stack.enter_context(staging)
        self._writer = FolderWriter(self._made.path)

    def write(self, name: str, frame: np.ndarray) -> None:
        """Writes a frame [H, W, 3] uint8; its name has no suffix."""
        self._writer.write(frame, ImageKind(f"{name}.png"))

    def finish(self) -> None:
        """Gives the folder its final name."""
        with self._stack:
            publish(self._made, overwrite=True)

    def abandon(self) -> None:
        """Deletes what was written, unless it is finished."""
        self._stack.close()
