"""The output stage: rotates frames, builds comparisons, colours the motion, writes.

A sink (a video in parts, a folder of images, a pipe) is written frame by frame and
ends a segment from time to time; finished segments survive an interruption. Letters: H
W pixels, h w motion grid.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mtujax.common.files import publish, whole_output
from mtujax.deblur.comparison import compare, motion_picture, view_size
from mtujax.deblur.options import Options
from mtujax.errors import UserError
from mtujax.video.codecs import Encoding, choose
from mtujax.video.image_folder import FolderReader, FolderWriter, ImageKind
from mtujax.video.info import Colour, Orientation, VideoInfo
from mtujax.video.inputs import FOLDER_RATE, is_folder, is_pipe, parse_rate
from mtujax.video.joining import Part, join
from mtujax.video.pipe import RawWriter
from mtujax.video.reader import VideoReader
from mtujax.video.side_streams import Extras
from mtujax.video.writer import VideoWriter


class VideoSink:
    """A video file, encoded in parts that are joined at the end."""

    def __init__(self, folder: Path, name: str, info: VideoInfo, encoding: Encoding):
        """Sets the folder and the common name of the parts; writes nothing yet."""
        self._folder, self._name = folder, name
        self._info, self._encoding = info, encoding
        self._parts, self._writer = [], None

    def resume(self, segments: list[dict]) -> None:
        """Takes over the parts of finished segments, from `end_segment`."""
        for segment in segments:
            name = segment["path"]
            self._parts.append(Part(**(segment | {"path": self._folder / name})))

    def write(self, frame: np.ndarray, pts: int) -> None:
        """Encodes [H, W, 3] RGB, uint8 or float in [0, 1], with its timestamp."""
        if self._writer is None:
            self._path = self._folder / f"{self._name}-{len(self._parts):05d}.nut"
            self._writer = VideoWriter(
                self._path, self._info, self._encoding, part=True
            )
            self._first = pts
        self._writer.write(frame, pts)
        self._last = pts

    def end_segment(self) -> dict:
        """Closes the part and returns what `resume` needs, as JSON values."""
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
        """Ends the last part and joins all parts under the final name."""
        if self._writer is not None:
            self.end_segment()
        with whole_output(output, folder=False, overwrite=overwrite) as temporary:
            join(temporary, self._info, self._encoding, self._parts, extras, on_note)

    def close(self) -> None:
        """Abandons an unfinished part, if there is one."""
        if self._writer is not None:
            self._writer.abandon()


class FolderSink:
    """A folder of images."""

    def __init__(self, folder: Path):
        """Makes a folder for the frames next to other unfinished work."""
        self._path = folder / "frames"
        self._path.mkdir(exist_ok=True)
        self._writer = FolderWriter(self._path)

    def resume(self, segments: list[dict]) -> None:
        """Does nothing: finished frames are there, others are written again."""

    def write(self, frame: np.ndarray, kind: ImageKind) -> None:
        """Writes [H, W, 3] RGB, uint8 or float in [0, 1], in the format of `kind`."""
        self._writer.write(frame, kind)

    def end_segment(self) -> dict:
        """Returns an empty dict, as there is nothing to be noted."""
        return {}

    def publish(self, output: Path, *, overwrite: bool, **_) -> None:
        """Gives the folder its final name."""
        publish(self._path, output, folder=True, overwrite=overwrite)

    def close(self) -> None:
        """Does nothing: no file stays open."""


class PipeSink:
    """Raw frames into a pipe, from which nothing can be taken back."""

    def __init__(self, file: BinaryIO):
        """Takes the pipe to write to."""
        self._writer = RawWriter(file)

    def write(self, frame: np.ndarray, pts: int) -> None:
        """Writes [H, W, 3] RGB, uint8 or float in [0, 1]; ignores its timestamp."""
        try:
            self._writer.write(frame, pts)
        except BrokenPipeError:
            # The command line's parser would end silently on a broken pipe.
            raise UserError("-: whoever read the frames has gone") from None

    def publish(self, *_, **__) -> None:
        """Closes the writer; every frame is in the pipe already."""
        self._writer.close()

    def close(self) -> None:
        """Does nothing: the pipe is not ours."""


_FULL_COLOUR = 16  # pixels of motion: hand-held motion is mostly shorter
_TURNED = ("mpeg",)  # containers that cannot store an orientation


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame to be written.

    Attributes:
        number: counted from 0 over the whole run.
        blurry: [H, W, 3] as it was read.
        restored: [H, W, 3] of the same dtype.
        displacement: [h, w, 2] (dx, dy) in grid cells, or None.
        tag: timestamp, or the kind of its image file.
    """

    number: int
    blurry: np.ndarray
    restored: np.ndarray
    displacement: np.ndarray | None
    tag: int | ImageKind


class Target:
    """Turns each frame into what the user asked for and writes it.

    Attributes:
        size: (width, height) of what is written, in pixels.
        notes: what will not be as in the input, one sentence each.
    """

    def __init__(
        self,
        reader,
        output: Path,
        options: Options,
        folder: Path | None,
        cell: int,
    ):
        """Chooses how to write; UserError if the output cannot hold this video."""
        # `folder` keeps unfinished work, None only for a pipe; `cell` is the side of a
        # cell of the motion grid in pixels.
        self._reader, self._output, self._options = reader, output, options
        self._extras = self._motion = None
        self._cell = cell
        self.notes = []
        info = _video_info(reader, options)
        self._rate, self._turn = float(info.rate), Orientation()
        if is_pipe(output) or is_folder(output) or options.compare:
            info = self._upright(info)
        plain = (info.width, info.height)
        if options.compare:
            width, height = view_size(options.compare, *plain)
            info = dataclasses.replace(info, width=width, height=height)
        self._picture = self._sink(info, folder)
        if options.save_motion is not None:
            self._motion = self._motion_sink(_video_info(reader, options), folder)
        self.size = info.width, info.height

    def write(self, frame: Frame) -> None:
        """Writes the next frame."""
        picture = self._turn.upright(frame.restored)
        if self._options.compare:
            picture = compare(
                self._turn.upright(frame.blurry),
                picture,
                self._options.compare,
                number=frame.number,
                rate=self._rate,
            )
        self._picture.write(picture, frame.tag)
        if self._motion:
            self._motion.write(self._coloured(frame), frame.tag)

    def end_segment(self) -> dict:
        """Closes what can be closed and returns what `resume` needs, as JSON."""
        segment = {"picture": self._picture.end_segment()}
        if self._motion:
            segment["motion"] = self._motion.end_segment()
        return segment

    def resume(self, segments: list[dict]) -> None:
        """Resumes after finished segments, as `end_segment` returned them."""
        self._picture.resume([s["picture"] for s in segments])
        if self._motion:
            self._motion.resume([s["motion"] for s in segments])

    def publish(self, *, overwrite: bool, on_note: Callable[[str], None]) -> None:
        """Puts what is complete under its final name, and notes what was lost."""
        extras = self._extras
        if extras is not None:
            shift, start, end = self._reader.span
            extras = dataclasses.replace(extras, shift=shift, start=start, end=end)
        self._picture.publish(
            self._output, overwrite=overwrite, extras=extras, on_note=on_note
        )
        if self._motion:
            self._motion.publish(Path(self._options.save_motion), overwrite=overwrite)

    def close(self) -> None:
        """Abandons what is unfinished."""
        self._picture.close()
        if self._motion:
            self._motion.close()

    def _upright(self, info):
        """Sets frames to be turned before they are written."""
        if not info.orientation.is_identity and self._turn.is_identity:
            self._turn = info.orientation
            self.notes.append("frames are turned upright")
        return info.upright

    def _sink(self, info, folder):
        if is_pipe(self._output):
            self.notes.append(
                f"writes raw rgb24 frames of {info.width}x{info.height}, "
                f"{float(info.rate):.5g} per second"
            )
            return PipeSink(sys.stdout.buffer)
        if is_folder(self._output):
            if info.aspect != 1:
                aspect = f"frames keep pixels of aspect {info.aspect}, unsaid in PNG"
                self.notes.append(aspect)
            return FolderSink(folder)
        return self._video_sink(info, folder)

    def _video_sink(self, info, folder):
        options, suffix = self._options, self._output.suffix.lower()
        chosen = {"codec": options.codec, "crf": options.crf, "preset": options.preset}
        if choose(suffix, info, **chosen).container.format in _TURNED:
            info = self._upright(info)
        encoding = choose(suffix, info, **chosen)
        self.notes += encoding.notes
        if isinstance(self._reader, FolderReader):
            self.notes += _lost_of_folder(self._reader.info, options)
        if isinstance(self._reader, VideoReader):
            if encoding.codec.name == "mpeg2":
                self._reader.check_constant_rate(encoding.codec.title)
            self._extras = self._reader.extras(suffix, encoding.container.format)
            self.notes += self._extras.notes
        return VideoSink(folder, "picture", info, encoding)

    def _motion_sink(self, info, folder):
        suffix = Path(self._options.save_motion).suffix
        info = dataclasses.replace(info.upright, colour=Colour(), full_range=False)
        return VideoSink(folder, "motion", info, choose(suffix, info))

    def _coloured(self, frame):
        info = self._reader.info
        orientation = getattr(info, "orientation", Orientation())
        picture = motion_picture(
            orientation.turn_vectors(frame.displacement),
            (info.width, info.height),
            radius=_FULL_COLOUR / self._cell,
            cell=self._cell,
        )
        return orientation.upright(picture)


def _video_info(reader, options):
    """Describes the input as a video; a folder has no rate of its own."""
    info = reader.info
    if not isinstance(reader, FolderReader):
        return info
    rate = FOLDER_RATE if options.rate is None else parse_rate(str(options.rate))
    return VideoInfo(info.width, info.height, None, rate, 1 / rate)


def _lost_of_folder(info, options):
    if options.rate is None:
        yield f"a folder has no rate: written at {FOLDER_RATE} frames/s; --rate sets it"
    if info.deep:
        yield "16-bit frames are written with 8 bits"
    if info.alpha:
        yield "the alpha channel is dropped: a video has none"
