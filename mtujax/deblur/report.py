"""What became of each of many videos: `report.json` in the folder of their outputs.

Every video is listed before the first is restored, so that whatever has a listed name
later is this program's own work, and what is finished is noted as soon as it is.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from mtujax.common import interrupts
from mtujax.common.dataclass_json import check_same, read_json, write_json
from mtujax.common.files import BUSY, one_at_a_time
from mtujax.common.text import Column, Table, counted, markdown, printable
from mtujax.deblur.resume import has_job
from mtujax.errors import UserError

_NAME = "report"
ANY = f"{_NAME}*.json"
"""Pattern of the names of reports."""


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """What became of one video.

    Examples:
        >>> VideoResult("a.mp4", "sharp/a.mp4", frames=120, seconds=60.0).error is None
        True

    Attributes:
        input: its name, as given.
        output: the file or folder that is made of it; in `report.json` its name there.
        frames: number of frames written; None if it is not finished.
        notes: what is not as in the input, one sentence each.
        error: why it failed, in one line; None if it did not.
        seconds: wall time; None if it is not finished.
        source: bytes and time (ns) of the input that it was made of, and of a folder
            the number of frames (`files.state_of`).
        bytes: of the output, or with an error of what an earlier run left there.
        noted: when that was noted, in seconds since 1970: of entries of one output in
            several reports, the latest counts.
        skipped: whether an earlier run had finished it; not in `report.json`.
    """

    input: str
    output: str
    frames: int | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    seconds: float | None = None
    source: tuple[int, ...] | None = None
    bytes: int | None = None
    noted: float | None = None
    skipped: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether its output was complete at some time."""
        return self.frames is not None and self.error is None


@dataclasses.dataclass(frozen=True)
class _Content:
    """The file."""

    mtujax: str
    weights: dict  # their "name" and "sha256"
    options: dict
    videos: tuple[VideoResult, ...] = ()


def name_of(shard: str | None) -> str:
    """File name of the report of all videos, or of those of a shard, N/M."""
    return f"{_NAME}{'' if shard is None else f'-{shard}'.replace('/', '-of-')}.json"


class Report:
    """The videos of one folder, by the names of their outputs."""

    def __init__(
        self,
        path: Path,
        weights: dict,
        options: dict,
        on_write: Callable[[], None] = lambda: None,
    ):
        """Reads it and others next to it, of shards; `on_write` is called after it."""
        self.path, folder, self._on_write = path, path.parent, on_write
        self.lock = self.path.with_name(f".{self.path.name}.lock")
        self._weights, self._options = weights, options
        others = {folder / name_of(None), *folder.glob(f"{_NAME}-*-of-*.json")}
        paths = [self.path, *sorted(others - {self.path})]
        self._found = {path: found for path in paths if (found := _read(path))}
        self.videos = {}

    def earlier(self) -> dict[str, VideoResult]:
        """Videos that this report and others of the folder list, by name."""
        # Of several entries the latest, of equal ones its own.
        all_of = [v for path in reversed(self._found) for v in self._found[path].videos]
        all_of.sort(key=lambda video: video.noted or 0)
        return {video.output: video for video in all_of}

    def check_settings(self) -> None:
        """Refuses to add to videos that were made with other settings."""
        latest = self.earlier()
        for path, found in self._found.items():
            if not any(
                (v.is_finished or has_job(path.parent / v.output))
                and latest[v.output] is v
                for v in found.videos
            ):
                continue
            check_same(
                _settings(found.weights, found.options),
                _settings(self._weights, self._options),
                f"{path}: its videos were made with other settings",
                "give the same, another folder, or --overwrite to start over",
            )

    @contextlib.contextmanager
    def writing(self, videos: dict[str, VideoResult]) -> Iterator[None]:
        """Lists videos, in a block in which no other process writes this report."""

        def unlock():
            self.lock.unlink(missing_ok=True)

        with one_at_a_time(self.lock, self.path, busy=BUSY):
            try:
                if _read(self.path) != self._found.get(self.path):
                    raise UserError(
                        f"{self.path}: another process has just written it; give the "
                        "same command again"
                    )
                self.videos = self._of_other_inputs() | {
                    name: _noted(video) if video.noted is None else video
                    for name, video in videos.items()
                }
                self._write()
                with interrupts.tidied(unlock):
                    yield
            finally:
                unlock()

    def add(self, video: VideoResult) -> None:
        """Notes what became of a listed video."""
        if video.error is not None:  # what was there is still this program's
            video = dataclasses.replace(video, bytes=self.videos[video.output].bytes)
        self.videos[video.output] = _noted(video)
        self._write()

    def _of_other_inputs(self):
        """Videos that it lists, if their settings are these."""
        found = self._found.get(self.path)
        if found is None or _settings(found.weights, found.options) != _settings(
            self._weights, self._options
        ):
            return {}
        return {video.output: video for video in found.videos}

    def _write(self):
        content = _Content(
            version("mtujax"), self._weights, self._options, tuple(self.videos.values())
        )
        values = dataclasses.asdict(content)
        for video in values["videos"]:
            del video["skipped"]  # of this run alone
        write_json(self.path, values)
        self._on_write()


def _read(path):
    """What a report says; None if there is none."""
    remedy = "move it away to start over"
    return read_json(path, remedy, kind=_Content) if path.exists() else None


def _noted(video):
    return dataclasses.replace(video, noted=round(time.time(), 3))


def _settings(weights, options):
    """What all videos of a report have in common, as JSON gives it back."""
    return json.loads(json.dumps({"weights": weights.get("sha256"), **options}))


def as_table(videos: tuple[VideoResult, ...]) -> str:
    """Formats results as Markdown, a row per video.

    Examples:
        >>> print(as_table((VideoResult("a.mp4", "a.mp4", frames=120, seconds=60.0),)))
        **1 video**
        <BLANKLINE>
        | output | frames | seconds |  |
        | --- | ---: | ---: | --- |
        | a.mp4 | 120 | 60.0 |  |
        <BLANKLINE>

    Args:
        videos: what `deblur_videos` returned.

    Returns:
        A table of frames, seconds and what is to be known of each.
    """
    failed = sum(video.error is not None for video in videos)
    skipped = sum(video.skipped for video in videos)
    caption = ", ".join(
        [counted(len(videos), "video")]
        + [f"{skipped} finished earlier"] * bool(skipped)
        + [f"{failed} failed"] * bool(failed)
    )
    rows = tuple(
        (
            printable(video.output),
            "" if video.frames is None else str(video.frames),
            "" if video.seconds is None else f"{video.seconds:.1f}",
            printable(video.error or "; ".join(video.notes)),
        )
        for video in videos
    )
    columns = (
        Column("output", align="l"),
        Column("frames"),
        Column("seconds"),
        Column("", align="l"),
    )
    return markdown([Table("videos", caption, columns, rows)])
