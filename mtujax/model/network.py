"""`MTUNet`: multi-task units stacked into the network for one frame (Sec. 3.2, Fig. 3).

Everything that one frame passes to the next is in `RecurrentState`. Letters: B batch,
H W pixels, H' W' the same rounded up to multiples of 4p, p side of a patch, h w motion
grid (H' / 4p, W' / 4p), C channels, N units, M matching units, D displacements.
"""

import functools
import math

import chex
import flax.linen as nn
import flax.struct
import flax.traverse_util
import jax
import jax.numpy as jnp

from mtujax.config import ModelConfig
from mtujax.model.unit import (
    Conv,
    MotionSamples,
    MultiTaskUnit,
    Pointwise,
    Previous,
    kernel_init,
)
from mtujax.ops.blur import Blur, window_blur
from mtujax.ops.motion_samples import steered_samples
from mtujax.ops.resampling import (
    finite,
    pad_frames,
    padded_size,
    space_to_depth,
    to_unit_range,
)

OVERFLOWN = 1e4  # no picture in [0, 1] becomes so bright; float16 ends at 65504


@flax.struct.dataclass
class RecurrentState:
    """What a frame passes to the next one.

    Examples:
        >>> state = initial_state(model, batch=1, height=24, width=32)
        >>> state.restored.shape, bool(state.is_first[0])
        ((1, 24, 32, 3), True)

    Attributes:
        motion: per matching unit, its motion features [B, h, w, 2C], or [B, h, w, C]
            without a motion layer.
        detail: detail features of the last unit [B, H' / p, W' / p, C].
        restored: restored frame [B, H', W', 3] float32; in [0, 1] except in training.
        is_first: bool [B]; True where the next frame starts a video, so that nothing
            else here is read.
    """

    motion: tuple[jax.Array, ...]
    detail: jax.Array
    restored: jax.Array
    is_first: jax.Array

    def as_arrays(self) -> dict[str, jax.Array]:
        """Names each array, `motion_0` and so on, for files and for other runtimes.

        Returns:
            The arrays by name, motion_N [B, h, w, 2C] and the others as above;
            `of_arrays` undoes it.
        """
        motion = {f"motion_{n}": x for n, x in enumerate(self.motion)}
        rest = {k: getattr(self, k) for k in ("detail", "restored", "is_first")}
        return motion | rest

    @classmethod
    def of_arrays(cls, arrays: dict[str, jax.Array]) -> "RecurrentState":
        """The state whose arrays `as_arrays` has named."""
        rest = dict(arrays)
        count = sum(name.startswith("motion_") for name in arrays)
        motion = tuple(rest.pop(f"motion_{n}") for n in range(count))
        return cls(motion=motion, **rest)


class MTUNet(nn.Module):
    """The whole network, applied to one frame.

    `model.apply({"params": params}, state, window)` -> `(state, outputs)`.

    Examples:
        >>> window = clip[:, : model.config.window]
        >>> state = initial_state(model, *window.shape[:1], *window.shape[2:4])
        >>> state, outputs = model.apply({"params": params}, state, window)
        >>> outputs["restored"].shape
        (1, 24, 32, 3)

    Attributes:
        config: sizes and switches.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        state: RecurrentState,
        window: jax.Array,
        train: bool = False,
        blur: Blur | None = None,
    ) -> tuple[RecurrentState, dict[str, jax.Array]]:
        """Restores the current frame of `window`.

        Args:
            state: of the previous frame, or `initial_state`.
            window: [B, lookback + 1 + lookahead, H, W, 3] blurry frames in [0, 1],
                oldest first; any H and W.
            train: also compute what only the losses read, and feed the frame back
                without clamping it to [0, 1].
            blur: motion [B, H' / p, W' / p, 2] along which samples are taken, and
                spectrum, if they are known better than from `window`; None finds them.

        Returns:
            The next state, which starts a video where the restored frame has
            overflown (unless `train`), and a dict: `restored` [B, H, W, 3] (not
            clamped) and, with motion compensation, `displacement` [B, h, w, 2] int32
            (dx, dy) in grid cells of the last matching unit. With `train` also
            `intermediate` [B, N - 1, H, W, 3], the restored frames of the earlier
            units, and `cost_volume` [B, M, h, w, D].

        Raises:
            ValueError: if the window's length is not the configured one.
        """
        cfg = self.config
        chex.assert_rank(window, 5)
        if window.shape[1] != cfg.window:
            raise ValueError(
                f"window of {window.shape[1]} frames: this network reads {cfg.window} "
                f"({cfg.lookback} past, the current, {cfg.lookahead} future)"
            )
        height, width = window.shape[2:4]
        window = pad_frames(window if train else finite(window), cfg.cell)
        blurry = window[:, cfg.lookback]
        first = state.is_first.reshape(-1, 1, 1, 1)
        restored = jnp.where(first, window[:, cfg.lookback - 1], state.restored)
        samples, steered = self._steered(window, blur, restored)
        structure, x = self._input_features(window, restored, steered)
        units, displacement = [], None
        for i in range(cfg.num_units):
            matched = i in cfg.matching_units
            motion = state.motion[cfg.matching_units.index(i)] if matched else None
            previous = Previous(motion, state.detail, state.is_first)
            unit = MultiTaskUnit(cfg, i, name=f"unit_{i}")(
                x, structure, blurry, previous, displacement, train, samples
            )
            x, displacement = unit.features, unit.displacement
            units.append(unit)
        return _next_state(state, units, train), _outputs(units, height, width, train)

    def _steered(self, window, blur, restored):
        """What is seen along the motion, and its features or None."""
        cfg = self.config
        if not cfg.motion_samples:
            return MotionSamples(), None
        if blur is None:
            blur = window_blur(window, **blur_options(cfg))
        previous = restored if cfg.blend_previous else None
        along, features, moved = steered_samples(
            window,
            blur.motion,
            previous,
            blur.to_neighbours,
            lookback=cfg.lookback,
            samples=cfg.motion_samples,
            patch=cfg.patch,
            neighbour_samples=cfg.neighbour_samples,
        )
        if not cfg.exposure_spectrum:
            return MotionSamples(along, None, moved), features
        features = *features, blur.spectrum[:, None, None]
        return MotionSamples(along, blur.spectrum, moved), features

    def _input_features(self, window, restored, steered):
        """Structure features [B, H' / p, W' / p, C], the first unit's input with 2C."""
        cfg = self.config
        past = [window[:, k] for k in range(cfg.lookback)]
        future = [window[:, cfg.lookback + 1 + k] for k in range(cfg.lookahead)]
        temporal = jnp.concatenate([*past, restored, *future], axis=-1)
        layer = functools.partial(
            Conv, cfg.channels, activation=cfg.activation, dtype=cfg.dtype
        )
        structure = layer(name="structure")(
            space_to_depth(window[:, cfg.lookback], cfg.patch)
        )
        if steered is not None:  # a patch's own: its samples lie around it already
            steered = Pointwise(cfg.channels, dtype=cfg.dtype, name="steered")(*steered)
        temporal = layer(name="temporal")(space_to_depth(temporal, cfg.patch), steered)
        return structure, jnp.concatenate([structure, temporal], axis=-1)


def blur_options(config: ModelConfig) -> dict[str, int | bool]:
    """What a network needs to know of the blur: the arguments of `window_blur`."""
    return {
        "lookback": config.lookback,
        "patch": config.patch,
        "with_spectrum": config.exposure_spectrum,
        "with_neighbours": config.neighbour_samples > 0,
    }


def _next_state(state, units, train):
    restored = units[-1].image
    kept = jnp.ones_like(state.is_first) if train else is_sound(restored)
    return RecurrentState(
        motion=tuple(u.motion for u in units if u.motion is not None),
        detail=units[-1].detail,
        restored=restored if train else jnp.clip(restored, 0.0, 1.0),
        is_first=~kept,
    )


def is_sound(restored: jax.Array) -> jax.Array:
    """Whether frames [B, H', W', 3], not clamped, are of a usable state: bool [B]."""
    # Without a reset, one value that overflowed would make all later frames NaN. What
    # else is carried over feeds the image, or (motion) is new at every frame.
    return (jnp.abs(restored) < OVERFLOWN).all(axis=(1, 2, 3))


def _outputs(units, height, width, train):
    def crop(image):
        return image[:, :height, :width]

    outputs = {"restored": crop(units[-1].image)}
    if units[-1].displacement is not None:
        outputs["displacement"] = units[-1].displacement
    if train:
        images = [crop(u.image)[:, None] for u in units[:-1]]
        empty = outputs["restored"][:, None][:, :0]
        outputs["intermediate"] = jnp.concatenate([empty, *images], axis=1)
        volumes = [u.volume for u in units if u.volume is not None]
        if volumes:
            outputs["cost_volume"] = jnp.stack(volumes, axis=1)
    return outputs


def restore_windows(
    model: MTUNet,
    params: dict,
    state: RecurrentState,
    window: jax.Array,
    starts: jax.Array | None = None,
) -> tuple[RecurrentState, jax.Array, jax.Array | None]:
    """Restores a frame of each of B videos: the one step of scan, stream and lanes."""
    # `window` [B, K, H, W, 3], uint8 or float; `starts` bool [B], where a video or shot
    # starts. Returns the state, frames [B, H, W, 3] float32, not clamped, and the
    # displacement [B, h, w, 2] int32, None for a network without matching.
    if starts is not None:
        state = state.replace(is_first=state.is_first | starts)
    state, outputs = model.apply({"params": params}, state, to_unit_range(window))
    return state, outputs["restored"], outputs.get("displacement")


def initial_state(model: MTUNet, batch: int, height: int, width: int) -> RecurrentState:
    """Makes the recurrent state before a video's first frame.

    Examples:
        >>> initial_state(MTUNet(PRESETS["mtu2"]), 1, 360, 640).detail.shape
        (1, 360, 640, 26)

    Args:
        model: the network.
        batch: number of videos B.
        height: rows H of their frames, in pixels.
        width: columns W.

    Returns:
        Zeros of the shapes in `RecurrentState`, with `is_first` True for every video.
    """
    cfg = model.config
    rows, columns = padded_size(height, width, cfg.cell)
    grid = (batch, rows // cfg.cell, columns // cfg.cell)
    places = (batch, rows // cfg.patch, columns // cfg.patch)
    channels = cfg.channels * (2 if cfg.motion_layer else 1)
    return RecurrentState(
        motion=tuple(
            jnp.zeros((*grid, channels), cfg.dtype) for _ in cfg.matching_units
        ),
        detail=jnp.zeros((*places, cfg.channels), cfg.dtype),
        restored=jnp.zeros((batch, rows, columns, 3), jnp.float32),
        is_first=jnp.ones((batch,), bool),
    )


def init_params(model: MTUNet, rng_key: jax.Array) -> dict:
    """Draws parameters: weights normal with standard deviation 0.03, biases 0.

    Examples:
        >>> params = init_params(MTUNet(PRESETS["mtu1"]), jax.random.key(0))
        >>> parameter_count(params)
        538073

    Args:
        model: the network.
        rng_key: a `jax.random` key.

    Returns:
        The parameter tree, float32, kernels [kh, kw, C, O] and biases [O], with the
        layers that only training reads.
    """
    shapes, structure = _shapes(model)
    return jax.tree.unflatten(structure, _draw(rng_key, shapes))


def parameter_count(params: dict) -> int:
    """Counts parameters.

    Examples:
        >>> parameter_count({"kernel": jnp.zeros((3, 3, 4, 8)), "bias": jnp.zeros(8)})
        296

    Args:
        params: a tree of arrays.

    Returns:
        The total number of values.
    """
    return sum(x.size for x in jax.tree.leaves(params))


def param_shapes(model: MTUNet) -> dict:
    """Shapes of the parameters, as the tree of `init_params`; draws nothing."""
    shapes, structure = _shapes(model)
    return jax.tree.unflatten(structure, shapes)


@functools.cache
def _shapes(model):
    # Cached: tracing a network takes longer than drawing its weights.
    side = 2 * model.config.cell
    window = jnp.zeros((1, model.config.window, side, side, 3))
    state = initial_state(model, 1, side, side)
    key = jax.random.key(0)
    tree = jax.eval_shape(lambda key: model.init(key, state, window, True), key)
    leaves, structure = jax.tree.flatten(tree["params"])
    return tuple(x.shape for x in leaves), structure


@functools.partial(jax.jit, static_argnames="shapes")
def _draw(rng_key, shapes):
    # All in one draw: `init` itself would compile the network, or a kernel at a time.
    sizes = [math.prod(shape) for shape in shapes]
    flat, drawn = kernel_init(rng_key, (sum(sizes),)), []
    for size, shape in zip(sizes, shapes, strict=True):
        part, flat = flat[:size], flat[size:]
        drawn.append(part.reshape(shape) if len(shape) == 4 else jnp.zeros(shape))
    return drawn


def inference_params(params: dict) -> dict:
    """Drops the deblur layers of all units but the last, which only training reads.

    Examples:
        >>> params = init_params(MTUNet(PRESETS["mtu2"]), jax.random.key(0))
        >>> "deblur" in params["unit_0"], "deblur" in inference_params(params)["unit_0"]
        (True, False)

    Args:
        params: a parameter tree of `MTUNet`, any dtype.

    Returns:
        The tree without `unit_0` … `unit_{N-2}`'s `deblur`; leaves are shared.
    """
    last = sum(name.startswith("unit_") for name in params) - 1
    kept = {}
    for name, part in params.items():
        inner = name.startswith("unit_") and name != f"unit_{last}"
        kept[name] = {k: v for k, v in part.items() if not (inner and k == "deblur")}
    return kept


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's inference parameters, by "/"-joined path; HWIO."""
    shapes = inference_params(param_shapes(MTUNet(config)))
    return flax.traverse_util.flatten_dict(shapes, sep="/")
