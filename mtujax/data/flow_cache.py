"""Optical flow of a dataset, computed once and stored.

`FOLDER/NAME/[CONFIG/]flow/SPLIT/VIDEO/000001.npz`, numbered by the frame's position,
with a manifest of its source and method. A video's folder appears when it is complete,
so that an interrupted run resumes with the next video.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from mtujax.common.files import naming, one_at_a_time, publish, whole_output
from mtujax.common.threads import default_threads, in_threads
from mtujax.data.flow import Estimator, FlowFiles, dis_flow, estimate_motion, write_npz
from mtujax.data.frames import FrameSource
from mtujax.errors import UsageError, UserError

VERSION = 1
METHODS = ("dis", "teacher")
_MANIFEST = "manifest.json"
_BYTES = 5  # per pixel: two half-precision floats and a bool


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
    """Stores the motion of a split; returns how many videos were already complete.

    `estimate` None takes that of `method`, else `method` is just its name. `overwrite`
    replaces motion of another method or of other frames, else a UserError. `progress`
    is called with the frames done and their total.
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
        _refuse_full(folder, [source.videos[n] for n in left])
        done = sum(v.frames for n, v in enumerate(source.videos) if n not in set(left))
        total = sum(v.frames for v in source.videos)
        for number in left:
            for _ in _video(source, number, folder, estimate, threads):
                done += 1
                if progress:
                    progress(done, total)
    return len(source.videos) - len(left)


def _made_of(videos, method):
    """Contents of the manifest, which must match for stored motion to be used."""
    infos = [list(dataclasses.astuple(video)) for video in videos]
    return {"version": VERSION, "method": method, "videos": infos}


def _begin(folder, made_of, overwrite):
    """Leaves the folder with this manifest, empty where it had another."""
    if (folder / _MANIFEST).is_file():
        wrong = _difference(_manifest(folder), made_of)
        if wrong is None:
            return
        if not overwrite:
            raise UserError(f"{folder}: {wrong}; --overwrite computes it anew")
    elif any(folder.iterdir()):
        raise UserError(f"{folder}: holds something else; choose another --output")
    for video in sorted(p for p in folder.iterdir() if p.is_dir()):
        _discard(video)  # hidden folders come first
    with whole_output(folder / _MANIFEST, folder=False) as file:
        file.write_text(json.dumps(made_of))


def _discard(video):
    """Deletes a video's folder, hidden first: if interrupted, the rest is not used."""
    part = video
    if not video.name.startswith("."):
        part = video.with_name(f".{video.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        video.rename(part)
    shutil.rmtree(part)


def _manifest(folder):
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        return {key: manifest[key] for key in ("version", "method", "videos")}
    except (ValueError, KeyError, TypeError):
        return {"version": "unknown", "method": "unknown", "videos": []}


def _difference(found, wanted):
    """Why stored motion is not the wanted one, or None."""
    if found["version"] != wanted["version"]:
        return f"is of version {found['version']}, not {wanted['version']}"
    if wanted["method"] not in (None, found["method"]):
        return f"was made by {found['method']}, not {wanted['method']}"
    if found["videos"] != wanted["videos"]:
        pairs = zip(found["videos"], wanted["videos"], strict=False)
        told = next((_told(a, b) for a, b in pairs if a != b), None)
        count = f"{len(found['videos'])} videos, not {len(wanted['videos'])}"
        return f"stale, as it was made of {told or count}"
    return None


def _told(found, wanted):
    a, b = (f"{n} ({count} frames, {w}x{h})" for n, count, h, w in (found, wanted))
    return f"{a}, not {b}"


def _refuse_full(folder, videos):
    needed = sum(v.frames * v.height * v.width * _BYTES for v in videos)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; "
            "choose another --output"
        )


def _video(source, number, folder, estimate, threads) -> Iterator[None]:
    """Computes one video; yields once per frame."""
    info = source.videos[number]
    part = folder / f".{info.name}.part"
    shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
    try:
        with naming(folder / info.name, part):
            part.mkdir()
            yield  # the first frame has no motion
            yield from _frames(source, number, part, estimate, threads)
            publish(part, folder / info.name, folder=True, overwrite=False)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _frames(source, number, folder, estimate, threads):
    threads = threads or default_threads()
    frames = source.videos[number].frames
    # A few at a time, as whole frames are large.
    for at in range(1, frames, 4 * threads):
        last = min(at + 4 * threads, frames)
        sharp = source.read(number, {"sharp": range(at - 1, last)})["sharp"]

        def one(n, at=at, sharp=sharp):
            motion = estimate_motion(sharp[n - at + 1], sharp[n - at], estimate)
            write_npz(folder / f"{n:06d}.npz", *motion)

        yield from in_threads(one, range(at, last), threads=threads)


def kept_motion(folder: Path, source: FrameSource, *, advice: str) -> FlowFiles | None:
    """Motion that `compute_motion` stored, or None if the folder has no manifest.

    A UserError if it is incomplete or of other frames; `advice` says how to compute it.
    """
    if not (folder / _MANIFEST).is_file():
        return None
    wrong = _difference(_manifest(folder), _made_of(source.videos, None))
    if wrong:
        raise UserError(f"{folder}: {wrong}; {advice} anew with --overwrite")
    folders = [folder / video.name for video in source.videos]
    if missing := [f.name for f in folders if not f.is_dir()]:
        raise UserError(
            f"{folder}: lacks {len(missing)} of {len(folders)} videos, as {missing[0]};"
            f" {advice}"
        )
    stems = [[f"{n:06d}" for n in range(video.frames)] for video in source.videos]
    return FlowFiles(f"motion in {folder}", source.videos, folders, stems)
