"""Sizes and switches of the network, as frozen dataclasses.

`PUBLISHED` are the five networks the authors released, `PAPER_TEXT` is the network as
the paper's text describes it. Reference: Son et al. 2022, Sec. 3; sizes from the
released models.
"""

import dataclasses
from typing import Literal

DTYPES = ("float32", "bfloat16", "float16")
ACTIVATIONS = ("relu", "leaky")
MOTION_STRIDE = 4  # the motion grid is a quarter of the features' (Sec. 3.4)
LARGEST_PATCH = 8  # a search radius of 10 cells is then 320 pixels, a cell 32
EXPOSURE_FREQUENCIES = 12  # of the blur's spectrum (`ops.blur`)
LEAKY_SLOPE = 0.1  # below zero, of the activation "leaky"
_RANGES = {  # so wide that only damaged files and slips are outside
    "num_units": (1, 64),
    "channels": (1, 1024),
    "num_blocks": (0, 64),
    "search_radius": (0, 256),
    "lookback": (1, 16),
    "patch": (1, LARGEST_PATCH),
    "first_kernel": (1, 31),
    "motion_samples": (0, 64),
    "neighbour_samples": (0, 16),
}
_CHOICES = {
    "activation": (ACTIVATIONS, f"one of {ACTIVATIONS}"),
    "lookahead": ((0, 1, 2), "0, 1 or 2"),
    "dtype": (DTYPES, f"one of {DTYPES}"),
    "initial_features": (("own", "zero"), "'own' or 'zero'"),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the network's layers; hashable, so it can key a jit cache.

    Examples:
        >>> config = ModelConfig(num_units=1, lookahead=0)
        >>> config.window  # blurry frames that it reads: two past ones and the current
        3

    Attributes:
        num_units: stacked multi-task units, N >= 1.
        channels: C of the detail and structure features (26; MTU10_L has 48).
        num_blocks: residual blocks in each detail network (8; MTU10_L has 6).
        matching_units: 0-based units that match features, ascending. Units in between
            use the displacement of the last one that did.
        search_radius: largest displacement in cells of the motion grid (10).
        lookback: past blurry frames the network reads besides the current one, >= 1.
        lookahead: future blurry frames it reads (0, 1 or 2); also the latency.
        residual_learning: the output is added to the blurry frame (Table 1).
        motion_compensation: previous features are aligned before use (Tables 1, 2);
            if off, they are concatenated unaligned and no unit matches.
        structure_injection: the motion layer reads structure + detail features, not
            detail features alone (Table 2).
        motion_layer: features pass a stride-4 convolution before matching; else their
            4x4 averages are matched directly (the ablations without injection, 4.3.1).
        patch: side p in pixels of the squares that become one place (space-to-depth):
            the layers run on a grid of H / p x W / p, and the output of the last one
            is rearranged to pixels. 1 in the published networks, at most
            `LARGEST_PATCH`.
        activation: after every layer but the last: "relu" as published, or "leaky",
            whose slope of `LEAKY_SLOPE` below zero keeps gradients alive.
        first_kernel: side of the kernel of each unit's first layer, odd; 5 in the
            published networks.
        motion_samples: number of samples of the frame on either side of each pixel,
            along its motion. They are a further input, and the deblur layers also
            weight them (`ops.motion_samples`). 0 in the published networks.
        neighbour_samples: number of samples of the previous and, with lookahead, of
            the next frame on either side of where the motion to each leads, which is
            then found for each by itself; they are weighted as those of the frame
            (`ops.motion_samples`). Needs motion_samples. 0 in the published networks.
        exposure_spectrum: the first layer also reads the spectrum of the whole frame's
            blur along its motion, which shows the exposure, and the deblur layers have
            a weight for each sample that depends on it alone (`ops.blur`).
        blend_previous: the previous restored frame, moved along the motion, is a
            further input, and the deblur layers give each pixel a share of it that is
            mixed in where both agree (`ops.motion_samples`). Needs motion_samples.
        last_unit_reads_warped: the last deblur layer reads [detail, warped] (paper),
            not detail alone (release).
        initial_features: previous features on a video's first frame: the frame's
            "own" (release) or "zero" (paper, Sec. 4.1).
        dtype: compute precision; parameters stay float32, and the displacement is
            always determined in float32.
    """

    num_units: int = 2
    channels: int = 26
    num_blocks: int = 8
    matching_units: tuple[int, ...] = (0,)
    search_radius: int = 10
    lookback: int = 2
    lookahead: int = 2
    residual_learning: bool = True
    motion_compensation: bool = True
    structure_injection: bool = True
    motion_layer: bool = True
    patch: int = 1
    activation: Literal["relu", "leaky"] = "relu"
    first_kernel: int = 5
    motion_samples: int = 0
    neighbour_samples: int = 0
    exposure_spectrum: bool = False
    blend_previous: bool = False
    last_unit_reads_warped: bool = False
    initial_features: Literal["own", "zero"] = "own"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self):
        """Raises ValueError for settings out of range or in contradiction."""
        units = tuple(self.matching_units) if self.motion_compensation else ()
        object.__setattr__(self, "matching_units", units)
        odd = self.first_kernel >= 1 and self.first_kernel % 2 == 1
        _require(odd, "first_kernel", self.first_kernel, "odd, and >= 1")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            _require(value >= low, name, value, f">= {low}")
            _require(value <= high, name, value, f"<= {high}")
        for name, (choices, rule) in _CHOICES.items():
            value = getattr(self, name)
            _require(value in choices, name, value, rule)
        for name in ("neighbour_samples", "exposure_spectrum", "blend_previous"):
            wanted = getattr(self, name)
            fits = not wanted or self.motion_samples > 0
            _require(fits, name, wanted, f"{type(wanted)()} without motion_samples")
        if not self.motion_compensation:
            return
        ascending = list(units) == sorted(set(units))
        _require(
            bool(units) and units[0] == 0 and ascending and units[-1] < self.num_units,
            "matching_units",
            units,
            f"ascending, start at 0 and stay below num_units={self.num_units}",
        )

    @property
    def filter_taps(self) -> int:
        """Samples along the motion that the deblur layers weight for each pixel."""
        return sum(self.taps_of_frames)

    @property
    def taps_of_frames(self) -> tuple[int, int, int]:
        """The samples of the frame itself, of the previous one and of the next one."""
        around = 2 * self.neighbour_samples + 1 if self.neighbour_samples else 0
        return 2 * self.motion_samples, around, around if self.lookahead else 0

    @property
    def blend_shares(self) -> int:
        """Shares of the previous frame that the deblur layers give, a pixel each."""
        return self.patch**2 if self.blend_previous else 0

    @property
    def window(self) -> int:
        """Number of blurry frames that the network reads at once."""
        return self.lookback + 1 + self.lookahead

    @property
    def cell(self) -> int:
        """Side in pixels of a motion-grid cell; frames are padded to whole cells."""
        return MOTION_STRIDE * self.patch


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value!r}: must be {rule}")


PUBLISHED: dict[str, ModelConfig] = {
    "mtu1": ModelConfig(num_units=1),
    "mtu2": ModelConfig(num_units=2),
    "mtu4": ModelConfig(num_units=4),
    "mtu10": ModelConfig(num_units=10),
    "mtu10_l": ModelConfig(num_units=10, channels=48, num_blocks=6),
}
"""The networks that the authors released."""


_FAST = ModelConfig(
    num_units=1,
    channels=32,
    patch=2,
    activation="leaky",
    first_kernel=3,
    motion_samples=8,
    neighbour_samples=2,
    exposure_spectrum=True,
    blend_previous=True,
    last_unit_reads_warped=True,
)


PRESETS: dict[str, ModelConfig] = PUBLISHED | {
    "fast": _FAST,
    "fast_live": dataclasses.replace(_FAST, lookback=1, lookahead=0),
}
"""The released networks and two of our own, for files and (causal) for live video.

Examples:
    >>> PRESETS["mtu10_l"].channels
    48
"""


DEFAULT_WEIGHTS, LIVE_WEIGHTS = "fast", "fast_live"
"""Default bundled weights, for files and for live video."""


SCENE_THRESHOLD = 0.4
"""Difference of neighbouring frames, in [0, 1], above which a scene cut is seen."""


PAPER_TEXT = ModelConfig(
    lookback=1,
    lookahead=0,
    last_unit_reads_warped=True,
    initial_features="zero",
)
"""MTU2 as the paper's text describes it (Sec. 3.2-4.1): causal, no look-ahead.

Examples:
    >>> PAPER_TEXT.lookahead
    0
"""
