"""Folders of PNG and JPEG frames in and out, through OpenCV.

Letters: H W pixels. Frames are RGB; 16-bit ones are float in [0, 1].
"""

import contextlib
import dataclasses
import itertools
import mimetypes
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mtujax.common.files import irregular, is_frame_name, natural_key
from mtujax.common.text import listed
from mtujax.errors import UserError
from mtujax.video.image_files import (
    PNG_SIGNATURE,
    Metadata,
    decode_noting,
    read_metadata,
    upright,
    with_metadata,
)
from mtujax.video.info import VideoInfo

_JPEG_QUALITY = 95
_RATE = Fraction(30)  # of a video made from a folder, which has no rate of its own


@dataclasses.dataclass(frozen=True)
class ImageKind:
    """What a frame's file holds in addition to, or instead of, three 8-bit channels."""

    name: str  # of the file; its suffix fixes the format
    grey: bool = False  # one channel, which was repeated to make RGB
    deep: bool = False  # 16 bits per channel, not 8
    alpha: np.ndarray | None = None  # [H, W] uint8 or uint16 opacity as in the file
    metadata: Metadata = Metadata()  # colour profile, EXIF and alike


class FolderReader(contextlib.AbstractContextManager):
    """The PNG and JPEG files of a folder in natural order; a context manager.

    Examples:
        >>> _ = deblur_video("shaky.mp4", "frames/", weights="mine.safetensors")
        >>> with FolderReader(Path("frames")) as reader:
        ...     frames = [frame for frame, kind in reader.frames()]
        >>> reader.info.frames == len(frames)
        True

    Attributes:
        info: what the frames have in common.
        name: the folder, for messages.
        kind: "folder".
        deep: whether any frame has 16 bits, so that all are read as float.
        video_notes: what a video made from it will lack, one sentence each.
        late_notes: after reading, which frames were damaged, in one sentence.
    """

    kind = "folder"

    def __init__(self, path: Path, *, rate: Fraction | None = None):
        """Lists the folder and compares the sizes in the headers of its images.

        Args:
            path: an existing folder; its subfolders are not searched.
            rate: frames per second of a video made from it; None takes 30.

        Raises:
            UserError: if it holds no frame, or a frame differs from the first in size.
        """
        self._path, self.name, self._damaged = path, str(path), {}
        names = [p.name for p in path.iterdir() if not p.name.startswith(".")]
        self._names = sorted(filter(is_frame_name, names), key=natural_key)
        for file in map(path.joinpath, self._names):
            if not file.is_file():  # as a pipe, for which opening it would wait
                what = irregular(file) or "folder or a link to no file"
                raise UserError(f"{file}: is a {what}, not a frame; move it away")
        if not self._names:
            hint = ""
            kinds = (mimetypes.guess_type(name)[0] or "" for name in names)
            if any(kind.startswith("video/") for kind in kinds):
                hint = ", but videos: --to FOLDER restores all of them"
            raise UserError(f"{path}: this folder has no PNG or JPEG frames{hint}")
        first, kind = self._read(self._names[0])
        self._size = first.shape[:2]
        headers = {name: _header(path / name) for name in self._names}
        for name, header in itertools.islice(headers.items(), 1, None):
            # EXIF may turn a JPEG: its header gives the two sides, not which is which.
            if header.size and sorted(header.size) != sorted(self._size):
                raise self._differs(name, header.size)
        ignored = sorted(set(names) - set(self._names))
        notes = [f"not frames, left out: {listed(ignored, 3)}"] if ignored else []
        if animated := [n for n, header in headers.items() if header.animated]:
            notes.append(
                f"animated, only the first picture is read: {listed(animated, 3)}; "
                "give the file itself as the input to restore them all"
            )
        misnamed = [n for n, header in headers.items() if header.png != _as_png(n)]
        for content, format in (("PNG", "JPEG"), ("no PNG", "PNG")):
            if found := [n for n in misnamed if _as_png(n) == (format == "PNG")]:
                notes.append(
                    f"{content} by content, written as {format} and without metadata: "
                    f"{listed(found, 3)}"
                )
        self.deep = any(header.deep for header in headers.values())
        alpha = any(header.alpha for header in headers.values())
        profile = kind.metadata.profile is not None
        self.video_notes = tuple(_lost_in_video(rate, self.deep, alpha, profile))
        rate = rate or _RATE
        rows, columns = self._size
        about = columns, rows, len(self._names), rate, 1 / rate
        self.info = VideoInfo(*about, counted=True, notes=tuple(notes))

    def __exit__(self, *_):
        """Does nothing: no file stays open."""

    def frames(
        self, *, start: float | None = None, end: float | None = None, skip: int = 0
    ) -> Iterator[tuple[np.ndarray, ImageKind]]:
        """Reads the frames in natural order.

        Args:
            start: number of the first frame to read, counted from 0.
            end: number of the first frame after the range; None reads to the end.
            skip: how many frames to leave out at the beginning of the range.

        Yields:
            Frames [H, W, 3] RGB, uint8, or float32 in [0, 1] if `deep`, each with
            the `ImageKind` of its file.

        Raises:
            UserError: for an image that cannot be read or has another size.
        """
        first = int(start or 0) + skip
        for name in self._names[first : None if end is None else int(end)]:
            image, kind = self._read(name)
            if image.shape[:2] != self._size:
                raise self._differs(name, image.shape[:2])
            yield _to_rgb(image, kind, as_float=self.deep), kind

    def _read(self, name):
        path = self._path / name
        flag = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
        if _as_png(name):
            flag = cv2.IMREAD_UNCHANGED  # keeps alpha
        data = path.read_bytes()
        image, damaged = decode_noting(data, flag)
        if image is None:
            raise UserError(f"{path}: cannot be read as an image")
        if damaged:
            self._damaged[name] = None
        metadata = read_metadata(data)
        image = upright(image, metadata.orientation)
        alpha = image[..., 3] if image.ndim == 3 and image.shape[2] == 4 else None
        deep = image.dtype == np.uint16
        return image, ImageKind(name, image.ndim == 2, deep, alpha, metadata)

    @property
    def late_notes(self) -> tuple[str, ...]:
        """Notes after reading."""
        if not self._damaged:
            return ()
        names = listed(self._damaged, 3)
        return (f"damaged, decoded as far as that went: {names}",)

    def _differs(self, name, size):
        (height, width), (rows, columns) = self._size, size
        return UserError(
            f"{self._path / name}: is {columns}x{rows}, but the frames before it are "
            f"{width}x{height}"
        )


class FolderWriter(contextlib.AbstractContextManager):
    """Writes frames into a folder as their originals were stored; a context manager.

    Examples:
        >>> source, target = Path("set/test"), Path("halved")
        >>> target.mkdir()
        >>> with FolderReader(next(source.glob("*/sharp"))) as reader:
        ...     with FolderWriter(target) as writer:
        ...         for frame, kind in reader.frames():
        ...             writer.write(frame[::2, ::2], kind)
        >>> len(list(target.iterdir()))
        6
    """

    notes = ()

    def __init__(self, path: Path):
        """Sets the folder to write into.

        Args:
            path: an existing folder.
        """
        self._path = path

    def __exit__(self, *_):
        """Does nothing: every frame is on disk."""

    def write(self, frame: np.ndarray, kind: ImageKind) -> None:
        """Writes one frame as PNG, or as JPEG of quality 95.

        Args:
            frame: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1].
            kind: name, bit depth, grey, alpha and metadata of its file.

        Raises:
            UserError: if the format cannot hold a frame of this size.
            OSError: if the file cannot be written.
        """
        image = _from_rgb(frame, kind)
        suffix = ".png" if _as_png(kind.name) else ".jpg"
        options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        # Encoded in memory, as `cv2.imwrite` does not say why a disk refused.
        fits, data = cv2.imencode(suffix, image, options)
        if not fits:
            height, width = image.shape[:2]
            raise UserError(f"{kind.name}: cannot hold a frame of {width}x{height}")
        data = with_metadata(data.tobytes(), kind.metadata, grey=image.ndim == 2)
        (self._path / kind.name).write_bytes(data)


def _lost_in_video(rate, deep, alpha, profile):
    if rate is None:
        yield f"a folder has no rate: written at {_RATE} frames/s; --rate sets it"
    if deep:
        yield "16-bit frames are written with 8 bits"
    if alpha:
        yield "the alpha channel is dropped: a video has none"
    if profile:
        yield "the colour profile is dropped: a video has none"


def _to_rgb(image, kind, *, as_float):
    if kind.grey:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    else:
        image = np.ascontiguousarray(image[..., 2::-1])
    if not as_float:
        return image
    return image.astype(np.float32) / (65535 if kind.deep else 255)


def _from_rgb(frame, kind):
    if kind.grey:
        frame = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    else:
        frame = frame[..., ::-1]
    if frame.dtype != np.uint8:
        peak, dtype = (65535, np.uint16) if kind.deep else (255, np.uint8)
        frame = np.round(np.clip(frame, 0, 1) * peak).astype(dtype)
    if kind.alpha is not None:
        frame = np.dstack([frame, kind.alpha])
    return np.ascontiguousarray(frame)


def _as_png(name):
    return Path(name).suffix.lower() == ".png"


class _Header(NamedTuple):
    """What an image file's beginning says."""

    size: tuple[int, int] | None = None  # (rows, columns); None if it is not said
    deep: bool = False  # 16 bits
    alpha: bool = False
    png: bool = False
    animated: bool = False


def _header(path):
    with path.open("rb") as file:
        start = file.read(26)
        if start[:8] == PNG_SIGNATURE and len(start) == 26:
            columns, rows, bits, colour = struct.unpack(">IIBB", start[16:26])
            file.seek(8)
            animated = _is_animated(file)
            return _Header(
                (rows, columns), bits == 16, colour in (4, 6), True, animated
            )
        if start[:2] == b"\xff\xd8":
            return _Header(_jpeg_size(file))
        return _Header(png=start[:8] == PNG_SIGNATURE)


def _is_animated(file):
    """Whether a PNG file says, before its first picture, that it has several."""
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        if head[4:] == b"acTL":
            return file.read(4) != b"\0\0\0\1"  # how many
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)  # and its checksum
    return False


def _jpeg_size(file):
    """Skips segments up to the start of frame (SOF0 to SOF15, but DHT, JPG, DAC)."""
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if marker == 0xFF:  # a fill byte
            file.seek(-3, 1)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = file.read(5)
            if len(size) < 5:
                return None
            return struct.unpack(">HH", size[1:])
        else:
            file.seek(length - 2, 1)
    return None
