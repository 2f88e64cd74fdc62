"""Optical flow between sharp frames: computed (DIS), or read from files.

Flow (dx, dy) is backward, in pixels: what is at (x, y) in a frame was at
(x + dx, y + dy) in the one before. An `.npz` holds `flow` [H, W, 2] float and `valid`
bool [H, W]. A `.flo` (Middlebury) holds the float 202021.25, width and height as int32,
and float32 [H, W, 2], little-endian; values over 1e9 mean unknown. Letters: H W pixels
of a frame, h w of a window.
"""

import abc
import contextlib
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from mtujax.common import array_files
from mtujax.common.files import natural_key
from mtujax.data.frames import FrameSource, VideoInfo, Window
from mtujax.errors import UserError
from mtujax.ops.labels import destinations, returns

Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


class MotionSource(abc.ABC):
    """Motion of a split's videos; picklable and thread-safe."""

    name: str  # of the source, for messages
    _videos: Sequence[VideoInfo]

    def motion(
        self, video: int, frame: int, window: Window | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gives the motion from a sharp frame back to the one before.

        Args:
            video: its position in the split.
            frame: position of the frame in the video; frame 0 has no motion.
            window: part of the frame to return; None returns all of it.

        Returns:
            Flow float32 [h, w, 2] in pixels, and bool [h, w]: False where it is
            unknown, or the point was occluded or outside the frame.

        Raises:
            UserError: naming a file that cannot be read.
        """
        if frame == 0:
            info = self._videos[video]
            return no_motion(info.height, info.width, window)
        return self._motion(video, frame, window)

    @abc.abstractmethod
    def _motion(self, video, frame, window):
        """The motion of a frame that has one before it."""


class ComputedMotion(MotionSource):
    """Optical flow estimated on every request, on whole frames: slow.

    Examples:
        >>> frames = open_frames("pairs", "set", split="train")
        >>> flow, valid = ComputedMotion(frames, dis_flow).motion(video=0, frame=1)
        >>> flow.shape, valid.shape
        ((48, 64, 2), (48, 64))
    """

    def __init__(self, source: FrameSource, estimate: Estimator):
        """Computes nothing yet.

        Args:
            source: of the sharp frames.
            estimate: given the current and the previous frame [H, W, 3] uint8, returns
                the backward flow [H, W, 2] in pixels: `dis_flow`, or a flow network.
        """
        self.name, self._videos = f"motion of {source.name}", source.videos
        self._source, self._estimate = source, estimate

    def _motion(self, video, frame, window):
        pair = self._source.read(video, {"sharp": [frame, frame - 1]})["sharp"]
        return cut(*estimate_motion(*pair, self._estimate), window)


def dis_flow(current: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Flow by OpenCV's dense inverse search (Kroeger et al. 2016), preset medium.

    Examples:
        >>> first, second = camera[:2]  # uint8 RGB
        >>> dis_flow(second, first).shape == (*first.shape[:2], 2)
        True

    Args:
        current: [H, W, 3] uint8 RGB.
        previous: [H, W, 3] uint8 RGB, the frame before.

    Returns:
        [H, W, 2] float32 backward flow in pixels.
    """
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (current, previous)]
    # One for each call, as it keeps its working memory in itself.
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(*grey, None)


def estimate_motion(
    current: np.ndarray, previous: np.ndarray, estimate: Estimator
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates flow both ways: where they disagree, one frame hides something."""
    # [H, W, 3] uint8 RGB twice -> backward flow float32 [H, W, 2] in pixels, and bool
    # [H, W] by `consistent`; `estimate` is as for `ComputedMotion`.
    back = np.asarray(estimate(current, previous), np.float32)
    forth = np.asarray(estimate(previous, current), np.float32)
    return back, consistent(back, forth)


def consistent(back: np.ndarray, forth: np.ndarray) -> np.ndarray:
    """Where going back and forth `returns`: flows [H, W, 2] -> bool [H, W]."""
    kind, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    there = cv2.remap(forth, *destinations(back), kind, borderMode=border)
    return returns(back, there)


def no_motion(
    height: int, width: int, window: Window | None
) -> tuple[np.ndarray, np.ndarray]:
    """Motion of a video's first frame: zeros [h, w, 2] float32, and False [h, w]."""
    shape = (window.height, window.width) if window else (height, width)
    return np.zeros((*shape, 2), np.float32), np.zeros(shape, bool)


def cut(
    flow: np.ndarray, valid: np.ndarray, window: Window | None
) -> tuple[np.ndarray, np.ndarray]:
    """The window of a frame's flow [H, W, 2] and bool [H, W]; None takes all of it."""
    if window is None:
        return flow, valid
    return window.of(flow), window.of(valid[..., None])[..., 0]


SUFFIXES = (".npz", ".flo")
_FLO = struct.Struct("<fii")
_FLO_MAGIC = 202021.25
_FLO_UNKNOWN = 1e9


def write_npz(path: Path, flow: np.ndarray, valid: np.ndarray) -> None:
    """Writes motion in half precision, uncompressed, so that windows are read fast.

    Examples:
        >>> write_npz(Path("still.npz"), np.zeros((4, 6, 2)), np.ones((4, 6), bool))

    Args:
        path: of the file.
        flow: [H, W, 2] in pixels.
        valid: bool [H, W], False where the flow is unknown.
    """
    with path.open("wb") as file:
        np.savez(file, flow=flow.astype(np.float16), valid=valid)


def read_npz(
    path: Path,
    window: Window | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads motion from an .npz file; of uncompressed arrays, only the window.

    Examples:
        >>> write_npz(Path("flow.npz"), np.ones((4, 6, 2)), np.ones((4, 6), bool))
        >>> flow, valid = read_npz(Path("flow.npz"), size=(4, 6))
        >>> flow.dtype, flow.shape
        (dtype('float32'), (4, 6, 2))

    Args:
        path: of the file.
        window: part of the frame; None reads all of it.
        size: H and W that it should have; None takes any.

    Returns:
        Flow float32 [h, w, 2] in pixels, and bool [h, w], False where it is unknown.

    Raises:
        UserError: naming the file, if it is missing, damaged, of another kind or of
            another size.
    """
    found = array_files.read_npz(path, ("flow", "valid"))
    flow, valid = found["flow"], found["valid"]
    if (
        flow.ndim != 3
        or flow.shape[2] != 2
        or flow.dtype.kind != "f"
        or valid.dtype != bool
        or valid.shape != flow.shape[:2]
    ):
        raise UserError(
            f"{path}: holds flow {flow.dtype} {list(flow.shape)} and valid "
            f"{valid.dtype} {list(valid.shape)}, not float [H, W, 2] and bool [H, W]"
        )
    _check_size(path, flow.shape[:2], size)
    flow, valid = cut(flow, valid, window)
    return np.array(flow, np.float32), np.array(valid)


def read_flo(
    path: Path,
    window: Window | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the window of a Middlebury .flo file.

    Examples:
        >>> with open("right.flo", "wb") as file:  # everything moves by one pixel
        ...     np.float32(202021.25).tofile(file)
        ...     np.array([3, 2], np.int32).tofile(file)  # width, height
        ...     np.tile(np.float32([-1, 0]), (2, 3, 1)).tofile(file)
        >>> flow, valid = read_flo(Path("right.flo"))
        >>> flow[0, 0].tolist(), bool(valid.all())
        ([-1.0, 0.0], True)

    Args:
        path: of the file.
        window: part of the frame; None reads all of it.
        size: H and W that it should have; None takes any.

    Returns:
        Flow float32 [h, w, 2] in pixels, 0 where it is unknown, and bool [h, w], False
        there.

    Raises:
        UserError: naming the file, if it is missing or its header, its length or its
            size is wrong.
    """
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        head = file.read(_FLO.size)
        if len(head) < _FLO.size or _FLO.unpack(head)[0] != _FLO_MAGIC:
            raise UserError(
                f"{path}: not a .flo file, as it does not begin with 202021.25"
            )
        _, width, height = _FLO.unpack(head)
        expected = _FLO.size + 8 * width * height
        if min(width, height) < 1 or path.stat().st_size != expected:
            raise UserError(
                f"{path}: has {path.stat().st_size} bytes, but its header says "
                f"{width}x{height}, which takes {expected}"
            )
        _check_size(path, (height, width), size)
        flow = np.memmap(file, "<f4", "r", _FLO.size, (height, width, 2))
        flow = np.array(window.of(flow) if window else flow, np.float32)
        valid = (np.abs(flow) <= _FLO_UNKNOWN).all(axis=-1)  # not where it is NaN
        return np.where(valid[..., None], flow, np.float32(0)), valid
    raise UserError(f"{path}: no such file")


def _check_size(path, found, wanted):
    if wanted and tuple(found) != tuple(wanted):
        raise UserError(
            f"{path}: is {found[1]}x{found[0]}, but its frames are "
            f"{wanted[1]}x{wanted[0]}"
        )


class FlowFiles(MotionSource):
    """Motion of a split stored in files.

    Examples:
        >>> frames = open_frames("pairs", "set", split="train")
        >>> folders = [
        ...     Path("set/train") / video.name / "flow" for video in frames.videos
        ... ]
        >>> flow, valid = FlowFiles("exact", frames.videos, folders).motion(0, 1)
        >>> flow.shape
        (48, 64, 2)
    """

    def __init__(
        self,
        name: str,
        videos: Sequence[VideoInfo],
        folders: Sequence[Path],
        stems: Sequence[Sequence[str]] | None = None,
    ):
        """Finds the file of each frame; the first frame of a video needs none.

        Args:
            name: of the source, for messages.
            videos: of the split.
            folders: with the files of each video.
            stems: names of the files of each video, without suffix; None takes them in
                natural order.

        Raises:
            UserError: naming a file or folder that is missing, or of another size.
        """
        self.name, self._videos = name, tuple(videos)
        stems = stems or [None] * len(self._videos)
        self._files = [
            _files(*each) for each in zip(self._videos, folders, stems, strict=True)
        ]
        for number, files in enumerate(self._files):
            if len(files) > 1:
                self._motion(number, 1, None)

    def _motion(self, video, frame, window):
        path, info = self._files[video][frame], self._videos[video]
        read = read_flo if path.suffix == ".flo" else read_npz
        return read(path, window, size=(info.height, info.width))


def _files(info, folder, stems):
    """A path for each frame of a video; None for the first where it has none."""
    if info.frames < 2:
        return [None] * info.frames
    if not folder.is_dir():
        what = "is a file; give a folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {what} with the motion of {info.name}")
    found = sorted(
        (p for p in folder.iterdir() if p.suffix in SUFFIXES),
        key=lambda path: natural_key(path.name),
    )
    if not found:
        raise UserError(f"{folder}: has no .npz or .flo files")
    if stems is None:
        if len(found) not in (info.frames - 1, info.frames):
            raise UserError(
                f"{folder}: has {len(found)} files, but {info.name} has {info.frames} "
                "frames; all but the first need one"
            )
        return [None] * (info.frames - len(found)) + found
    by_stem = {path.stem: path for path in found}
    if lone := sorted(by_stem.keys() - set(stems), key=natural_key):
        raise UserError(f"{by_stem[lone[0]]}: {info.name} has no frame of this name")
    missing = [stem for stem in stems[1:] if stem not in by_stem]
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{folder / missing[0]}.npz (or .flo): missing{more}")
    return [by_stem.get(stem) for stem in stems]
