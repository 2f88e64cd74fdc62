"""What `mtujax data synthesize` is asked for: one class for each source.

Each writes a set and then has `notes`, sentences about what was not as asked.
"""

import dataclasses
import os
from pathlib import Path

from mtujax.data.averaging import QUICK, clips_of_video, video_rate
from mtujax.data.camera import Shake
from mtujax.data.exposure import Exposure
from mtujax.data.photos import read_cutouts, read_photos
from mtujax.data.synthesize import Filming, filmed, write_set
from mtujax.data.validation import FRAMES, recipe, validation_clips
from mtujax.errors import UsageError

_FASTEST = 200  # pixels per frame: beyond, clips have nothing in common


class FromPhotos:
    """Clips filmed of photographs.

    Attributes:
        notes: sentences for the user.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        size: tuple[int, int] = (640, 360),
        clips: int = 20,
        frames: int = 13,
        seed: int = 0,
        speed: tuple[float, float] = (2.0, 24.0),
        duty: tuple[float, float] = (0.3, 1.0),
        compressed: float = 0.3,
        cutouts: str | os.PathLike | None = None,
    ):
        """Reads the photographs.

        Args:
            folder: that holds them.
            size: (width, height) of the frames in pixels.
            clips: how many.
            frames: of each.
            seed: of all that is random.
            speed: range of the camera's motion in pixels per frame.
            duty: range of the exposure as a share of the frame interval.
            compressed: share of clips whose blurry side goes through H.264.
            cutouts: folder of PNG files with opacity, or None.

        Raises:
            UsageError: for a setting out of range.
            UserError: naming what cannot be read, or if all photographs are too small.
        """
        if not 0 < speed[0] <= speed[1] <= _FASTEST:
            raise UsageError(
                f"speed {speed[0]:g}:{speed[1]:g}: must be above 0, at most {_FASTEST}"
            )
        if not 0 < duty[0] <= duty[1] <= 1:
            raise UsageError(f"duty {duty[0]:g}:{duty[1]:g}: must be in (0, 1]")
        if not 0 <= compressed <= 1:
            raise UsageError(f"compressed {compressed:g}: must be in [0, 1]")
        width, height = size
        self._filming = Filming(
            clips=clips,
            frames=frames,
            width=width,
            height=height,
            seed=seed,
            shake=Shake(speed=speed),
            exposure=Exposure(duty=duty, compressed=compressed),
        )
        self._photos, small = read_photos(folder, width=width, height=height)
        self._cutouts, self.notes = read_cutouts(cutouts), []
        if small:
            self.notes.append(
                f"{len(small)} photographs are smaller than {width}x{height} and left "
                f"out: {', '.join(small[:5])}{' ...' if len(small) > 5 else ''}"
            )

    def write(self, output: str | os.PathLike, **options) -> int:
        """Writes the set.

        Args:
            output: its folder.
            **options: of `write_set`.

        Returns:
            Number of clips.

        Raises:
            UserError: if the folder exists.
        """
        about = {"from": sorted(self._photos), **dataclasses.asdict(self._filming)}
        total = self._filming.clips * self._filming.frames
        clips = filmed(self._photos, self._filming, self._cutouts)
        return write_set(clips, output, about=about, total=total, **options)


class FromVideo:
    """Clips averaged from a quick video.

    Attributes:
        notes: sentences for the user.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        average: int = 11,
        every: int | None = None,
        frames: int = 100,
    ):
        """Looks at the video.

        Args:
            path: of the file.
            average: frames of an exposure; odd.
            every: frames from one exposure to the next; None for no gap.
            frames: of a clip, at most.

        Raises:
            UserError: if it is no video.
        """
        self._path, self.notes = Path(path), []
        self._settings = dict(average=average, every=every, frames=frames)
        if (rate := video_rate(path)) < QUICK:
            self.notes.append(
                f"{path}: has {rate:g} frames per second, where 240 are usual: what "
                "moves quickly will show steps instead of blur"
            )

    def write(self, output: str | os.PathLike, *, flow: bool = False, **options) -> int:
        """Writes the set.

        Args:
            output: its folder.
            flow: must be False, as nobody knows the motion.
            **options: of `write_set`.

        Returns:
            Number of clips.

        Raises:
            UsageError: if motion is asked for, or for a number of frames out of range.
            UserError: if the folder exists, or no shot is long enough.
        """
        if flow:
            raise UsageError(
                "--flow: the motion in a video is not known; `mtujax data flow pairs "
                f"{output}` estimates it"
            )
        clips = clips_of_video(self._path, **self._settings)
        about = {"from": [self._path.name], **self._settings}
        return write_set(clips, output, about=about, **options)


class Validation:
    """The fixed validation set.

    Attributes:
        notes: sentences for the user.
    """

    def __init__(self, folder: str | os.PathLike):
        """Makes nothing yet.

        Args:
            folder: with the seven photographs.
        """
        self._folder, self.notes = folder, []

    def write(self, output: str | os.PathLike, **options) -> int:
        """Writes the set.

        Args:
            output: its folder.
            **options: of `write_set`.

        Returns:
            Number of clips.

        Raises:
            UserError: for photographs that are not those, or if the folder exists.
        """
        total = FRAMES * len(recipe()[0])
        about = {"from": "the validation set"}
        return write_set(self._clips(), output, about=about, total=total, **options)

    def _clips(self):
        for made in validation_clips(self._folder):
            if made.note:
                self.notes.append(made.note)
            yield made.entry.name, made.clip
