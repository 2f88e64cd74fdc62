"""What a user can choose for a video, and the checks of these choices."""

import dataclasses
import os
from fractions import Fraction

from mtujax.common.text import nearest
from mtujax.config import DTYPES, MOTION_STRIDE, SCENE_THRESHOLD
from mtujax.deblur.comparison import VIEWS
from mtujax.errors import UsageError
from mtujax.video.codecs import CONTAINERS, check_settings
from mtujax.video.inputs import Kind

_LEAST_TILE = 16  # cells; smaller tiles would be nothing but overlap


@dataclasses.dataclass(frozen=True)
class Options:
    """The choices that decide what is written, as `deblur_video` takes them."""

    dtype: str | None = None
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
        if kind != "file":
            self._check_no_encoder(output)
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
        self.check_tile(MOTION_STRIDE)

    def _check_no_encoder(self, output):
        for name in ("codec", "crf", "preset", "pix_fmt"):
            if (value := getattr(self, name)) is not None:
                raise UsageError(
                    f"{name} {value}: {output} is no video file, and not encoded"
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
