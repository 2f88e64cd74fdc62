"""Training clips that are made from photographs whenever they are drawn.

Letters: T target frames of a clip, h w of a crop.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtujax.data.clips import ClipSpec, Sample, Samples, too_small
from mtujax.errors import UserError
from mtujax.synthesis.host.clip import synthesize
from mtujax.synthesis.photos import photographs, read_cutout, scaled_down
from mtujax.synthesis.settings import BlurSettings
from mtujax.video.image_files import read_image


class PhotoSamples(Samples):
    """Clips made from photographs when they are drawn: every one is new.

    Attributes:
        name: description for messages.
        spec: how clips are cut.
        note: None, as a photograph gives clips of any length.
    """

    note = None

    def __init__(
        self,
        photos: Sequence[str | os.PathLike],
        spec: ClipSpec | None = None,
        *,
        blur: BlurSettings | None = None,
        cutouts: Sequence[str | os.PathLike] = (),
        max_side: int | None = None,
    ):
        """Reads the photographs.

        Args:
            photos: PNG or JPEG files.
            spec: how clips are cut; None takes the defaults of `ClipSpec`.
            blur: motion, objects and exposure; None takes the defaults of
                `BlurSettings`, without objects.
            cutouts: PNG files with an alpha channel that the objects look like; if
                empty, objects are pieces of the photographs.
            max_side: pixels of the longer side to which larger photographs are scaled
                down; None keeps their sizes.

        Raises:
            UserError: naming a file that cannot be read, or if there is no photograph.
        """
        if not photos:
            raise UserError("no photographs are given, so there is nothing to draw")
        self.name, self.spec = photographs(len(photos)), spec or ClipSpec()
        self._photos, self._cutouts = ([Path(p) for p in f] for f in (photos, cutouts))
        self._blur, self._max_side = blur, max_side
        self._read()

    def _read(self):
        images = map(read_image, self._photos)
        self._images = [scaled_down(image, self._max_side) for image in images]
        self._shapes = list(map(read_cutout, self._cutouts))

    def __getstate__(self):
        """Leaves out the pixels."""
        return {**self.__dict__, "_images": None, "_shapes": None}

    def __setstate__(self, state):
        """Reads the photographs again."""
        self.__dict__.update(state)
        self._read()

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self._images)

    def check(self, height: int, width: int) -> None:
        """Checks that every photograph is as large as a crop.

        Args:
            height: h of the crop in pixels.
            width: w of the crop in pixels.

        Raises:
            UserError: naming the first photograph that is too small.
        """
        for path, image in zip(self._photos, self._images, strict=True):
            if image.shape[0] < height or image.shape[1] < width:
                raise too_small(path, *image.shape[:2], height, width)

    def describe(self, index: int) -> str:
        """Names a photograph, for messages.

        Args:
            index: number of the photograph.

        Returns:
            The name of its file.
        """
        return self._photos[index].name

    def draw(
        self, index: int, rng: np.random.Generator, height: int, width: int
    ) -> Sample:
        """Makes a new clip from a photograph.

        Args:
            index: number of the photograph.
            rng: source of randomness.
            height: h of the crop in pixels.
            width: w of the crop in pixels.

        Returns:
            A `Sample`: blurry frames with their look-back and look-ahead, [T, h, w, 3]
            uint8 sharp frames, and the exact backward flow of these in pixels with its
            mask, which is False in the first frame.
        """
        before = self.spec.lookback if self.spec.use_preceding_frames else 0
        frames = before + self.spec.frames + self.spec.lookahead
        size = dict(frames=frames, height=height, width=width)
        clip = synthesize(
            self._images[index], rng, **size, blur=self._blur, cutouts=self._shapes
        )
        positions = self.spec.positions(before, frames)
        targets = slice(before, before + self.spec.frames)
        flow, valid = clip.flow[targets].copy(), clip.valid[targets].copy()
        flow[0], valid[0] = 0, False
        return Sample(
            clip.blurry[positions], clip.sharp[targets], positions, flow, valid
        )
