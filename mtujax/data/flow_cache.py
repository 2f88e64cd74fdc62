"""Optical flow of a dataset, computed once and stored.

`FOLDER/NAME/[CONFIG/]flow/SPLIT/VIDEO/000001.npz`, numbered by the frame's position,
with a manifest of its source and method. A video's folder appears when it is complete,
so that an interrupted run resumes with the next video.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from mtujax.common.dataclass_json import check_same, read_json, write_json
from mtujax.common.files import (
    check_space,
    discard,
    is_leftover,
    one_at_a_time,
    whole_output,
)
from mtujax.common.threads import default_threads, in_order
from mtujax.data.flow import Estimator, FlowFiles, dis_flow, estimate_motion, write_npz
from mtujax.data.frames import FrameSource
from mtujax.errors import UsageError, UserError

VERSION = 1
METHODS = ("dis", "teacher")
_MANIFEST = "manifest.json"
_BYTES = 5  # per pixel: two half-precision floats and a bool


@dataclasses.dataclass(frozen=True)
class _Manifest:
    """Contents of the manifest; name, frames, height and width of each video."""

    version: int
    method: str | None
    videos: tuple[tuple[str, int, int, int], ...]


def estimator(method: str) -> Estimator:
    """The flow function of a method; a UsageError if unknown or if it needs weights."""
    if method == "teacher":
        raise UsageError(
            "method teacher: give the flow network's weights, --teacher FILE; `mtujax "
            "convert --teacher` makes them of a LiteFlowNet checkpoint"
        )
    if method != "dis":
        raise UsageError(f"{method}: unknown method; known are {', '.join(METHODS)}")
    return dis_flow


def compute_motion(
    source: FrameSource,
    folder: Path,
    *,
    method: str = "dis",
    estimate: Estimator | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Computes and stores the motion of a split; resumes with the next video.

    Examples:
        >>> frames = open_frames("pairs", "set", split="test")
        >>> compute_motion(frames, Path("motion/test"))
        0
        >>> compute_motion(frames, Path("motion/test"))  # one video is complete already
        1

    Args:
        source: the frames of the split.
        folder: to write, `flow_folder(...) / split`.
        method: "dis", or with `estimate` just its name.
        estimate: backward flow [H, W, 2] float32 (dx, dy) in pixels of (frame, previous
            frame), each [H, W, 3] uint8; None takes that of `method`.
        overwrite: replace motion of another method or of other frames.
        threads: frames at once; None takes one for each core.
        progress: called with the frames done and their total.

    Returns:
        Number of videos that were already complete.

    Raises:
        UsageError: for an unknown method.
        UserError: if the folder holds something else, or the disk is too small.
    """
    estimate = estimate or estimator(method)
    made_of = _made_of(source.videos, method)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder.with_name(f".{folder.name}.lock"), folder):
        _begin(folder, made_of, overwrite)
        left = [
            n for n, v in enumerate(source.videos) if not (folder / v.name).is_dir()
        ]
        missing = [source.videos[n] for n in left]
        pixels = sum(v.frames * v.height * v.width for v in missing)
        check_space(folder, pixels * _BYTES)
        done = sum(v.frames for n, v in enumerate(source.videos) if n not in set(left))
        total = sum(v.frames for v in source.videos)
        for number in left:
            place = folder / source.videos[number].name
            with whole_output(place, folder=True, overwrite=False) as part:
                for _ in _frames(source, number, part, estimate, threads):
                    done += 1
                    if progress:
                        progress(done, total)
    return len(source.videos) - len(left)


def _made_of(videos, method):
    """Contents of the manifest, which must match for stored motion to be used."""
    return _Manifest(VERSION, method, tuple(map(dataclasses.astuple, videos)))


def _begin(folder, made_of, overwrite):
    """Leaves the folder with this manifest, empty where it had another."""
    if (folder / _MANIFEST).is_file():
        try:
            _check_manifest(folder, made_of, "--overwrite computes it again")
            return
        except UserError:
            if not overwrite:
                raise
    elif not all(is_leftover(path) for path in folder.iterdir()):
        raise UserError(f"{folder}: holds something else; choose another --output")
    for video in sorted(folder.iterdir()):
        if video.is_dir() and not is_leftover(video):
            discard(video)
    write_json(folder / _MANIFEST, dataclasses.asdict(made_of))


def _check_manifest(folder, wanted, remedy):
    """Refuses stored motion that is not the wanted one; any method if that is None."""
    found = read_json(folder / _MANIFEST, remedy, kind=_Manifest)
    found, wanted = _comparable(found), _comparable(wanted)
    if wanted["method"] is None:
        found["method"] = None
    check_same(found, wanted, f"{folder}: holds other motion", remedy)


def _comparable(made_of):
    videos = {n: f"{count} frames, {w}x{h}" for n, count, h, w in made_of.videos}
    return {**dataclasses.asdict(made_of), "videos": videos}


def _frames(source, number, folder, estimate, threads) -> Iterator[None]:
    """Computes one video; yields once per frame."""
    yield  # the first frame has no motion
    threads = threads or default_threads()
    frames = source.videos[number].frames
    # A few at a time, as whole frames are large.
    for at in range(1, frames, 4 * threads):
        last = min(at + 4 * threads, frames)
        sharp = source.read(number, {"sharp": range(at - 1, last)})["sharp"]

        def one(n, at=at, sharp=sharp):
            motion = estimate_motion(sharp[n - at + 1], sharp[n - at], estimate)
            write_npz(folder / f"{n:06d}.npz", *motion)

        yield from in_order(one, range(at, last), threads=threads)


def kept_motion(folder: Path, source: FrameSource, *, advice: str) -> FlowFiles | None:
    """Motion that `compute_motion` stored; None without any, UserError if stale."""
    if not (folder / _MANIFEST).is_file():
        return None
    remedy = f"{advice} again with --overwrite"
    _check_manifest(folder, _made_of(source.videos, None), remedy)
    folders = [folder / video.name for video in source.videos]
    if missing := [f.name for f in folders if not f.is_dir()]:
        raise UserError(
            f"{folder}: lacks {len(missing)} of {len(folders)} videos, as {missing[0]};"
            f" {advice}"
        )
    stems = [[f"{n:06d}" for n in range(video.frames)] for video in source.videos]
    return FlowFiles(f"motion in {folder}", source.videos, folders, stems)
