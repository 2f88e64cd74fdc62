"""Where restored frames go: a video in parts, a folder of images, or a pipe.

A sink is written frame by frame and ends a segment now and then; what segments it has
finished survive an interruption. Letters: H W pixels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mtujax.errors import UserError
from mtujax.frames import FolderWriter, ImageKind
from mtujax.outputs import publish, whole_output
from mtujax.video.codecs import Encoding
from mtujax.video.extras import Extras
from mtujax.video.info import VideoInfo
from mtujax.video.joining import Part, join
from mtujax.video.raw import RawWriter
from mtujax.video.writer import VideoWriter


class VideoSink:
    """A video file, encoded in parts and joined in the end."""

    def __init__(self, folder: Path, name: str, info: VideoInfo, encoding: Encoding):
        """Writes nothing yet.

        Args:
            folder: where the parts wait.
            name: of the parts, told apart by numbers.
            info: size, rate, time base, colours and orientation.
            encoding: codec and settings.
        """
        self._folder, self._name = folder, name
        self._info, self._encoding = info, encoding
        self._parts, self._writer = [], None

    def resume(self, segments: list[dict]) -> None:
        """Takes over the parts of finished segments.

        Args:
            segments: what `end_segment` returned for each.
        """
        for segment in segments:
            name = segment["path"]
            self._parts.append(Part(**(segment | {"path": self._folder / name})))

    def write(self, frame: np.ndarray, pts: int) -> None:
        """Encodes the next frame.

        Args:
            frame: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1].
            pts: its timestamp.
        """
        if self._writer is None:
            self._path = self._folder / f"{self._name}-{len(self._parts):05d}.nut"
            self._writer = VideoWriter(
                self._path, self._info, self._encoding, part=True
            )
            self._first = pts
        self._writer.write(frame, pts)
        self._last = pts

    def end_segment(self) -> dict:
        """Closes the part.

        Returns:
            What `resume` needs, as JSON values.
        """
        self._writer.close()
        reorder, self._writer = self._writer.reorder, None
        part = Part(self._path, self._first, self._last, reorder)
        self._parts.append(part)
        return {
            "path": part.path.name,
            "first": part.first,
            "last": part.last,
            "reorder": reorder,
        }

    def publish(
        self,
        output: Path,
        *,
        overwrite: bool,
        extras: Extras | None = None,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> None:
        """Ends the last part and joins all under the final name.

        Args:
            output: the file.
            overwrite: replace an existing one.
            extras: what is copied beside the pictures.
            on_note: told what could not be kept.
        """
        if self._writer is not None:
            self.end_segment()
        with whole_output(output, folder=False, overwrite=overwrite) as temporary:
            join(temporary, self._info, self._encoding, self._parts, extras, on_note)

    def close(self) -> None:
        """Gives up an unfinished part, if there is one."""
        if self._writer is not None:
            self._writer.abandon()


class FolderSink:
    """A folder of images."""

    def __init__(self, folder: Path):
        """Makes the folder that will become the output.

        Args:
            folder: where unfinished work waits.
        """
        self._path = folder / "frames"
        self._path.mkdir(exist_ok=True)
        self._writer = FolderWriter(self._path)

    def resume(self, segments: list[dict]) -> None:
        """Does nothing: finished frames are there, others are written again.

        Args:
            segments: what `end_segment` returned for each.
        """

    def write(self, frame: np.ndarray, kind: ImageKind) -> None:
        """Writes the next frame.

        Args:
            frame: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1].
            kind: its name and format.
        """
        self._writer.write(frame, kind)

    def end_segment(self) -> dict:
        """Returns nothing to be noted."""
        return {}

    def publish(self, output: Path, *, overwrite: bool, **_) -> None:
        """Gives the folder its final name.

        Args:
            output: the folder.
            overwrite: replace an existing one.
        """
        publish(self._path, output, folder=True, overwrite=overwrite)

    def close(self) -> None:
        """Does nothing: no file stays open."""


class PipeSink:
    """Raw frames into a pipe, which nothing can take back."""

    def __init__(self, file: BinaryIO):
        """Takes the pipe.

        Args:
            file: where to write.
        """
        self._writer = RawWriter(file)

    def write(self, frame: np.ndarray, pts: int) -> None:
        """Writes the next frame.

        Args:
            frame: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1].
            pts: its timestamp, which a pipe cannot say.

        Raises:
            UserError: if nobody reads any more.
        """
        try:
            self._writer.write(frame, pts)
        except BrokenPipeError:
            # As it is, the command line's parser would end without a word.
            raise UserError("-: whoever read the frames has gone") from None

    def publish(self, *_, **__) -> None:
        """Hands the last bytes over."""
        self._writer.close()

    def close(self) -> None:
        """Does nothing: the pipe is not ours."""
