"""Clips for training: T consecutive frames and what the network sees around them.

Letters: T target frames of a clip, L = lookback + T + lookahead frames of its blurry
side, H W pixels of a frame, h w of a window.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np

from mtujax.data.cache import CachedFrames, is_cache
from mtujax.data.layouts import config_of, dataset
from mtujax.data.records import RecordFrames
from mtujax.data.sources import FolderFrames, FrameSource, Window
from mtujax.errors import UsageError, UserError


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """How clips are cut out of videos.

    Attributes:
        frames: T; the release trains on 13.
        lookback: blurry frames given before the first target.
        lookahead: blurry frames given after the last one.
        stride: frames from the beginning of one clip to that of the next.
        see_before: look back into the video before the clip. The release repeats the
            clip's first frame, as for a video that begins there.
    """

    frames: int = 13
    lookback: int = 2
    lookahead: int = 2
    stride: int = 1
    see_before: bool = False

    def __post_init__(self):
        """Refuses what no clip can be.

        Raises:
            UsageError: naming the field.
        """
        for name, least in {"frames": 1, "stride": 1, "lookback": 0}.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}: at least {least}")
        if self.lookahead < 0:
            raise UsageError(f"lookahead {self.lookahead}: at least 0")

    def positions(self, start: int, length: int) -> np.ndarray:
        """Where the blurry frames of a clip lie in its video.

        Args:
            start: position of the first target.
            length: frames of the video.

        Returns:
            int32 [L], clamped at the end of the video and, at the other side, at the
            clip's first frame or the video's.
        """
        wanted = np.arange(start - self.lookback, start + self.frames + self.lookahead)
        first = 0 if self.see_before else start
        return np.clip(wanted, first, length - 1).astype(np.int32)


class Clips:
    """The clips of a split, by number; a source for Grain, picklable.

    Attributes:
        source: where frames come from.
        spec: how they are cut.
        short: videos with fewer than T frames, which give no clip.
    """

    def __init__(self, source: FrameSource, spec: ClipSpec | None = None):
        """Counts the clips.

        Args:
            source: frames of one split.
            spec: how they are cut; None takes the release's.

        Raises:
            UserError: if no video is long enough.
        """
        self.source, self.spec = source, spec or ClipSpec()
        least = self.spec.frames
        self.short = tuple(v for v in source.videos if v.frames < least)
        room = [v.frames - least for v in source.videos]
        counts = [r // self.spec.stride + 1 if r >= 0 else 0 for r in room]
        self._ends = np.cumsum(counts)
        if not sum(counts):
            longest = max((v.frames for v in source.videos), default=0)
            raise UserError(
                f"{source.name}: no clip of {least} frames, as the longest video has "
                f"{longest}; ask for shorter clips (data.frames of a run)"
            )

    @property
    def note(self) -> str | None:
        """A sentence about the videos that are too short, or None."""
        if not self.short:
            return None
        names = ", ".join(f"{v.name} ({v.frames})" for v in self.short[:5])
        more = f" and {len(self.short) - 5} more" if len(self.short) > 5 else ""
        return (
            f"{len(self.short)} of {len(self.source.videos)} videos are shorter than "
            f"{self.spec.frames} frames and give no clip: {names}{more}"
        )

    def __len__(self) -> int:
        """Number of clips."""
        return int(self._ends[-1])

    def place(self, index: int) -> tuple[int, int]:
        """Where a clip lies.

        Args:
            index: number of the clip.

        Returns:
            Position of its video in `source.videos`, and of its first target in that.

        Raises:
            IndexError: if there is no such clip.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        video = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[video - 1]) if video else 0
        return video, (int(index) - before) * self.spec.stride

    def size(self, index: int) -> tuple[int, int]:
        """Rows H and columns W of a clip's frames, without reading them.

        Args:
            index: number of the clip.

        Returns:
            H and W.
        """
        info = self.source.videos[self.place(index)[0]]
        return info.height, info.width

    def read(
        self, index: int, *, window: Window | None = None
    ) -> dict[str, np.ndarray]:
        """One clip.

        Args:
            index: number of the clip.
            window: part of every frame; None gives all of it. Of a decoded copy, only
                this is read.

        Returns:
            "blurry": uint8 [L, h, w, 3]; "sharp": uint8 [T, h, w, 3]; "positions":
            int32 [L] of the blurry frames in the video; "video": int32 [].

        Raises:
            IndexError: if there is no such clip.
            UserError: naming a frame that cannot be read.
        """
        video, start = self.place(index)
        positions = self.spec.positions(start, self.source.videos[video].frames)
        targets = range(start, start + self.spec.frames)
        wanted = {"blurry": positions, "sharp": targets}
        read = self.source.read(video, wanted, window=window)
        return {**read, "positions": positions, "video": np.int32(video)}

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """One clip of whole frames, as `read`."""
        return self.read(int(index))


def open_frames(
    name: str,
    path: str | os.PathLike,
    *,
    split: str,
    config: str | None = None,
    threads: int | None = None,
) -> FrameSource:
    """Frames of a split, in whichever form they are there.

    Args:
        name: of the dataset.
        path: its folder as unpacked, or the one that `data prepare` wrote to, where a
            decoded copy is preferred to records.
        split: which part of it.
        config: its form; None takes the default.
        threads: that decode at once; None takes one for each core.

    Returns:
        The frames.

    Raises:
        UserError: if nothing usable is there, or it has no such split.
        UsageError: for an unknown name or config.
    """
    path = Path(path)
    config = config_of(dataset(name), config)
    label = "/".join(filter(None, (name, config)))
    for folder in (path, path / label / "raw"):
        if is_cache(folder):
            return CachedFrames(folder, split=split, label=label)
    options = {"split": split, "config": config, "threads": threads}
    if any((path / label).glob("*/dataset_info.json")):
        return RecordFrames(name, path, **options)
    return FolderFrames(name, path, **options)
