"""Video files out, through PyAV: H.264 with the timestamps and colours of the input.

Letters: H W pixels.
"""

from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from mtujax.errors import UserError
from mtujax.video.info import LIMITED, SCALING, VideoInfo

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of the video files that can be written, and the container of each."""


class VideoWriter:
    """Writes an H.264 file frame by frame; a context manager.

    Even sizes become yuv420p and odd ones yuv444p, which keeps the size exactly; the
    range is limited, matrix and tags are those of the input.

    Attributes:
        notes: what a viewer should know, one sentence each.
    """

    def __init__(
        self, path: Path, info: VideoInfo, *, crf: float = 17, preset: str = "medium"
    ):
        """Opens file and encoder.

        Args:
            path: the file, with one of the suffixes in `FORMATS`; replaced.
            info: size, rate, time base, colours and pixel aspect to write.
            crf: constant quality of x264, 0 (lossless) to 51.
            preset: speed of x264, "ultrafast" to "veryslow".

        Raises:
            UserError: if H.264 cannot hold frames of this size.
        """
        self._path, self._info, self.notes = path, info, ()
        self._format = "yuv420p"
        if info.width % 2 or info.height % 2:
            self._format = "yuv444p"
            self.notes = (
                f"odd size {info.width}x{info.height}: kept exactly as H.264 4:4:4, "
                "which some players cannot show",
            )
        if info.full_range:
            self.notes += ("full-range input is written in limited range",)
        container = FORMATS[path.suffix.lower()]
        options = {}
        if container != "matroska":
            # A late start is noted in units of the movie: milliseconds, if not told.
            units = info.time_base.denominator
            units *= -(-1000 // units)
            options = {"movflags": "faststart", "movie_timescale": str(units)}
        self._container = av.open(
            f"file:{path}", "w", format=container, container_options=options
        )
        try:
            self._open_stream({"crf": str(crf), "preset": preset})
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "VideoWriter":
        """Returns itself."""
        return self

    def __exit__(self, kind, *_):
        """Ends the file; after an error without complaining once more."""
        if kind is None:
            self.close()
            return
        try:
            self._container.close()
        except (FFmpegError, OSError):
            pass

    def write(self, frame: np.ndarray, pts: int) -> None:
        """Encodes the next frame.

        Args:
            frame: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1].
            pts: its timestamp in units of the time base; ascending.

        Raises:
            OSError: if the file cannot be written on.
        """
        if frame.dtype != np.uint8:
            frame = np.round(np.clip(frame, 0, 1) * 255).astype(np.uint8)
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        # PyAV's default would be the matrix of BT.601, whatever the tags say.
        yuv = rgb.reformat(
            format=self._format,
            dst_colorspace=self._info.colour.matrix,
            dst_color_range=LIMITED,
            interpolation=SCALING,
        )
        yuv.pts, yuv.time_base = pts, self._info.time_base
        self._container.mux(self._stream.encode(yuv))

    def close(self) -> None:
        """Writes what the encoder still holds and ends the file.

        Raises:
            OSError: if the file cannot be written on.
        """
        self._container.mux(self._stream.encode())
        self._container.close()

    def _open_stream(self, options):
        info = self._info
        self._stream = self._container.add_stream("libx264", rate=info.rate)
        self._stream.width, self._stream.height = info.width, info.height
        self._stream.pix_fmt, self._stream.options = self._format, options
        context = self._stream.codec_context
        context.time_base = info.time_base
        context.sample_aspect_ratio = info.aspect
        context.colorspace, context.color_range = info.colour.matrix, LIMITED
        context.color_primaries = info.colour.primaries
        context.color_trc = info.colour.transfer
        try:
            context.open()
        except FFmpegError as error:
            raise UserError(
                f"H.264 cannot hold frames of {info.width}x{info.height} "
                f"({error.strerror}): give a folder, for PNG frames, as the output"
            ) from error
