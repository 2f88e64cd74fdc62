"""Video files in, through PyAV: RGB frames, their timestamps and their colours.

Letters: H W pixels of the coded frame. A timestamp (pts) counts `time_base` seconds.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from mtujax.common.text import counted
from mtujax.errors import UserError
from mtujax.video import media, side_streams as extras
from mtujax.video.color import Pixels, coding, is_full_range, is_hdr, lost, sampling
from mtujax.video.decoding import (
    Decoder,
    damage_notes,
    deinterlaced,
    end_notes,
    has_times_of_decoding,
    is_interlaced,
)
from mtujax.video.info import TOLERANCE, Colour, Orientation, VideoInfo
from mtujax.video.media import is_tile, main_video, open_media, side_data

_BY_DECODING = ("avi", "asf")  # formats that hold no others, which libav guesses
_INDEXED = ("mov", "matroska", "avi")  # libav seeks in others only roughly


class VideoReader(contextlib.AbstractContextManager):
    """The frames of a file's main video stream; a context manager.

    Examples:
        >>> with VideoReader(Path("shaky.mp4")) as reader:
        ...     for frame, timestamp in reader.frames(start=0.05):
        ...         print(frame.dtype, timestamp)
        uint8 ...

    Attributes:
        info: what the frames have in common.
        name: the file, for messages.
        kind: "file".
        late_notes: after reading, what was wrong with the file, one sentence each.
        span: once a frame has been read, the seconds subtracted from every timestamp,
            and the start and end of the range on the file's clock in seconds, or None.
    """

    kind = "file"

    def __init__(self, path: Path):
        """Opens the file and decodes its first frame.

        Args:
            path: an existing file.

        Raises:
            UserError: if it is no video, or no frame of it can be decoded.
        """
        self._path, self.name, self.late_notes = path, str(path), ()
        self.span = Fraction(0), None, None
        self._open()
        try:
            self._choose_stream()
            self._look_at_clock()
            self._start_decoding()
            self._look_at_first()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        """Closes the file."""
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def frames(
        self, *, start: float | None = None, end: float | None = None, skip: int = 0
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Decodes the frames in display order.

        Args:
            start: seconds after the first frame; earlier frames are left out, and the
                timestamps then count from the first frame yielded.
            end: seconds after the first frame; a frame at this time and later ones are
                left out.
            skip: how many frames to leave out at the beginning of the range; the
                timestamps stay as they are.

        Yields:
            Frames [H, W, 3] uint8 RGB as coded, and their timestamps, ascending.

        Raises:
            UserError: if the file cannot be opened again.
        """
        self.late_notes, pixels = (), Pixels(self._first, self._coding)
        timed = self._ranged(start, end)
        for number, (frame, pts) in enumerate(timed):
            if number >= skip:
                yield pixels(frame), pts
        self.late_notes = (*self.late_notes, *pixels.late_notes())

    def extras(self, suffix: str, format: str) -> extras.Extras:
        """Finds out which of the file's other streams a container can hold.

        Args:
            suffix: of the file to write.
            format: libav's name of its container.

        Returns:
            What is to be copied; `span` is not applied yet.
        """
        main = self._stream.index
        found = extras.plan(self._path, self._container, main, suffix, format)
        return dataclasses.replace(found, clock=self._clock)

    def check_constant_rate(self, title: str) -> None:
        """Refuses a variable frame rate.

        Args:
            title: name of the codec that needs a constant rate, for the message.

        Raises:
            UserError: if the frame rate varies.
        """
        if not media.has_constant_rate(self._path, self._stream.index, self.info.rate):
            raise UserError(
                f"{self._path}: has a variable frame rate, which {title} cannot hold: "
                "write .mp4 or .mkv"
            )

    def _open(self):
        try:
            self._container = open_media(self._path)
        except FFmpegError as error:
            raise UserError(
                f"{self._path}: cannot be read as a video ({error.strerror}); "
                "is it complete?"
            ) from error

    def _choose_stream(self):
        self._stream = main_video(self._container)
        if self._container.format.name == "tty":  # libav would render the text
            raise UserError(f"{self._path}: is a text, not a video")
        if self._stream is None:
            found = self._container.streams.video
            if any(is_tile(stream) for stream in found):
                raise UserError(
                    f"{self._path}: is a picture in tiles, as of HEIC, which cannot be "
                    "put together here; convert it to PNG or JPEG"
                )
            cover = ", only a cover picture" if found else ""
            raise UserError(f"{self._path}: has no video stream{cover}")
        if self._stream.codec_context is None:
            codec = media.unknown_codec(self._path)
            raise UserError(f"{self._path}: its video codec ({codec}) is not known")
        self._stream.thread_type = "AUTO"

    def _look_at_clock(self):
        path, index = self._path, self._stream.index
        if media.is_encrypted(path, index, self._stream.codec_tag):
            raise UserError(f"{path}: its video is encrypted, and cannot be read")
        format = self._container.format.name
        self._clock = media.read_clock(path, format, index)
        self._by_decoding = bool(self._stream.codec_context.has_b_frames) and (
            format in _BY_DECODING or has_times_of_decoding(path, index)
        )

    def _start_decoding(self):
        given = self._container, self._stream, self._clock
        self._decoder = Decoder(*given, by_decoding=self._by_decoding)
        self._decoded = self._decoder.frames()

    def _look_at_first(self):
        head = next(self._decoded, None)
        if head is None:
            raise UserError(f"{self._path}: has no frame that can be decoded")
        self._head, self._first = head, head[0]
        self._first_pts = head[1] or 0
        early = (0, Fraction(0))
        if self._first.key_frame:  # else the decoder does without
            early = media.before_first_key(self._path, self._stream.index)
        self._early, self._early_seconds = early
        if self._container.format.name == "avi":
            self._first_pts = round(self._early_seconds / self._stream.time_base)
        self._fresh = True  # nothing but the first frame has been taken yet
        # Where the time line starts: at its own zero, or where the file starts.
        self._origin, start = 0, self._container.start_time
        if self._container.format.name in media.ARBITRARY and start is not None:
            start = Fraction(start, av.time_base)
            self._origin = round(start / self._stream.time_base)
        self.info = self._describe()

    def _ranged(self, start, end):
        """Yields frames from `start` to `end`, with timestamps from the new origin."""
        start, base = start or 0.0, self.info.time_base
        origin = None if start else self._origin
        last, before, damaged = None, 0, 0
        frames = deinterlaced(self._decode_from(start), time_base=base)
        for frame, pts in self._timed(frames):
            seconds = self._seconds(pts) + TOLERANCE
            if end is not None and seconds >= end:
                self.span = (*self.span[:2], pts * base)
                self._look_back(damaged - before)
                return
            if seconds >= start:
                if origin is None:
                    origin = pts
                    self.span = origin * base, origin * base, None
                elif last is None:
                    self.span = origin * base, None, None
                last, damaged = pts, self._decoder.damaged
                yield frame, pts - origin
            else:
                before = self._decoder.damaged
        self._look_back(self._decoder.damaged - before)
        last = self._first_pts if last is None else last
        seconds, rate = self._seconds(last) + float(self._early_seconds), self.info.rate
        end = media.missing_end(self._path, self._stream.index, seconds, rate)
        self.late_notes += end_notes(self._path, seconds, end, self._decoder.broken_off)

    def _look_back(self, damaged):
        """Notes what was wrong with the frames that were yielded."""
        self.late_notes = damage_notes(damaged, self._decoder.lost, self._untimed)

    def _decode_from(self, start):
        """All frames from `start` on, maybe some before it; seeks if that is far."""
        head, fresh, self._fresh = None, self._fresh, False
        if fresh and start < 1:
            head = self._head
        elif start >= 1 and self._container.format.name.startswith(_INDEXED):
            head = None if self._clock.moves else self._seek(start)
        if head is None:
            self.close()
            self._open()
            self._choose_stream()
            self._start_decoding()
            return self._decoded
        return itertools.chain([head], self._decoded)

    def _seek(self, start):
        """Seeks to the key frame before `start` and returns it, None on failure."""
        offset = self._first_pts + int(start / self.info.time_base)
        try:
            self._container.seek(offset, stream=self._stream)
        except FFmpegError:
            return None
        self._start_decoding()
        head = next(self._decoded, None)
        # A damaged index may lead too far.
        if head is None or head[1] is None or self._seconds(head[1]) > start:
            return None
        return head

    def _timed(self, frames):
        """Makes timestamps ascend: where missing or broken, by the mean rate."""
        step = max(1, round(1 / (self.info.rate * self.info.time_base)))
        last, self._untimed = None, 0
        by_decoding = self._by_decoding or self._container.format.name == "avi"
        for frame, pts in frames:
            if by_decoding:
                pts = self._time_of_decoding(frame)
            if pts is None or (last is not None and pts <= last):
                self._untimed += not by_decoding
                pts = self._first_pts if last is None else last + step
            last = pts
            yield frame, last

    def _time_of_decoding(self, frame):
        """Counted from the first frame; in AVI the first packet is at zero."""
        if frame.dts is None or self._first.dts is None:
            return None
        return frame.dts - self._first.dts + self._first_pts

    def _seconds(self, pts):
        return float((pts - self._first_pts) * self.info.time_base)

    def _describe(self):
        stream, first = self._stream, self._first
        rate = media.mean_rate(self._path, self._container, stream)
        frames = self._clock.frames or max(0, stream.frames - self._early)
        if not frames and self._container.duration:
            frames = round(self._container.duration / av.time_base * rate)
        matrix = side_data(first, "DISPLAYMATRIX")
        matrix = None if matrix is None else np.frombuffer(matrix, np.int32)
        self._coding = colour = coding(stream.codec_context, first)
        hdr = is_hdr(colour)
        note = "interlaced input is made progressive, one frame per pair of fields"
        notes = [*lost(stream, first, colour), *[note] * is_interlaced(first)]
        return VideoInfo(
            first.width,
            first.height,
            frames or None,
            rate,
            stream.time_base,
            Colour() if hdr else colour,
            stream.sample_aspect_ratio or Fraction(1),
            is_full_range(first) and not first.format.is_rgb and not hdr,
            stream.frames > 0,
            Orientation.of(matrix),
            tuple(notes + self._cut()),
            sampling(first.format),
        )

    def _cut(self):
        """Says where a file was cut before a key frame or joined, or is not read on."""
        notes, jumps = [], len(self._clock.moves)
        format = self._container.format.name
        if media.has_another_film(self._path, format):
            notes.append("only the first of the films joined in this file is read")
        if "tiff" in format and media.has_more_pages(self._path):
            notes.append("only the first page is read: give pages as a folder of PNG")
        if self._early:
            early = counted(self._early, "frame")
            notes.append(f"{early} before the first key frame cannot be decoded")
        if jumps:
            times = "once" if jumps == 1 else f"{jumps} times"
            note = f"its clock jumps {times}: each part is placed after the one before"
            notes.append(note)
        return notes
