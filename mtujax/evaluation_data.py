"""What an evaluation reads: a dataset's frames, or results in their place.

Letters: B lanes, H W pixels.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mtujax.data.cache import is_cache
from mtujax.data.clips import open_frames
from mtujax.data.flowfiles import SUFFIXES, FlowFiles
from mtujax.data.folders import find
from mtujax.data.layouts import config_of, dataset
from mtujax.data.motion import ComputedMotion, dis_flow
from mtujax.data.sources import FolderFrames, FrameSource
from mtujax.errors import UserError
from mtujax.evaluation_frames import ResultFrames, fingerprint
from mtujax.lanes import Moment, window_ends


class Videos:
    """The videos of a split and what their frames are called.

    Attributes:
        source: of their frames.
        dataset: name.
        path: its folder.
        split: part of it.
        variant: its kind of blur, None for a dataset that has only one.
        stems: for each video, its frames' file names without suffix; None where they
            are not kept as files.
    """

    def __init__(
        self, name: str, path: str | Path, *, split: str, variant: str | None = None
    ):
        """Lists the videos.

        Args:
            name: of the dataset.
            path: its folder, unpacked or prepared.
            split: part of it.
            variant: its kind of blur; None takes the default.

        Raises:
            UserError: if nothing usable is there, or a frame has no partner.
        """
        self.source = open_frames(name, path, split=split, config=variant)
        self.dataset, self.path, self.split = name, Path(path), split
        self.variant = config_of(dataset(name), variant)
        self.stems: list[list[str] | None] = [None] * len(self.source.videos)
        self._folders = ()
        if isinstance(self.source, FolderFrames):
            self._folders = find(name, path, variant).splits[split]
            self.stems = [[Path(p[0]).stem for p in v.pairs] for v in self._folders]
        if not sum(video.frames for video in self.source.videos):
            raise UserError(f"{self.source.name}: split {split} has no frames")

    def frame_name(self, video: int, frame: int) -> str:
        """What a frame is called: as its file, else its number with five digits."""
        stems = self.stems[video]
        return f"{frame:05d}" if stems is None else stems[frame]

    def exact_motion(self) -> dict[int, FlowFiles]:
        """Motion that lies beside frames, as `mtujax data synthesize --flow` writes it.

        What `mtujax data flow` estimates lies elsewhere and is none of it.

        Returns:
            For the number of each video that has some, its motion as of a split of
            one video.

        Raises:
            UserError: if it is not that of these frames.
        """
        found = {}
        for number, video in enumerate(self._folders):
            folder = _flow_beside(video)
            if folder.is_dir() and any(p.suffix in SUFFIXES for p in folder.iterdir()):
                info = self.source.videos[number]
                names = [[Path(sharp).stem for _, sharp in video.pairs]]
                found[number] = FlowFiles(str(folder), [info], [folder], names)
        return found

    def fingerprint(self, *, motion: bool = False) -> str:
        """Tells whether a file of the frames was changed, added or removed since.

        Args:
            motion: whether what lies beside frames in `flow` matters as well.

        Returns:
            A sha256, hexadecimal.
        """
        return fingerprint(self._files(motion))

    def _files(self, motion):
        for video in self._folders:
            for frame in range(len(video.pairs)):
                for kind, path in zip("bs", video.paths(frame), strict=True):
                    yield f"{video.name}/{kind}/{path.name}", path
            folder = _flow_beside(video)
            if motion and folder.is_dir():
                for path in sorted(folder.iterdir()):
                    yield f"{video.name}/flow/{path.name}", path
        if self._folders:
            return
        # Prepared: a few large files; what is beside them may be of another form.
        own = Path(*filter(None, [self.path, self.dataset, self.variant]))
        place = self.path if is_cache(self.path) else own
        for path in sorted(place.rglob("*")):
            name = path.relative_to(place)
            if path.is_file() and name.parts[0] != "flow":
                yield name.as_posix(), path


def _flow_beside(video):
    """VIDEO/flow, or flow/VIDEO where the videos are in folders of one kind (REDS)."""
    common = Path(os.path.commonpath([video.blurry, video.sharp]))
    return common / "flow" / ("" if common.name == video.name else video.name)


class LaneReader:
    """Reads what every lane needs in one step; safe in threads."""

    def __init__(
        self,
        source: FrameSource,
        group: Sequence[int],
        *,
        reach: tuple[int, int],
        results: ResultFrames | None = None,
        flow: bool = False,
        exact: Mapping[int, FlowFiles] | None = None,
    ):
        """Reads nothing yet.

        Args:
            source: of the dataset's frames.
            group: numbers of the videos that are read, all of one size.
            reach: frames of a window before and after its target.
            results: what comes in in place of blurry frames.
            flow: also estimate the motion between sharp frames, which takes long.
            exact: motion that is known, from `Videos.exact_motion`; None leaves it out.
        """
        self._source, self._results, self._reach = source, results, reach
        self.lengths = {video: source.videos[video].frames for video in group}
        info = source.videos[group[0]]
        self._size = info.height, info.width
        deep = results is not None and results.deep[group[0]]
        self._dtype = np.float32 if deep else np.uint8
        self._motion = ComputedMotion(source, dis_flow) if flow else None
        self._exact = exact

    def __call__(self, moment: Moment) -> tuple[Moment, dict[str, np.ndarray]]:
        """Reads the frames of a moment.

        Args:
            moment: which.

        Returns:
            The moment, and what `lane_steps.lane_step` is given; zeros in idle lanes.

        Raises:
            UserError: naming what cannot be read.
        """
        lanes, (back, ahead) = len(moment.targets), self._reach
        low, high = window_ends(
            moment.targets, self.lengths, lookback=back, lookahead=ahead
        )
        given = {
            "fresh": np.zeros((lanes, *self._size, 3), self._dtype),
            "sharp": np.zeros((lanes, *self._size, 3), np.uint8),
            "low": low,
            "high": high,
            "start": np.array([t is None or t.frame == 0 for t in moment.targets]),
        }
        if self._motion:
            given["flow"] = np.zeros((lanes, *self._size, 2), np.float32)
            given["seen"] = np.zeros((lanes, *self._size), bool)
        if self._exact is not None:
            given["exact"] = np.zeros((lanes, *self._size, 2), np.float32)
            given["known"] = np.zeros((lanes, *self._size), bool)
        for lane, (target, fresh) in enumerate(zip(*moment, strict=True)):
            self._fill(given, lane, target, fresh)
        return moment, given

    def _fill(self, given, lane, target, fresh):
        if fresh is not None:
            given["fresh"][lane] = self._fresh(fresh)
        if target is None:
            return
        frames = {"sharp": [target.frame]}
        given["sharp"][lane] = self._source.read(target.video, frames)["sharp"][0]
        if self._motion:
            flow, seen = self._motion.motion(target.video, target.frame)
            given["flow"][lane], given["seen"][lane] = flow, seen
        if self._exact and (files := self._exact.get(target.video)):
            flow, known = files.motion(0, target.frame)
            given["exact"][lane], given["known"][lane] = flow, known

    def _fresh(self, place):
        if self._results is not None:
            return self._results.read(place.video, place.frame)
        return self._source.read(place.video, {"blurry": [place.frame]})["blurry"][0]
