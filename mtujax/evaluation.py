"""Evaluation: a dataset's videos restored, or results read, and scored by protocols.

Several videos of different lengths advance together, on all local devices; processes
share the videos out. No more than a few frames of each are in memory. What is finished
is kept video by video (`evaluation_folder`), so that a later start goes on.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from mtujax.config import MOTION_STRIDE, ModelConfig
from mtujax.errors import UsageError, UserError
from mtujax.evaluation_data import ResultFrames, Videos
from mtujax.evaluation_folder import RESULTS, TABLE, EvaluationFolder, video_rows
from mtujax.evaluation_run import Clocks, Work, work_off
from mtujax.evaluation_text import as_text
from mtujax.lane_steps import Setup
from mtujax.lanes import share_out
from mtujax.machine import machine
from mtujax.metrics import GAUSSIAN_SIDE
from mtujax.protocols import DEFAULT, find_protocol
from mtujax.results import Evaluation, Method, Scored, Video, to_json, write_results
from mtujax.subjects import open_subject
from mtujax.video_sums import ProtocolScores

_MOTION_SIDE = GAUSSIAN_SIDE * MOTION_STRIDE  # pixels that motion accuracy needs


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

    What an earlier call with the same settings has finished in `out` is not done again.

    Args:
        weights: a bundled name, a `.safetensors` file, the folder of a training run, or
            (model, params); None with `results`.
        dataset: name, as `gopro`.
        path: its folder, unpacked or prepared.
        out: folder of what is found; created.
        split: part of the dataset.
        variant: its kind of blur; None takes the default.
        results: folder with restored frames, VIDEO/FRAME.png (see `ResultFrames`).
        name: of the method; None takes that of the weights or of `results`.
        model: what network the weights must be of, and its precision; None takes any.
        dtype: compute precision; None leaves that of `model`, or the network's own.
        protocols: names, see `mtujax.protocols`.
        motion: also score the network's motion between sharp frames.
        consistency: also compare neighbouring frames along their motion, estimated by
            OpenCV, which takes long.
        save_frames: also keep restored frames as 8-bit PNG.
        batch: videos that advance together in this process; None takes one per device.
        devices: local devices that are used; None takes all.
        on_frames: called with frames done and frames in all of this process.
        on_note: told what is worth a line.

    Returns:
        What was found; it is in `out` as `results.json`, too.

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
    if batch is not None and batch < 1:
        raise UsageError(f"batch {batch}: must be 1 or more")
    setup = Setup(subject.model, chosen, motion, consistency, save_frames)
    _check_setup(setup)
    videos = Videos(dataset, path, split=split, variant=variant)
    _check_sizes(setup, videos)
    made = None if results is None else ResultFrames(Path(results), videos)
    work = Work(
        setup=setup,
        params=subject.params,
        videos=videos,
        results=made,
        folder=EvaluationFolder(Path(out)),
        batch=batch,
        devices=devices,
        on_frames=on_frames or (lambda done, total: None),
    )
    return _evaluate(work, subject, note)


def _evaluate(work, subject, note):
    from mtujax import parallel  # needs optax

    about = _about(work.videos)
    clocks = Clocks()
    with work.folder.taken(first=parallel.is_first()):
        _agree(work, subject.method, about)
        _restore_share(work, clocks, note)
        found = Evaluation(
            method=subject.method,
            dataset=about,
            protocols={},
            machine=_machine(work),
            seconds=clocks.seconds,
        )
        found, records = _merged(work, found)
        if parallel.is_first():
            _write_tables(work.folder, found, records)
    return found


def _machine(work):
    used = work.devices or jax.local_device_count()
    return machine() | {"devices": used, "processes": jax.process_count()}


def _check_setup(setup):
    if not setup.motion:
        return
    if setup.model is None:
        raise UsageError("motion: results have none; it takes a network")
    if not setup.model.config.motion_compensation:
        raise UsageError("motion: this network has no motion compensation")


def _check_sizes(setup, videos):
    for video in videos.source.videos:
        for protocol in setup.protocols:
            try:
                protocol.check_size(video.height, video.width)
            except UserError as error:
                raise UserError(f"{video.name}: {error}") from None
        if setup.motion and min(video.height, video.width) < _MOTION_SIDE:
            raise UserError(
                f"{video.name}: frames of {video.width}x{video.height} are too small "
                f"for motion accuracy, which needs {_MOTION_SIDE}x{_MOTION_SIDE}"
            )


def _about(videos) -> Scored:
    listed = tuple(Video(**dataclasses.asdict(v)) for v in videos.source.videos)
    return Scored(videos.dataset, videos.split, videos.variant, listed)


def _agree(work, method: Method, about: Scored):
    """Notes what is evaluated in the folder; refuses to mix it with something else."""
    from mtujax import parallel
    from mtujax.mappings import differing_fields

    settings = {
        **{k: v for k, v in to_json(Evaluation(method, about, {})).items() if v},
        "protocols": sorted(p.name for p in work.setup.protocols),
        "motion": work.setup.motion,
        "consistency": work.setup.consistency,
        "results": work.results and work.results.fingerprint,
    }
    old = work.folder.settings()
    if old is not None and (differing := differing_fields(old, settings)):
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"{work.folder.path}: holds another evaluation: "
            f"{'; '.join(differing[:3])}{more}; name another folder, or delete it"
        )
    if old is None and parallel.is_first():
        work.folder.write_settings(settings)


def _restore_share(work, clocks, note):
    """Does what this process has to do; all processes end this together."""
    from mtujax import parallel

    infos = work.videos.source.videos
    lengths = {number: video.frames for number, video in enumerate(infos)}
    share = share_out(lengths, jax.process_count())[jax.process_index()]
    kept = {number for number in share if work.finished(number) is not None}
    if kept:
        note(f"{len(kept)} of {len(share)} videos are finished already")
    try:
        work_off(work, share, kept, clocks)
    except Exception:
        parallel.any_process(True)  # or the others would wait for ever
        raise
    if parallel.any_process(False):
        raise UserError("another process has failed; see what it says")


def _merged(work, found):
    """The evaluation with all videos' scores, and their records, in order."""
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
    return dataclasses.replace(found, protocols=protocols, **pairs), records


def _write_tables(folder, found: Evaluation, records):
    folder.write_rows("frames.csv", (row for record in records for row in record.rows))
    folder.write_rows("videos.csv", video_rows(records, found.protocols))
    folder.write_text(TABLE, as_text(found))
    write_results(folder.path / RESULTS, found)
