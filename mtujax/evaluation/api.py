"""Evaluation: a dataset's videos restored, or results read, and scored by protocols.

Several videos of different lengths advance together, on all local devices; processes
share the videos out. No more than a few frames of each are in memory. Finished videos
are kept one by one (`evaluation.results`), so that a later start resumes; a
folder that holds another evaluation is refused.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from mtujax import parallel
from mtujax.common.dataclass_json import check_same, write_json
from mtujax.common.files import whole_output
from mtujax.common.hardware import machine
from mtujax.config import MOTION_STRIDE, ModelConfig
from mtujax.errors import UsageError, UserError, check_least
from mtujax.evaluation.dataset import ResultFrames, Videos
from mtujax.evaluation.lanes import Setup, share_out
from mtujax.evaluation.results import (
    FRAMES,
    RESULTS,
    SETTINGS,
    TABLE,
    VIDEOS,
    Evaluation,
    EvaluationFolder,
    Method,
    Scored,
    to_json,
    write_results,
)
from mtujax.evaluation.runner import Clocks, Work, evaluate_share
from mtujax.evaluation.scores import ProtocolScores
from mtujax.evaluation.subject import open_subject
from mtujax.evaluation.tables import as_text, video_rows
from mtujax.metrics.image import GAUSSIAN_SIDE
from mtujax.metrics.protocols import DEFAULT, find_protocol

SETTINGS_KIND, SETTINGS_VERSION = "mtujax evaluation settings", 2
"""Kind and version of `settings.json`; version 1 had the kind of results."""


_REMEDY = "name another folder with --out, or delete this one"


def check_settings(work: Work, method: Method, about: Scored, *, first: bool) -> None:
    """Writes the settings to the folder; refuses one that holds another evaluation."""
    settings, old = _settings(work, method, about), work.folder.settings()
    if old is None:
        if first:
            write_json(work.folder.path / SETTINGS, settings)
        return
    place = work.folder.path
    kind = (SETTINGS_KIND, SETTINGS_VERSION)
    if not isinstance(old, dict) or (old.get("kind"), old.get("version")) != kind:
        raise UserError(
            f"{place}: holds an evaluation of another version of mtujax, which this "
            f"one cannot continue; {_REMEDY}"
        )
    theirs = {name: old.pop(name, None) for name in ("frames", "results")}
    ours = {name: settings.pop(name) for name in theirs}
    check_same(old, settings, f"{place}: holds another evaluation", _REMEDY)
    places = {"frames": work.videos.path}
    if work.results is not None:
        places["results"] = work.results.folder
    for name, where in places.items():
        if theirs[name] != ours[name]:
            raise UserError(
                f"{place}: holds an evaluation of other {name}: those in {where} are "
                f"not the same, or have changed since; {_REMEDY}"
            )


def _settings(work, method, about):
    described = to_json(Evaluation(method, about, {}))
    return {
        "kind": SETTINGS_KIND,
        "version": SETTINGS_VERSION,
        "method": described["method"],
        "dataset": described["dataset"],
        "protocols": sorted(p.name for p in work.setup.protocols),
        "motion": work.setup.motion,
        "consistency": work.setup.consistency,
        "frames": work.videos.fingerprint(motion=work.setup.motion),
        "results": work.results and work.results.fingerprint,
    }


_MOTION_SIDE = GAUSSIAN_SIDE * MOTION_STRIDE  # least pixels for motion accuracy
_OTHERS = "name others with --protocol=NAME,..."


def evaluate(
    weights=None,
    *,
    dataset: str,
    path: str | os.PathLike,
    out: str | os.PathLike,
    split: str = "test",
    variant: str | None = None,
    results: str | os.PathLike | None = None,
    name: str | None = None,
    model: ModelConfig | None = None,
    dtype: str | None = None,
    protocols: Sequence[str] = DEFAULT,
    motion: bool = False,
    consistency: bool = False,
    save_frames: bool = False,
    batch: int | None = None,
    devices: int | None = None,
    on_frames: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Evaluation:
    """Restores a dataset's videos and scores them, or scores results made elsewhere.

    Videos that an earlier call with the same settings finished in `out` are not
    evaluated again.

    Examples:
        >>> found = evaluate("mine.safetensors", dataset="pairs", path="set", out="new")
        >>> psnr, ssim = found.protocols["rt-paper"].means
        >>> 10 < psnr < 50
        True

    Args:
        weights: a bundled name, a `.safetensors` file, a run directory, or
            (model, params); None with `results`.
        dataset: name, as `gopro`.
        path: folder of the dataset, unpacked or prepared.
        out: output folder; created.
        split: part of the dataset.
        variant: its kind of blur; None takes the default.
        results: folder of restored frames, VIDEO/FRAME.png (see `ResultFrames`).
        name: of the method; None takes that of the weights or of `results`.
        model: the network that the weights must be of, and its precision; None takes
            any.
        dtype: compute precision; None takes that of `model`, or the network's own.
        protocols: names, see `mtujax.metrics.protocols`.
        motion: also score the network's motion between sharp frames, and its end-point
            error where exact optical flow is stored next to the frames.
        consistency: also compare neighbouring frames along their motion, estimated by
            OpenCV, which takes long.
        save_frames: also save restored frames as 8-bit PNG.
        batch: videos that advance together in this process; None takes one per device.
        devices: number of local devices to use; None takes all.
        on_frames: called with the frames done and the frames in all of this process.
        on_note: called with each line worth reporting.

    Returns:
        The results, which are also in `out` as `results.json`.

    Raises:
        UsageError: if weights and results are both given or both missing, or a name is
            unknown.
        UserError: for whatever else a user can mend.
    """
    note = on_note or (lambda line: None)
    subject = open_subject(weights, results, config=model, dtype=dtype, name=name)
    chosen = tuple(find_protocol(one) for one in dict.fromkeys(protocols))
    if not chosen:
        raise UsageError("no protocol is given")
    check_least(1, batch=batch)
    used = _checked_devices(devices)
    videos = Videos(dataset, path, split=split, variant=variant)
    exact = videos.exact_motion() if motion else {}
    setup = Setup(
        subject.model,
        chosen,
        motion=motion,
        exact=bool(exact),
        consistency=consistency,
        keep=save_frames,
    )
    if motion and setup.model is None:
        raise UsageError("motion: frames of another method have none; give weights")
    if motion and not setup.model.config.motion_compensation:
        raise UsageError("motion: this network has no motion compensation")
    _check_sizes(setup, videos)
    work = Work(
        setup=setup,
        params=subject.params,
        videos=videos,
        results=_opened(results, videos, note),
        exact=exact,
        folder=EvaluationFolder(Path(out)),
        batch=batch,
        devices=devices,
        machine=machine() | {"devices": used, "processes": jax.process_count()},
        on_frames=on_frames or (lambda done, total: None),
    )
    return _evaluate(work, subject, note)


def _evaluate(work, subject, note):
    first, clocks, videos = parallel.is_first(), Clocks(), work.videos
    listed = tuple(videos.source.videos)
    about = Scored(videos.dataset, videos.split, videos.variant, listed)
    with contextlib.ExitStack() as stack:
        with parallel.failing_together():
            if first:  # for all processes
                stack.enter_context(work.folder.locked())
            check_settings(work, subject.method, about, first=first)
        with parallel.failing_together():
            lengths = {number: video.frames for number, video in enumerate(listed)}
            share = share_out(lengths, jax.process_count())[jax.process_index()]
            kept = {number for number in share if work.finished(number) is not None}
            if kept:
                note(f"{len(kept)} of {len(share)} videos are finished already")
            evaluate_share(work, share, kept, clocks)
        found, records = _merged(work, Evaluation(subject.method, about, {}))
        found = dataclasses.replace(found, seconds=clocks.seconds)
        if not first:
            return found
        if (old := work.folder.results()) is not None:
            # An earlier start had the same results: its times are those that count.
            if dataclasses.replace(found, seconds=old.seconds) == old:
                return old
        folder, rows = work.folder, (row for record in records for row in record.rows)
        folder.write_rows(FRAMES, rows)
        folder.write_rows(VIDEOS, video_rows(records, found))
        with whole_output(folder.path / TABLE, folder=False) as part:
            part.write_text(as_text(found), "utf-8")
        write_results(folder.path / RESULTS, found)
    return found


def _checked_devices(devices):
    """Returns how many local devices are used."""
    check_least(1, devices=devices)
    local = jax.local_device_count()
    if devices is not None and devices > local:
        raise UserError(
            f"devices {devices}: there are {local} here; leave --devices out to take "
            "all"
        )
    return devices or local


def _check_sizes(setup, videos):
    for video in videos.source.videos:
        for protocol in setup.protocols:
            try:
                protocol.check_size(video.height, video.width)
            except UserError as error:
                raise UserError(f"{video.name}: {error}; {_OTHERS}") from None
        if setup.motion and min(video.height, video.width) < _MOTION_SIDE:
            raise UserError(
                f"{video.name}: frames of {video.width}x{video.height} are too small "
                f"for motion accuracy, which needs {_MOTION_SIDE}x{_MOTION_SIDE}; "
                "leave out --motion"
            )


def _opened(results, videos, note):
    """Opens results made elsewhere; None if there are none."""
    if results is None:
        return None
    made = ResultFrames(Path(results), videos.source.videos, videos.stems)
    if made.renumbered:
        name, *others = made.renumbered
        more = f" and {len(others)} more videos" if others else ""
        note(
            f"{made.folder}: frames of {name}{more} have other numbers than the "
            "dataset's, and are matched in order"
        )
    return made


def _merged(work, found):
    """Returns the evaluation of all videos, and their records, in order."""
    records = []
    for number, video in enumerate(work.videos.source.videos):
        record = work.finished(number)
        if record is None:
            raise UserError(
                f"{work.folder.path}: lacks the scores of {video.name}; processes need "
                "a folder that all of them see"
            )
        records.append(record)
    protocols = {
        protocol.name: ProtocolScores(
            protocol.average,
            {r.video.name: r.protocols[protocol.name] for r in records},
        )
        for protocol in work.setup.protocols
    }
    pairs = {
        kind: {r.video.name: getattr(r, kind) for r in records}
        for kind in ("motion", "consistency")
        if getattr(work.setup, kind)
    }
    about = {"protocols": protocols, "machine": _joined(r.machine for r in records)}
    return dataclasses.replace(found, **about, **pairs), records


def _joined(machines):
    """Merges descriptions of machines; where they differ, as text of all values."""
    values = {}
    for one in machines:
        for name, value in one.items():
            values.setdefault(name, {})[value] = None
    return {
        name: next(iter(given)) if len(given) == 1 else "; ".join(map(str, given))
        for name, given in values.items()
    }
