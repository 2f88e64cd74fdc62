"""A video frame by frame in overlapping tiles, for frames that do not fit in memory.

The recurrent state stays that of the whole frame: each tile reads its part of it, runs
the network and writes its core of the next one. So beyond its core a tile knows what
its neighbours found in the previous frame, and the state can be passed on to other
tiles, or to none. `plan` decides which frames need it.

Letters: B batch, s side of a cell in pixels (`ModelConfig.cell`), h w motion grid, C
channels, p pixels of a tile.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtujax.common.text import readable
from mtujax.config import MOTION_STRIDE, ModelConfig
from mtujax.errors import UserError, out_of_memory
from mtujax.model.network import (
    MTUNet,
    RecurrentState,
    blur_options,
    initial_state,
    is_sound,
)
from mtujax.model.stream import Stream
from mtujax.ops.blur import window_blur
from mtujax.ops.motion_samples import LARGEST_MOTION, SPACING
from mtujax.ops.resampling import (
    finite,
    from_unit_range,
    pad_frames,
    padded_size,
    to_unit_range,
)

LEAST_CELLS = 2  # in an overlap
_RAMP = 16  # pixels over which one tile fades into the next
# Share of the free memory that may be used: a CPU's kernels take a sixth more than the
# compiler says, and allocators leave gaps.
_SHARE = 0.75
_FRAMES = 8  # whole frames in queues or being passed on, besides those in the window


def default_overlap(config: ModelConfig) -> int:
    """Overlap in pixels with which tiles are indistinguishable from whole frames."""
    # 144 for a search radius of 10 and 8 residual blocks without patches.
    # Each cell of a core must see all that it may be matched with: the search radius
    # and the 2 cells of the pooling window; and what blocks look at around those, in
    # effect a quarter of a cell per convolution. Of six clips restored with the bundled
    # mtu2 at most 6 uint8 values in a million differ from whole frames, by 1; without
    # the blocks' part 7000 do, by up to 6.
    reach = config.search_radius + 2
    if config.motion_samples:
        # Samples are found within the tile; their motion is that of the whole frame.
        farthest = (1 + SPACING * config.neighbour_samples) * LARGEST_MOTION
        reach = max(reach, math.ceil(farthest / config.cell))
    cells = reach + config.num_blocks // 2
    return 2 * config.cell * cells + max(_RAMP, config.cell)


def tilings(
    height: int, width: int, overlap: int, cell: int = MOTION_STRIDE
) -> Iterator[tuple[int, int]]:
    """Yields ever smaller tiles (rows, columns) in pixels, at most half overlap."""
    least = 2 * max(overlap, LEAST_CELLS * cell)
    sides = [_sides(n, overlap, least, cell) for n in padded_size(height, width, cell)]
    while True:
        longest = max((0, 1), key=lambda axis: (len(sides[axis]) > 1, sides[axis][0]))
        if len(sides[longest]) == 1:
            return
        sides[longest].pop(0)
        yield sides[0][0], sides[1][0]


def _sides(size, overlap, least, cell):
    """Sides of 1, 2, ... tiles along an axis, each a multiple of a cell."""
    found = [size]
    for count in itertools.count(2):
        shared = size + (count - 1) * overlap
        side = -(-shared // (count * cell)) * cell
        if side < least or side > found[-1]:
            return found
        if side < found[-1]:
            found.append(side)


class Part(NamedTuple):
    """A tile's place along one axis of the frame."""

    origin: np.ndarray  # int32 [], its first pixel, a multiple of s
    # [p] float32 in [0, 1], its share of each pixel of the restored frame
    weights: np.ndarray
    core: np.ndarray  # bool [p / s], which cells of the motion grid are its own


def parts(size: int, tile: int, overlap: int, cell=MOTION_STRIDE) -> list[Part]:
    """Divides an axis of `size` pixels into equal tiles, which overlap."""
    # `size` and `tile` are multiples of s; `overlap` is from 2 s to half a tile.
    # Weights sum to one at every pixel, and every cell is in one core.
    s, tile = cell, min(tile, size)
    overlap = min(-(-overlap // s) * s, tile // (2 * s) * s)
    # Cores touch in the middle of an overlap. There one tile fades into the next along
    # a straight ramp; what is nearer to a tile's border is discarded.
    stride = tile - overlap
    count = 1 if tile == size else -(-(size - tile) // stride) + 1
    origins = s * np.rint(np.linspace(0, (size - tile) / s, count)).astype(int)
    seams = (origins[1:] + origins[:-1] + tile) // (2 * s) * s
    lows, highs = [-np.inf, *seams], [*seams, np.inf]
    # Seams may be half a cell off the middle. A single tile has none.
    ramp = max(s, min(_RAMP, overlap - s))

    def risen(pixels, seam):
        return np.clip((pixels - seam) / ramp + 0.5, 0.0, 1.0)

    found = []
    for origin, low, high in zip(origins, lows, highs, strict=True):
        pixels, cells = origin + np.arange(tile), origin + np.arange(0, tile, s)
        weights = risen(pixels + 0.5, low) - risen(pixels + 0.5, high)
        core = (low <= cells) & (cells < high)
        found.append(Part(np.int32(origin), np.float32(weights), core))
    return found


class TiledStream(Stream):
    """`Stream` in the memory of one tile's features, plus two recurrent states.

    Looks the same: cores are further from their tile's border than motion is searched
    for, and neighbours fade into each other. Overlaps are computed more than once.

    Examples:
        >>> stream = TiledStream(model, params, tile=(24, 24))
        >>> frames = [out for frame in camera for out in stream.push(frame)]
        >>> len(frames + stream.flush())
        4

    Attributes:
        latency: number of frames by which the output lags behind the input.
    """

    def __init__(
        self,
        model: MTUNet,
        params: dict,
        tile: tuple[int, int],
        *,
        overlap: int | None = None,
    ):
        """Starts before the first frame of a video.

        Args:
            model: the network.
            params: its (inference) parameters.
            tile: (rows, columns) in pixels, multiples of s; a smaller frame is one
                tile of its own size.
            overlap: least number of pixels that neighbours share, in rows and in
                columns; at most half a tile is used. None takes `default_overlap`.

        Raises:
            ValueError: for a tile that is no multiple of s or smaller than 4 s, or an
                overlap of less than 2 s.
        """
        super().__init__(model, params)
        cell = model.config.cell
        least = LEAST_CELLS * cell
        if min(tile) < 2 * least or any(t % cell for t in tile):
            wanted = f"multiples of {cell}, at least {2 * least}"
            raise ValueError(f"tile {tile}: give (rows, columns), {wanted}")
        if overlap is None:
            overlap = default_overlap(model.config)
        if overlap < least:
            raise ValueError(f"overlap {overlap}: must be {least} or more")
        self._tile, self._overlap = tuple(tile), overlap

    def lowered(self, shape: tuple[int, ...], dtype) -> jax.stages.Lowered:
        """`Stream.lowered`, for one tile with all states; same `shape` and `dtype`."""
        state, window = self._abstract(shape, dtype)
        nothing = jax.eval_shape(lambda: _nothing(self._model, shape))
        place = self._layout(shape)[0]
        blur = jax.eval_shape(lambda window: _blur(self._model, window), window)
        network = self._model, self._params
        return _tile_step.lower(*network, state, window, blur, nothing, place)

    def lowered_ahead(
        self, shape: tuple[int, ...], dtype
    ) -> tuple[jax.stages.Lowered, ...]:
        """`Stream.lowered_ahead`: the whole frame's blur, if that is needed."""
        if not self._model.config.motion_samples:
            return ()
        _, window = self._abstract(shape, dtype)
        return (_blur.lower(self._model, window),)

    def _begin(self, kind):
        super()._begin(kind)
        self._places = jax.device_put(self._layout(kind.batched))

    def _layout(self, shape):
        cell = self._model.config.cell
        sides = zip(padded_size(*shape[1:3], cell), self._tile, strict=True)
        axes = [parts(size, tile, self._overlap, cell) for size, tile in sides]
        return list(itertools.product(*axes))

    def _run(self, window):
        shape, dtype = window[0].shape, window[0].dtype
        network, done = (self._model, self._params), _nothing(self._model, shape)
        blur = _blur(self._model, window)
        for place in self._places:
            done = _tile_step(*network, self._state, window, blur, done, place)
        self._state, *outputs = _close(done, shape, dtype)
        return outputs


class _Done(NamedTuple):
    """What a frame's tiles have written so far; `state.restored` is a running sum."""

    state: RecurrentState
    displacement: jax.Array | None


@functools.partial(jax.jit, static_argnums=(0, 1))
def _nothing(model, shape):
    state = initial_state(model, *shape[:3])
    cell = model.config.cell
    grid = [n // cell for n in padded_size(*shape[1:3], cell)]
    matched = bool(model.config.matching_units)
    displacement = jnp.zeros((shape[0], *grid, 2), jnp.int32) if matched else None
    return _Done(state, displacement)


@functools.partial(jax.jit, static_argnums=0)
def _blur(model, window):
    """The whole frame's blur, for samples; near its border a tile would miss motion."""
    cfg = model.config
    if not cfg.motion_samples:
        return None
    window = [to_unit_range(pad_frames(frame, cfg.cell)) for frame in window]
    window = finite(jnp.stack(window, axis=1))
    return window_blur(window, **blur_options(cfg))


# The state of the previous frame is not donated: the next tile reads it, too.
@functools.partial(jax.jit, static_argnums=0, donate_argnums=5)
def _tile_step(model, params, state, window, blur, done, place):
    """Adds one tile of a frame to the results so far."""
    (rows, columns), cell, patch = place, model.config.cell, model.config.patch
    window = [_cut(pad_frames(frame, cell), place) for frame in window]
    before = RecurrentState(
        motion=tuple(_cut(m, place, cell) for m in state.motion),
        detail=_cut(state.detail, place, patch),
        restored=_cut(state.restored, place),
        is_first=state.is_first,
    )
    window = to_unit_range(jnp.stack(window, axis=1))
    if blur is not None:
        motions = blur.motion, blur.to_neighbours
        own, sides = jax.tree.map(lambda x: _cut(x, place, patch), motions)
        blur = blur._replace(motion=own, to_neighbours=sides)
    after, outputs = model.apply({"params": params}, before, window, blur=blur)
    weights = rows.weights[:, None] * columns.weights[None, :]
    share = weights[None, :, :, None] * outputs["restored"]
    restored = _cut(done.state.restored, place) + share
    state = RecurrentState(
        motion=tuple(map(_with_core(place, cell), done.state.motion, after.motion)),
        detail=_with_core(place, patch)(done.state.detail, after.detail),
        restored=_put(done.state.restored, restored, place),
        is_first=after.is_first,
    )
    displacement = done.displacement
    if displacement is not None:
        displacement = _with_core(place, cell)(displacement, outputs["displacement"])
    return _Done(state, displacement)


def _start(place, scale):
    rows, columns = place
    return 0, rows.origin // scale, columns.origin // scale, 0


def _cut(array, place, scale=1):
    """A tile's part of [B, rows, columns, C], whose places are `scale` pixels wide."""
    rows, columns = (len(part.weights) // scale for part in place)
    size = array.shape[0], rows, columns, array.shape[-1]
    return lax.dynamic_slice(array, _start(place, scale), size)


def _put(array, tile, place, scale=1):
    return lax.dynamic_update_slice(array, tile, _start(place, scale))


def _with_core(place, scale):
    """Returns a function that writes a tile's core into the whole array."""
    core = place[0].core[:, None] & place[1].core[None, :]
    side = len(place[0].weights) // len(place[0].core) // scale
    core = einops.repeat(core, "h w -> 1 (h p) (w q) 1", p=side, q=side)

    def put(array, tile):
        kept = jnp.where(core, tile, _cut(array, place, scale))
        return _put(array, kept, place, scale)

    return put


@functools.partial(jax.jit, static_argnums=(1, 2), donate_argnums=0)
def _close(done, shape, dtype):
    """Ends a frame of `shape`: the state, the restored frame, the displacement."""
    restored = done.state.restored
    state = done.state.replace(
        restored=jnp.clip(restored, 0.0, 1.0), is_first=~is_sound(restored)
    )
    restored = from_unit_range(restored[:, : shape[1], : shape[2]], dtype)
    return state, restored, done.displacement


class CompiledMemory(NamedTuple):
    """Bytes of a compiled computation: `held` by arguments and results, `temporary`."""

    held: int
    temporary: int

    @property
    def total(self) -> int:
        """Both together, in bytes."""
        return self.held + self.temporary


def compiled_memory(compiled: jax.stages.Compiled) -> CompiledMemory | None:
    """Memory use by the compiler's own analysis, or None without one."""
    try:
        stats = compiled.memory_analysis()
        held = stats.argument_size_in_bytes + stats.output_size_in_bytes
        held -= stats.alias_size_in_bytes
        return CompiledMemory(held, stats.temp_size_in_bytes)
    except (AttributeError, NotImplementedError):
        return None


class Plan(NamedTuple):
    """How to restore frames of one size."""

    # (rows, columns) of a tile in pixels; None for whole frames
    tile: tuple[int, int] | None
    # bytes that should be free for whole frames, which would take three quarters of
    # them; None if unknown
    needed: int | None


def plan(
    model: MTUNet,
    params: dict,
    height: int,
    width: int,
    dtype,
    available: int | None,
) -> Plan:
    """Plans whole frames if they fit in the available bytes, else the largest tiles."""
    if available is None:  # unknown: every frame is taken to fit
        return Plan(None, None)
    shape = (1, height, width, 3)

    def need_of(stream):
        try:
            return _analysed(stream, shape, dtype)
        except Exception as error:
            if not out_of_memory(error):
                raise
            # A compiler that tries kernels out needs the memory at compile time.
            return CompiledMemory(0, 2 * available)

    whole = need_of(Stream(model, params))
    if whole is None or _free(whole) <= available:
        return Plan(None, whole and _free(whole))
    config = model.config
    tiles = list(tilings(height, width, default_overlap(config), config.cell))
    known, area = whole, height * width
    for tile in tiles:
        # Compiled only if it may fit: temporary memory grows with the area.
        guess = CompiledMemory(known.held, known.temporary * math.prod(tile) // area)
        if _free(guess) > available and tile != tiles[-1]:
            continue
        known, area = need_of(TiledStream(model, params, tile)), math.prod(tile)
        if known is None or _free(known) <= available:
            return Plan(tile, _free(whole))
    least = f" even in tiles of {tiles[-1][1]}x{tiles[-1][0]}" if tiles else ""
    wanted, there = readable(_free(known)), readable(available)
    raise UserError(
        f"frames of {width}x{height} need {wanted} of free memory{least}, and {there} "
        "are free: free some, or give smaller frames"
    )


def _free(need):
    """Bytes that should be free for a need."""
    return int(need.total / _SHARE)


def _analysed(stream, shape, dtype):
    """Memory that one step of a stream takes; None if the compiler does not say."""
    programs = stream.lowered(shape, dtype), *stream.lowered_ahead(shape, dtype)
    found = [compiled_memory(program.compile()) for program in programs]
    if None in found:
        return None
    frame = math.prod(shape) * jnp.dtype(dtype).itemsize
    temporary = max(part.temporary for part in found)
    return CompiledMemory(found[0].held + _FRAMES * frame, temporary)
