"""A whole video through the network: a file or a folder in, a file or a folder out.

Frames stream through with bounded memory. Letters: H W pixels.
"""

import collections
import dataclasses
import difflib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mtujax.config import DTYPES
from mtujax.cuts import DEFAULT_THRESHOLD, CutDetector
from mtujax.errors import UsageError, UserError
from mtujax.frames import FolderReader, FolderWriter, ImageKind
from mtujax.network import MTUNet
from mtujax.outputs import FRAME_SUFFIXES, check_output, whole_output
from mtujax.stream import Stream
from mtujax.video.info import VideoInfo
from mtujax.video.reader import VideoReader
from mtujax.video.writer import FORMATS, VideoWriter
from mtujax.weights import load

FOLDER_RATE = Fraction(30)
"""Frames per second of a video made from a folder, which has no rate of its own."""

_IN_FLIGHT = 2  # results the device may still be computing while the host encodes


@dataclasses.dataclass(frozen=True)
class DeblurReport:
    """What `deblur_video` did.

    Attributes:
        output: the file or folder written.
        frames: number of frames written.
        size: their (width, height) in pixels.
        cuts: shots that began after the first, by the scene detector.
        seconds: wall time of reading, restoring and writing, compilation included.
        notes: what is not as in the input, one sentence each.
    """

    output: Path
    frames: int
    size: tuple[int, int]
    cuts: int
    seconds: float
    notes: tuple[str, ...]

    @property
    def fps(self) -> float:
        """Frames per second of wall time."""
        return self.frames / max(self.seconds, 1e-9)


def deblur_video(
    input: str | os.PathLike,
    output: str | os.PathLike,
    *,
    weights: str | os.PathLike | tuple[MTUNet, dict] = "mtu2",
    dtype: str | None = None,
    overwrite: bool = False,
    start: float | None = None,
    end: float | None = None,
    scene_threshold: float = DEFAULT_THRESHOLD,
    progress: Callable[[int, int | None], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> DeblurReport:
    """Restores a video and writes it, all or nothing.

    Args:
        input: a video file, or a folder of PNG or JPEG frames (natural order).
        output: a video file (.mp4, .m4v, .mov, .mkv: H.264), or a folder: any name
            without a suffix, with a slash at its end, or of an existing folder. Frames
            of a folder keep their names and formats, 16 bits, grey and alpha included;
            frames of a video become PNG files.
        weights: name of bundled weights, a `.safetensors` file, or `(model, params)`.
        dtype: compute precision in place of the model's: "float32", "bfloat16" or
            "float16".
        overwrite: replace an existing output.
        start: begin here: seconds after the first frame; of a folder, the number of a
            frame, counted from 0.
        end: stop before this time or frame number.
        scene_threshold: frames that differ more than this from the one before, in
            [0, 1], start a new shot, to which nothing is carried over; 0 is off.
        progress: called after each frame with the number written and the number
            expected, None if unknown.
        on_note: called at once with each of the report's `notes`.

    Returns:
        What was done.

    Raises:
        UsageError: for a setting out of range.
        UserError: for an input that cannot be read or an output that cannot be written.
        WeightsError: for weights that cannot be loaded.
        OSError: if writing fails; nothing is left behind.
    """
    begun = time.perf_counter()
    _check_settings(dtype, start, end, scene_threshold)
    to_folder = _is_folder(output)
    input, output, notes = Path(input), Path(output), _Notes(on_note)
    if not input.exists():
        raise UserError(f"{input}: no such file or folder")
    check_output(input, output, folder=to_folder, overwrite=overwrite)
    with _open_reader(input) as reader:
        total = _expected(reader, start, end)
        notes.extend(reader.info.notes)
        stream, cuts = Stream(*_model(weights, dtype)), _Cuts(scene_threshold)
        frames = _restored(_tagged(reader, to_folder, start, end), stream, cuts)
        with whole_output(output, folder=to_folder, overwrite=overwrite) as temporary:
            with _open_writer(temporary, reader, to_folder, notes) as writer:
                count = _write(frames, writer, total, progress)
                if not count:
                    raise UserError(f"{input}: no frame {_range(start, end)}")
        if reader.info.counted and start is None and end is None and count != total:
            notes.extend([f"{input} lists {total} frames, {count} could be decoded"])
        size = reader.info.width, reader.info.height
    seconds = time.perf_counter() - begun
    return DeblurReport(output, count, size, cuts.count, seconds, tuple(notes.all))


def _check_settings(dtype, start, end, scene_threshold):
    if dtype is not None and dtype not in DTYPES:
        nearest = difflib.get_close_matches(str(dtype), DTYPES, n=1, cutoff=0.4)
        hint = f", did you mean {nearest[0]!r}" if nearest else ""
        raise UsageError(f"unknown dtype {dtype!r}{hint}; one of {', '.join(DTYPES)}")
    if not 0 <= scene_threshold <= 1:
        raise UsageError(
            f"scene threshold {scene_threshold}: must be in [0, 1]; 0 finds no cuts"
        )
    for name, value in (("start", start), ("end", end)):
        if isinstance(value, str):
            raise UsageError(f"{name} {value!r}: give a number")
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"{name} {value}: must be 0 or more")
    if end is not None and end <= (start or 0):
        raise UsageError(f"end {end:g}: must be after the start, {start or 0:g}")


def _is_folder(output):
    """Whether the name of the output means a folder of frames."""
    path = Path(output)
    if str(output).endswith(("/", os.sep)) or path.is_dir():
        return True
    if path.suffix.lower() in FORMATS:
        return False
    if path.suffix.lower() in FRAME_SUFFIXES:
        raise UserError(f"{output}: a single image; give the name of a folder")
    if path.suffix and not path.exists():
        raise UserError(
            f"{output}: {path.suffix} is no video this can write "
            f"({', '.join(FORMATS)}); for a folder of frames put a slash at the end"
        )
    return True


class _Notes:
    def __init__(self, on_note):
        self.all, self._on_note = [], on_note

    def extend(self, notes):
        for note in notes:
            self.all.append(note)
            if self._on_note:
                self._on_note(note)


class _Cuts:
    """A cut detector that counts."""

    def __init__(self, threshold):
        self.count, self._detector = 0, CutDetector(threshold)

    def __call__(self, frame):
        found = self._detector.is_cut(frame)
        self.count += found
        return found


def _model(weights, dtype):
    if not isinstance(weights, tuple):
        return load(weights, dtype=dtype)
    model, params = weights
    if dtype is not None:
        model = MTUNet(dataclasses.replace(model.config, dtype=dtype))
    return model, params


def _open_reader(path):
    return FolderReader(path) if path.is_dir() else VideoReader(path)


def _open_writer(path, reader, to_folder, notes):
    info = reader.info
    if to_folder:
        if not isinstance(reader, FolderReader) and info.aspect != 1:
            notes.extend([f"frames keep pixels of aspect {info.aspect}, unsaid in PNG"])
        return FolderWriter(path)
    if isinstance(reader, FolderReader):
        notes.extend([f"a folder has no rate: written at {FOLDER_RATE} frames/s"])
        if info.deep:
            notes.extend(["16-bit frames are written with 8 bits"])
        if info.alpha:
            notes.extend(["the alpha channel is dropped: a video has none"])
        info = VideoInfo(info.width, info.height, None, FOLDER_RATE, 1 / FOLDER_RATE)
    writer = VideoWriter(path, info)
    notes.extend(writer.notes)
    return writer


def _expected(reader, start, end):
    """Number of frames in the range, as far as it is known; for the progress bar."""
    info, by_frame = reader.info, isinstance(reader, FolderReader)
    if by_frame:
        for value in (start, end):
            if value is not None and value != int(value):
                raise UsageError(f"{value:g}: of a folder, give the number of a frame")
    if info.frames is None:
        return None
    unit = 1 if by_frame else info.rate
    first = round((start or 0) * unit)
    last = info.frames if end is None else min(info.frames, round(end * unit))
    return max(0, last - first)


def _tagged(reader, to_folder, start, end):
    """The reader's frames, each with what the writer needs to know of it."""
    from_folder = isinstance(reader, FolderReader)
    for number, (frame, tag) in enumerate(reader.frames(start=start, end=end)):
        if from_folder and not to_folder:
            tag = number
        elif to_folder and not from_folder:
            tag = ImageKind(f"frame_{number:06d}.png")
        yield frame, tag


def _restored(
    frames: Iterable[tuple[np.ndarray, object]], stream: Stream, is_cut: Callable
) -> Iterator[tuple[np.ndarray, object]]:
    """Restores frames, keeping the device a little ahead of whoever takes them."""
    tags, ready = collections.deque(), collections.deque()
    for frame, tag in frames:
        if is_cut(frame):
            ready.extend(stream.reset())
        tags.append(tag)
        ready.extend(stream.push(jnp.asarray(frame)))
        while len(ready) > _IN_FLIGHT:
            yield np.asarray(ready.popleft()), tags.popleft()
    ready.extend(stream.flush())
    while ready:
        yield np.asarray(ready.popleft()), tags.popleft()


def _write(frames, writer, total, progress):
    """Writes all frames and returns their number."""
    count = 0
    for count, (frame, tag) in enumerate(frames, start=1):
        writer.write(frame, tag)
        if progress:
            progress(count, total)
    return count


def _range(start, end):
    return f"between {start or 0:g} and {'the end' if end is None else f'{end:g}'}"
