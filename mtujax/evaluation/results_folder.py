"""The folder of an evaluation: finished videos one by one, then tables and totals.

settings.json   what is evaluated; another evaluation is refused
videos/         a file for each finished video, from which a later start resumes
frames/         restored frames, if they are kept: VIDEO/FRAME.png
results.json    everything, see `results`
frames.csv      a row for each frame; blank where a protocol does not count it
videos.csv      a row for each video, and the total
table.md        the table of videos, for readers
"""

import contextlib
import csv
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mtujax.common.dataclass_json import read_json, write_json
from mtujax.common.files import one_at_a_time, publish, staged, whole_output
from mtujax.errors import UserError
from mtujax.evaluation.results import Evaluation, read_results
from mtujax.evaluation.scores import VideoRecord
from mtujax.video.image_folder import FolderWriter, ImageKind

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

    @contextlib.contextmanager
    def locked(self, *, first: bool = True) -> Iterator[None]:
        """Keeps other evaluations out; the first process locks for all."""
        if not first:
            yield
            return
        busy = "another evaluation is writing here; stop that, or name another folder"
        with one_at_a_time(self.path / ".lock", self.path, busy=busy):
            yield

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

    def write_settings(self, settings: dict) -> None:
        """Writes the settings, JSON values."""
        write_json(self.path / SETTINGS, settings)

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

    def frames_of(self, video: str) -> "SavedFrames":
        """Opens a writer of a video's restored frames."""
        return SavedFrames(self.path / "frames", video)

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

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file."""
        with whole_output(self.path / name, folder=False) as part:
            part.write_text(text, "utf-8")

    def _record(self, video):
        return self.path / "videos" / f"{video}.json"


class SavedFrames:
    """Restored frames of a video as PNG files, under their final name once whole."""

    def __init__(self, folder: Path, video: str):
        """Creates a folder to write to; leftovers of an earlier start are deleted."""
        folder.mkdir(exist_ok=True)
        self._stack = contextlib.ExitStack()
        staging = staged(folder / video, folder=True)
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
