"""What is written, as chosen: turned frames, comparisons, colours of the motion.

A sink (a video in parts, a folder of images, a pipe) is written frame by frame and
ends a segment from time to time; finished segments survive an interruption. Letters: H
W pixels, h w motion grid.
"""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtujax.common.files import (
    Made,
    digest,
    file_digest,
    natural_key,
    publish,
    staged,
)
from mtujax.common.text import nearest
from mtujax.config import DTYPES, MOTION_STRIDE, SCENE_THRESHOLD
from mtujax.errors import UsageError, UserError
from mtujax.video.codecs import CONTAINERS, Encoding, check_settings, choose
from mtujax.video.comparison import VIEWS, compare, motion_picture, view_size
from mtujax.video.image_folder import FolderWriter, ImageKind
from mtujax.video.info import Colour, Orientation, VideoInfo
from mtujax.video.inputs import Kind, RawWriter, standard_stream
from mtujax.video.side_streams import Extras
from mtujax.video.writer import Part, VideoWriter, join

if TYPE_CHECKING:
    from mtujax.deblur.restorer import Restored

_AGAIN = "--overwrite starts over"
RUNTIMES = "jax", "openvino"
ENCODING = "codec", "crf", "preset", "pix_fmt"
"""Options of video files alone."""

_LEAST_TILE = 16  # cells; smaller tiles would be nothing but overlap


@dataclasses.dataclass(frozen=True)
class Options:
    """The choices that decide what is written, as `deblur_video` takes them."""

    dtype: str | None = None
    runtime: str = "jax"
    start: float | None = None
    end: float | None = None
    scene_threshold: float = SCENE_THRESHOLD
    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    compare: str | None = None
    save_motion: str | os.PathLike | None = None
    tile: str | tuple[int, int] | None = "auto"
    size: str | None = None
    rate: str | float | Fraction | None = None

    def check(
        self, input: str | os.PathLike, output: str | os.PathLike, kind: Kind
    ) -> None:
        """Refuses choices that make no sense, before any work (UsageError)."""
        self._check_numbers()
        check_settings(self.codec, self.crf, self.preset, self.pix_fmt)
        if self.compare is not None and self.compare not in VIEWS:
            raise UsageError(f"compare {self.compare!r}: one of {', '.join(VIEWS)}")
        for name in ENCODING if kind != "file" else ():
            if (value := getattr(self, name)) is not None:
                raise UsageError(
                    f"{name} {value}: {output} is no video file, and not encoded"
                )
        if self.save_motion is not None:
            self._check_motion(input, output)

    def check_tile(self, cell: int) -> None:
        """Refuses tiles that do not fit cells of `cell`x`cell` pixels (UsageError)."""
        if not isinstance(self.tile, tuple):
            return
        least, size = _LEAST_TILE * cell, f"{self.tile[1]}x{self.tile[0]}"
        if min(self.tile) < least:
            raise UsageError(f"tile {size}: at least {least}x{least} pixels")
        if any(side % cell for side in self.tile):
            raise UsageError(f"tile {size}: sides must be multiples of {cell}")

    def _check_numbers(self):
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UsageError(f"dtype {self.dtype!r}: {nearest(self.dtype, DTYPES)}")
        if self.runtime not in RUNTIMES:
            raise UsageError(
                f"runtime {self.runtime!r}: {nearest(self.runtime, RUNTIMES)}"
            )
        if not 0 <= self.scene_threshold <= 1:
            raise UsageError(
                f"scene threshold {self.scene_threshold}: must be in [0, 1]; 0 finds "
                "no cuts"
            )
        start, end = self.start, self.end
        for name, value in (("start", start), ("end", end)):
            if isinstance(value, str):
                raise UsageError(f"{name} {value!r}: give a number")
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"{name} {value}: must be 0 or more")
        if end is not None and end <= (start or 0):
            raise UsageError(f"end {end:g}: must be after the start, {start or 0:g}")
        self._check_runtime()
        self.check_tile(MOTION_STRIDE)

    def _check_runtime(self):
        """Refuses what another runtime than JAX does not do."""
        if self.runtime == "jax":
            return
        from mtujax.deblur.restorer import stream_class  # loads JAX

        stream_class(self.runtime)
        others = {"dtype": ("float32", None), "tile": ("auto", None)}
        for name, known in (others | {"save_motion": (None,)}).items():
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name}: needs the runtime jax, not {self.runtime}; leave one out"
                )

    def _check_motion(self, input, output):
        suffix = os.path.splitext(str(self.save_motion))[1].lower()
        if suffix not in CONTAINERS:
            raise UsageError(
                f"save_motion {self.save_motion}: a video file, one of "
                f"{', '.join(CONTAINERS)}"
            )
        for other in (input, output):
            if os.path.realpath(other) == os.path.realpath(self.save_motion):
                raise UsageError(
                    f"save_motion {self.save_motion}: is the input or output itself"
                )


class VideoSink:
    """A video file, encoded in parts that are joined at the end."""

    def __init__(self, folder: Path, name: str, info: VideoInfo, encoding: Encoding):
        """Sets the folder and the common name of the parts; writes nothing yet."""
        self._folder, self._name = folder, name
        self._info, self._encoding = info, encoding
        self._parts, self._writer = [], None

    def resume(self, segments: list[dict]) -> None:
        """Takes over the parts of finished segments; UserError if one is damaged."""
        for segment in segments:
            path = self._folder / segment["path"]
            if not path.is_file() or file_digest(path) != segment["sha256"]:
                raise UserError(f"{path}: damaged or missing; {_AGAIN}")
            first, last, reorder = (segment[k] for k in ("first", "last", "reorder"))
            self._parts.append(Part(path, first, last, reorder))

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
        part = self._end_part()
        kept = {"path": part.path.name, "sha256": file_digest(part.path)}
        return dataclasses.asdict(part) | kept

    def _end_part(self):
        self._writer.close()
        reorder, self._writer = self._writer.reorder, None
        self._parts.append(Part(self._path, self._first, self._last, reorder))
        return self._parts[-1]

    @contextlib.contextmanager
    def made(
        self,
        output: Path,
        *,
        extras: Extras | None = None,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> Iterator[Made]:
        """Ends the last part and joins all parts, to be published within the block."""
        if self._writer is not None:
            self._end_part()
        with staged(output, folder=False) as made:
            path = made.path
            join(path, self._info, self._encoding, self._parts, extras, on_note)
            yield made

    def close(self) -> None:
        """Abandons an unfinished part, if there is one."""
        if self._writer is not None:
            self._writer.abandon()


class FolderSink(FolderWriter):
    """A folder of images."""

    def __init__(self, folder: Path):
        """Makes a folder for the frames next to other unfinished work."""
        super().__init__(folder / "frames")
        self._path.mkdir(exist_ok=True)
        self._names = []  # since the last segment

    def resume(self, segments: list[dict]) -> None:
        """Checks the frames of finished segments; UserError if one is damaged."""
        names = iter(sorted((p.name for p in self._path.iterdir()), key=natural_key))
        for segment in segments:
            some = list(itertools.islice(names, segment["frames"]))
            if self._digest(some) != segment["sha256"]:
                raise UserError(
                    f"{self._path}: finished frames are damaged or missing; {_AGAIN}"
                )

    def write(self, frame: np.ndarray, kind: ImageKind) -> None:
        """Writes one frame, as `FolderWriter` does."""
        super().write(frame, kind)
        self._names.append(kind.name)

    def end_segment(self) -> dict:
        """Returns what `resume` needs, as JSON values."""
        names, self._names = self._names, []
        return {"frames": len(names), "sha256": self._digest(names)}

    def _digest(self, names):
        found = (f"{name} {file_digest(self._path / name)}" for name in names)
        return digest(os.fsencode("\n".join(found)))

    @contextlib.contextmanager
    def made(self, output: Path, **_) -> Iterator[Made]:
        """Gives the folder, to be published within the block."""
        yield Made(self._path, output, folder=True)

    def close(self) -> None:
        """Does nothing: no file stays open."""


class PipeSink(RawWriter):
    """Raw frames into a pipe, from which nothing can be taken back."""

    def write(self, frame: np.ndarray, pts: int) -> None:
        """Writes [H, W, 3] RGB, uint8 or float in [0, 1]; ignores its timestamp."""
        try:
            super().write(frame, pts)
        except BrokenPipeError:
            # The command line's parser would end silently on a broken pipe.
            raise UserError("-: broken pipe, the reader closed it") from None
        except OSError as error:
            error.filename = "-"
            raise

    @contextlib.contextmanager
    def made(self, *_, **__) -> Iterator[None]:
        """Gives None: every frame is in the pipe already."""
        yield


_FULL_COLOUR = 16  # pixels of motion: hand-held motion is mostly shorter
_TURNED = ("mpeg",)  # containers that cannot store an orientation


class Target:
    """Turns each frame into what the user asked for and writes it."""

    def __init__(
        self,
        reader,
        output: Path,
        kind: Kind,
        options: Options,
        folder: Path | None,
        cell: int,
    ):
        """Chooses how to write; UserError if the output cannot hold this video."""
        # `folder` keeps unfinished work, None where only a pipe is written; `cell` is
        # the side of a cell of the motion grid in pixels.
        self._reader, self._output, self._kind = reader, output, kind
        self._options, self._cell = options, cell
        self._extras = None
        self.notes = []  # what will not be as in the input, one sentence each
        self._turn, info = Orientation(), reader.info
        self._suffix = output.suffix.lower()
        stored = kind == "file" and CONTAINERS[self._suffix].format not in _TURNED
        if options.compare or not stored:
            self._turn, info = info.orientation, info.upright
        if not self._turn.is_identity:
            self.notes.append("frames are turned upright")
        if options.compare:
            width, height = view_size(options.compare, info.width, info.height)
            info = dataclasses.replace(info, width=width, height=height)
        self.size = info.width, info.height  # of what is written, in pixels
        self._sinks = {"picture": self._sink(info, folder)}
        if options.save_motion is not None:
            suffix, info = Path(options.save_motion).suffix, reader.info.upright
            info = dataclasses.replace(info, colour=Colour(), full_range=False)
            encoding = self._encoding(suffix, info)
            self._sinks["motion"] = VideoSink(folder, "motion", info, encoding)

    def write(self, frame: "Restored") -> None:
        """Writes the next frame."""
        picture = self._turn.upright(frame.step.restored)
        if self._options.compare:
            picture = compare(
                self._turn.upright(frame.source.frame),
                picture,
                self._options.compare,
                number=frame.number,
                rate=self._reader.info.rate,
            )
        time, image = frame.source.tag, ImageKind(f"frame_{frame.number:06d}.png")
        if self._reader.kind == "folder":
            time, image = frame.number, frame.source.tag
        shown = image if self._kind == "folder" else time
        self._sinks["picture"].write(picture, shown)
        if motion := self._sinks.get("motion"):
            info = self._reader.info
            moved = motion_picture(
                info.orientation.turn_vectors(frame.step.displacement),
                (info.width, info.height),
                radius=_FULL_COLOUR / self._cell,
                cell=self._cell,
            )
            motion.write(info.orientation.upright(moved), time)

    def end_segment(self) -> dict:
        """Closes what can be closed and returns what `resume` needs, as JSON."""
        return {name: sink.end_segment() for name, sink in self._sinks.items()}

    def resume(self, segments: list[dict]) -> None:
        """Resumes after finished segments, as `end_segment` returned them."""
        for name, sink in self._sinks.items():
            sink.resume([segment[name] for segment in segments])

    def publish(
        self,
        *,
        overwrite: bool,
        on_note: Callable[[str], None],
        commit: Callable[[list[Made]], None],
    ) -> None:
        """Gives what is complete its final names; `commit` is given it before."""
        extras = self._extras
        if extras is not None:
            shift, start, end = self._reader.span
            extras = dataclasses.replace(extras, shift=shift, start=start, end=end)
        with contextlib.ExitStack() as stack:
            made = []
            if motion := self._sinks.get("motion"):
                output = Path(self._options.save_motion)
                made.append(stack.enter_context(motion.made(output)))
            picture = self._sinks["picture"]
            picture = picture.made(self._output, extras=extras, on_note=on_note)
            if (picture := stack.enter_context(picture)) is not None:
                made.append(picture)
            publish(*made, overwrite=overwrite, commit=lambda: commit(made))

    def close(self) -> None:
        """Abandons what is unfinished."""
        for sink in self._sinks.values():
            sink.close()

    def _sink(self, info, folder):
        if self._kind == "pipe":
            self.notes.append(
                f"writes raw rgb24 frames of {info.width}x{info.height}, "
                f"{float(info.rate):.5g} per second"
            )
            return PipeSink(standard_stream("stdout"))
        if self._kind == "folder":
            if info.aspect != 1:
                aspect = (
                    f"frames keep pixels of aspect {info.aspect}, not stored in PNG"
                )
                self.notes.append(aspect)
            return FolderSink(folder)
        options, suffix = self._options, self._suffix
        chosen = {name: getattr(options, name) for name in ENCODING}
        encoding = self._encoding(suffix, info, **chosen)
        self.notes += encoding.notes
        if self._reader.kind == "folder":
            self.notes += self._reader.video_notes
        if self._reader.kind == "file":
            self._extras = self._reader.extras(suffix, encoding.container.format)
            self.notes += self._extras.notes
        return VideoSink(folder, "picture", info, encoding)

    def _encoding(self, suffix, info, **chosen):
        """Chooses a codec; UserError if it cannot hold the frames' times."""
        encoding = choose(suffix, info, **chosen)
        if encoding.codec.name == "mpeg2" and self._reader.kind == "file":
            self._reader.check_constant_rate(encoding.codec.title)
        return encoding
