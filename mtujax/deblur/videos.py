"""Many videos into one folder: each is restored by itself, and none stops the others.

Finished work is kept whatever happens; `report.json` lists it.
"""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable

import jax

from mtujax.common import interrupts
from mtujax.common.files import file_digest
from mtujax.common.text import listed
from mtujax.common.threads import side_by_side
from mtujax.config import DEFAULT_WEIGHTS, SCENE_THRESHOLD
from mtujax.deblur import remote
from mtujax.deblur.api import SEGMENT_FRAMES, network_digest
from mtujax.deblur.batcher import Batcher
from mtujax.deblur.cluster import check_address, spread
from mtujax.deblur.listing import find_inputs, name_outputs, shard_of
from mtujax.deblur.output import Options
from mtujax.deblur.report import ANY, Report, VideoResult, name_of
from mtujax.deblur.resume import has_job
from mtujax.deblur.task import Task, again, restore
from mtujax.errors import UsageError, UserError, check_least
from mtujax.model.network import MTUNet
from mtujax.weights.files import describe, load, locate

_ON_ACCELERATORS = 8  # videos at once, if memory holds them


def deblur_videos(
    inputs: Iterable[str | os.PathLike] | str | os.PathLike,
    folder: str | os.PathLike,
    *,
    weights: str | os.PathLike | tuple[MTUNet, dict] = DEFAULT_WEIGHTS,
    dtype: str | None = None,
    runtime: str = "jax",
    overwrite: bool = False,
    resume: bool = False,
    start: float | None = None,
    end: float | None = None,
    scene_threshold: float = SCENE_THRESHOLD,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    compare: str | None = None,
    tile: str | tuple[int, int] | None = "auto",
    shard: str | None = None,
    ray: str | None = None,
    batch: int | str = "auto",
    segment_frames: int = SEGMENT_FRAMES,
    progress: Callable[[int, int | None], None] | None = None,
    on_start: Callable[[int, int], None] | None = None,
    on_video: Callable[[VideoResult], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> tuple[VideoResult, ...]:
    """Restores many videos, each as `deblur_video` does.

    The network is loaded once and compiled once per size of frames. Outputs keep the
    names of their inputs: a video becomes a video (what has a suffix that cannot be
    written, as .avi, an .mkv) and a folder of frames a folder. `report.json` in the
    folder says what became of each, with the sha256 of the weights; it is up to date
    whenever the work ends.

    Examples:
        >>> for video in deblur_videos("clips", "sharp", weights="mine.safetensors"):
        ...     print(video.frames, video.error)
        4 None

    Args:
        inputs: videos, folders of frames, folders of either, globs, and lists,
            "@list.txt", with one of these on each line. URLs that fsspec reads, as
            s3://bucket/clips, stand for the same; they need the extra `remote`.
        folder: where outputs go; it is made if need be. Behind a URL too: a video is
            then made in a temporary folder, and cannot be resumed before it is
            finished.
        weights: name of bundled weights, a `.safetensors` file, or `(model, params)`.
        dtype: as for `deblur_video`.
        runtime: as for `deblur_video`.
        overwrite: replace existing outputs, and without `resume` make all of them.
        resume: skip videos that a report in the folder calls finished and whose output
            is whole, resume those that were interrupted, and try failed ones again.
            Without it and `overwrite`, outputs that exist are refused before any work.
        start: of each video in seconds, of each folder as the number of a frame.
        end: as `start`.
        scene_threshold: as for `deblur_video`.
        codec: of outputs that are videos, as `crf`, `preset` and `pix_fmt`.
        crf: as for `deblur_video`.
        preset: as for `deblur_video`.
        pix_fmt: as for `deblur_video`.
        compare: as for `deblur_video`.
        tile: as for `deblur_video`.
        shard: "3/16" takes every 16th input from the third on, so that 16 processes
            share the work; its report is `report-3-of-16.json`.
        ray: spreads the work over a Ray cluster, with a process for each GPU, or for
            each few cores: "HOST:PORT", "auto" (the one that this machine belongs to)
            or "local" (one of its own). Inputs and the folder are on a path that all
            share, or behind URLs. A video whose process or node dies is tried three
            times. Needs the extra `ray`.
        batch: how many videos advance together on one device, or in each process of a
            cluster: frames of one size are restored in one step. "auto" takes one on a
            CPU, and up to 8 on an accelerator; never more than fit in memory. An output
            is the same as made alone, up to the rounding of the device.
        segment_frames: frames per segment; work can be resumed at segment boundaries.
        progress: called after each frame with the number restored, of all videos
            together, and None.
        on_start: called once, when no input or output has been refused, with the
            numbers of videos to make and of all.
        on_video: called with the result of each video, those that are skipped too.
        on_note: called at once with each note, with the name of the video before it.

    Returns:
        What became of each video, in the order of the inputs: one that failed has an
        `error`.

    Raises:
        UsageError: for a setting out of range, or no input.
        UserError: for an input that does not exist, two that would have one output, an
            output that exists, or a folder whose videos were made with other settings.
            Also for a cluster that cannot be reached, or has another version of Ray.
        WeightsError: for weights that cannot be loaded.
        OSError: if the disk is full. Then, and after an interruption, finished videos
            and finished segments stay, for `resume`.
    """
    given = locals()
    names = {f.name for f in dataclasses.fields(Options)} & given.keys()
    chosen = {name: _plain(given[name]) for name in sorted(names)}
    check_least(1, segment_frames=segment_frames)
    if ray is not None:
        check_address(ray)
    _check_batch(batch, runtime)
    single, folder = isinstance(inputs, str | os.PathLike), os.fspath(folder)
    outputs = name_outputs(find_inputs([inputs] if single else inputs, folder), folder)
    how = overwrite, resume, segment_frames
    tasks = [
        Task.of(name, outputs[name], Options(**chosen), *how)
        for name in shard_of(list(outputs), shard)
    ]
    done = {}

    def add(video):
        done[video.output] = dataclasses.replace(
            video, output=os.path.join(folder, video.output)
        )
        if on_video:
            on_video(done[video.output])

    with contextlib.ExitStack() as stack:
        name = name_of(shard)
        here, send = stack.enter_context(remote.mirrored(folder, name, ANY))
        report = Report(here / name, _described(weights), chosen, send)
        if resume or not overwrite:
            report.check_settings()
        videos, known, todo = _planned(tasks, report.earlier())
        if todo:
            remote.make_folder(folder, "choose another for the outputs")
            stack.enter_context(_saying(done, len(tasks)))
        # A process that was killed as it wrote the last entry left files behind.
        if todo or report.lock.exists():
            stack.enter_context(report.writing(videos))
        if on_start:
            on_start(len(todo), len(tasks))
        for video in known.values():
            add(video)
        results = ()
        if todo:
            results = _results(ray, batch, todo, weights, progress, on_note)
            results = stack.enter_context(results)
        for video in results:
            report.add(video)
            add(video)
    return tuple(done[task.key] for task in tasks)


def _plain(value):
    """A number as the command line has it: 20 and 20.0 are one setting."""
    return float(value) if isinstance(value, int) else value


def _described(weights):
    """Name and digest of weights, of which no array is put on a device."""
    if isinstance(weights, tuple):
        return {"name": None, "sha256": network_digest(weights)}
    path = locate(weights)
    describe(path)  # refused, if it is none
    return {"name": str(weights), "sha256": file_digest(path)}


def _planned(tasks, earlier):
    """Videos to be listed, by name; what is known of some; the tasks that are left."""
    videos, known, todo, taken, left = {}, {}, [], [], []
    for task in tasks:
        before, there = earlier.get(task.key), remote.is_taken(task.output)
        source, size = remote.state_of(task.input), remote.size_of(task.output)
        video = VideoResult(task.input, task.key, source=source, bytes=size)
        listed_before = task.resume and before is not None
        # What is there after a failure is this program's if it was before.
        ours = listed_before and (
            before.error is None or (there and before.bytes == size)
        )
        if ours and before.is_finished and there:
            same = source in (None, before.source)
            if same and before.bytes == size:
                videos[task.key] = dataclasses.replace(before, input=task.input)
                known[task.key] = dataclasses.replace(videos[task.key], skipped=True)
                continue
            if not same and not task.overwrite:
                error = (
                    f"{task.input}: has changed since {task.output} was made of it; "
                    "--overwrite makes it again"
                )
                videos[task.key] = before  # as which it stays in the report
                known[task.key] = dataclasses.replace(video, error=error)
                continue
        elif listed_before and there and not (ours or task.overwrite):
            error = (
                f"{task.output}: exists, although {task.input} failed when last tried; "
                "--overwrite replaces it"
            )
            videos[task.key] = before
            known[task.key] = dataclasses.replace(video, error=error)
            continue
        if not (task.overwrite or ours):
            taken += [task.output] * there
            left += [task.output] * (has_job(task.output) and not task.resume)
        videos[task.key] = video
        todo.append(dataclasses.replace(task, overwrite=task.overwrite or ours))
    _refuse(taken, left, resume=any(task.resume for task in tasks))
    return videos, known, todo


def _refuse(taken, left, *, resume):
    """Refuses existing and unfinished outputs that no option releases."""
    if taken and resume:
        raise UserError(
            f"{listed(taken, 3)}: exists already, and no report of this folder lists "
            "it; --overwrite replaces such outputs"
        )
    if taken or left:
        what = "exists already" if taken else "is unfinished work of an earlier run"
        raise UserError(
            f"{listed(taken or left, 3)}: {what}; --resume continues, and skips what "
            "is finished; --overwrite starts over"
        )


def _check_batch(batch, runtime):
    if batch == "auto":
        return
    if not isinstance(batch, int):
        raise UsageError(f"batch {batch!r}: give a whole number, or auto")
    check_least(1, batch=batch)
    if batch > 1 and runtime != "jax":
        raise UsageError(
            f"batch {batch}: OpenVINO restores one video at a time; leave one of the "
            "two out"
        )


def _at_once(batch, runtime, accelerated):
    """How many videos one device has at a time."""
    if batch == "auto":
        return _ON_ACCELERATORS if accelerated and runtime == "jax" else 1
    return batch


def _results(ray, batch, tasks, *how):
    """A block in which the results of tasks are made, in any order."""
    at_once = functools.partial(_at_once, batch, tasks[0].options.runtime)
    if ray is not None:
        return contextlib.closing(_spread(ray, at_once, tasks, *how))
    return _made(at_once(jax.default_backend() != "cpu"), tasks, *how)


def _made(most, tasks, *how):
    """As `_results`, in this process, so many at a time."""
    lanes = min(most, len(tasks))
    if lanes == 1:
        return contextlib.closing(_restored(tasks, *how))
    return _together(lanes, tasks, *how)


def _restored(tasks, weights, progress, on_note):
    """Yields the result of each task."""
    network, count = _loaded(weights), _counter(progress)
    for task in tasks:
        interrupts.check()
        yield restore(task, network, count, on_note)


@contextlib.contextmanager
def _together(lanes, tasks, weights, progress, on_note):
    """As `_restored`, several at a time and in any order."""
    network, count = _loaded(weights), _counter(progress)
    batcher = Batcher(lanes)

    def work(task, post):
        def say(note):
            post(functools.partial(on_note, note))

        with batcher.lane() as lane:
            noted = on_note and say
            return restore(task, network, lambda *_: post(count), noted, lane)

    with side_by_side(work, tasks, lanes) as results:
        yield results


def _loaded(weights):
    return weights if isinstance(weights, tuple) else load(weights)


def _counter(progress):
    """Counts the frames of all videos."""
    frames = itertools.count(1)

    def count(*_):
        if progress:
            progress(next(frames), None)

    return count


def _spread(address, at_once, tasks, weights, progress, on_note):
    """As `_restored`, on a cluster and in any order."""
    given = {task.key: task for task in tasks}
    weights = weights if isinstance(weights, tuple) else locate(weights)
    results = spread(
        address,
        {name: _anywhere(task) for name, task in given.items()},
        _restored_there,
        weights,
        progress,
        again=again,
        at_once=at_once,
    )
    with contextlib.closing(results):
        for name, video, error in results:
            task = given[name]
            if video is None:
                video = VideoResult(task.input, task.key, error=error)
            for note in video.notes if on_note else ():
                on_note(f"{task.input}: {note}")
            yield dataclasses.replace(video, input=task.input)


def _restored_there(tasks, network, progress):
    """In a process of a cluster: yields the name and the result of each task."""
    with _made(len(tasks), [*tasks.values()], network, progress, None) as results:
        for video in results:
            yield video.output, video


def _anywhere(task):
    """A task whose paths mean the same in any folder."""
    output = _absolute(task.output).rstrip("/") + "/" * task.output.endswith("/")
    return dataclasses.replace(task, input=_absolute(task.input), output=output)


def _absolute(name):
    return name if remote.is_url(name) else os.path.abspath(name)


@contextlib.contextmanager
def _saying(done, count):
    """Adds to what ends the work how many videos are finished."""

    def note():
        finished = sum(video.error is None for video in done.values())
        return f"{finished} of {count} videos are finished; --resume continues"

    try:
        with interrupts.tidied(note):  # a cluster may take too long to end
            yield
    except (OSError, KeyboardInterrupt, interrupts.Interrupted) as error:
        error.add_note(note())
        raise
