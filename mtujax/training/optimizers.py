"""The two published ways to update the weights: schedules, Adams, loss scale, state.

"paper": one Adam on L_deblur + alpha L_motion. "release": two gradients and two Adams
on one set of weights, whose updates are added; alpha is a factor of the second one's
learning rate. They are different optimisers (Sec. 3.5, 4.1). The loss scale keeps small
gradients alive in float16: it halves when a gradient was not finite and doubles after
long without (Micikevicius et al., "Mixed Precision Training", ICLR 2018, Sec. 3.2).
"""

import functools
import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

from mtujax.training.config import TrainConfig


def learning_rate_schedule(
    config: TrainConfig, end: jax.Array | int | None = None
) -> optax.Schedule:
    """The learning rate after each number of updates.

    Examples:
        >>> rate = learning_rate_schedule(TrainConfig(steps=1000, warmup=10))
        >>> round(float(rate(5)), 7), round(float(rate(10)), 7)
        (5e-05, 0.0001)

    Args:
        config: how to train.
        end: [] int, updates when the time of a "timed" schedule is over, as far as
            that is known; None takes `config.steps`.

    Returns:
        An optax schedule: of a number [] to a rate [].
    """
    warmup = min(config.warmup, max(config.steps - 1, 0))
    peak = config.learning_rate
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, config.steps)
    if config.timed:
        end = config.steps if end is None else end
        return functools.partial(_timed, peak, config.warmup, end)
    drops = dict(config.drops) if config.schedule == "drops" else {}
    later = optax.piecewise_constant_schedule(peak, drops)
    if not warmup:
        return later
    rise = optax.linear_schedule(0.0, peak, warmup)
    return lambda count: jnp.where(count < warmup, rise(count), later(count))


def _timed(peak, warmup, end, count):
    """Optax's cosine after a warm-up, whose end may be known only when it runs."""
    warmup = jnp.minimum(warmup, end // 10)  # there may be time for a few updates only
    share = jnp.clip((count - warmup) / jnp.maximum(end - warmup, 1), 0, 1)
    falling = optax.cosine_decay_schedule(peak, 1)(share)
    rising = peak * count / jnp.maximum(warmup, 1)
    return jnp.where(count < warmup, rising, falling)


def loss_weights(config: TrainConfig) -> dict[str, dict[str, float]]:
    """Weights of the losses that each optimiser minimises; no motion if alpha is 0."""
    motion = config.motion_weight
    if config.scheme == "paper":
        return {"total": {"deblur": 1.0} | ({"motion": motion} if motion else {})}
    return {"deblur": {"deblur": 1.0}} | ({"motion": {"motion": 1.0}} if motion else {})


def reads_labels(config: TrainConfig) -> bool:
    """Whether any loss reads motion labels."""
    return any("motion" in losses for losses in loss_weights(config).values())


def learning_rates(
    config: TrainConfig, end: jax.Array | int | None = None
) -> dict[str, optax.Schedule]:
    """`learning_rate_schedule` of each optimiser; alpha is a factor of the second."""
    rate = learning_rate_schedule(config, end)

    def slow(count):
        return config.motion_weight * rate(count)

    return {name: slow if name == "motion" else rate for name in loss_weights(config)}


def make_optimizers(
    config: TrainConfig, end: jax.Array | int | None = None
) -> dict[str, optax.GradientTransformation]:
    """Optimisers with clipped gradients, each for the parameters that it owns.

    Adam, or for kernels Muon (Jordan et al. 2024; `optax.contrib.muon`): momentum,
    orthogonalised; biases get Adam's updates, with Nesterov's momentum.

    Examples:
        >>> sorted(make_optimizers(TrainConfig(steps=1000, scheme="release")))
        ['deblur', 'motion']

    Args:
        config: how to train.
        end: [] int, as `learning_rate_schedule`.

    Returns:
        By the names of `loss_weights`: transformations whose updates are added.
    """
    return {
        name: _optimizer(config, rate)
        if name == "total"
        else _owned(_optimizer(config, rate), lambda p, name=name: owners(p)[name])
        for name, rate in learning_rates(config, end).items()
    }


def _optimizer(config, rate):
    if config.optimizer == "muon":
        update = _muon(rate)
    else:
        update = optax.adam(rate, b1=0.9, b2=0.999, eps=1e-8)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)


def _muon(rate):
    """`optax.contrib.muon`; on an accelerator kernels are orthogonalised at once."""
    # Both have the same state. On a CPU the padding costs more time than it saves.
    if jax.default_backend() == "cpu":
        return optax.contrib.muon(
            rate, consistent_rms=_RMS, muon_weight_dimension_numbers=_matrices
        )
    matrices = optax.contrib.MuonDimensionNumbers(1, 2)
    kernels = optax.chain(
        _stacked(optax.contrib.scale_by_muon(weight_dimension_numbers=matrices)),
        optax.stateless(lambda updates, _: jax.tree.map(_of_equal_rms, updates)),
        optax.identity(),  # optax's weight decay: its state is part of checkpoints
        optax.scale_by_learning_rate(rate),
    )
    return optax.partition(
        {"muon": kernels, "adam": optax.nadamw(rate, weight_decay=0.0)},
        lambda params: jax.tree.map(
            lambda x: "muon" if x.ndim == 4 else "adam", params
        ),
    )


# The same learning rate does for both: an update of Adam has an RMS of 0.2 to 0.4 of it
# (Liu et al., "Muon is Scalable for LLM Training", 2025, Sec. 2.2).
_RMS = 0.4


def _matrices(params):
    """How Muon sees each kernel [h, w, in, out]: as a matrix [h w in, out]."""
    kernel = optax.contrib.MuonDimensionNumbers((0, 1, 2), (3,))
    return jax.tree.map(lambda x: kernel if x.ndim == 4 else None, params)


def _of_equal_rms(kernel):
    """Scales a kernel, orthogonal as a matrix, to an RMS that depends on no size."""
    columns = kernel.shape[-1]
    return _RMS * math.sqrt(max(kernel.size // columns, columns)) * kernel


def _stacked(muon):
    """Gives it kernels [h, w, in, out] as one array of matrices [n, h w in, out]."""

    # A GPU would launch hundreds of kernels for the small products of each. Smaller
    # matrices are padded by zeros, which stay zeros and change nothing else.
    def update(grads, state, params=None):
        leaves, tree = jax.tree.flatten(grads)
        if not leaves:
            return grads, state
        sizes = [(x.size // x.shape[-1], x.shape[-1]) for x in leaves]
        largest = np.max(sizes, axis=0)

        def stacked(tree):
            matrices = map(jnp.reshape, jax.tree.leaves(tree), sizes)
            margins = [[(0, n) for n in largest - size] for size in sizes]
            return jnp.stack(list(map(jnp.pad, matrices, margins)))

        def apart(stack):
            matrices = [x[:m, :n] for x, (m, n) in zip(stack, sizes, strict=True)]
            return tree.unflatten(map(jnp.reshape, matrices, [x.shape for x in leaves]))

        state = state._replace(mu=stacked(state.mu))
        updates, state = muon.update(stacked(grads), state)
        return apart(updates), state._replace(mu=apart(state.mu))

    return optax.GradientTransformation(muon.init, update)


def _owned(optimizer, owned):
    """Only what is owned is clipped together and updated; the rest stays."""

    def others(params):
        return jax.tree.map(lambda own: not own, owned(params))

    return optax.chain(
        optax.masked(optimizer, owned), optax.masked(optax.set_to_zero(), others)
    )


def owners(params: dict) -> dict[str, dict]:
    """Trees of bool: the parameters that the release's "deblur" and "motion" own."""
    # The deblurring one owns all but the motion layers; the motion one all but the last
    # unit (of which it owns a motion layer) and the deblur layers.
    last = f"unit_{sum(name.startswith('unit_') for name in params) - 1}"

    def of_motion(path, _):
        unit, part = path[0].key, path[1].key
        return part == "motion" or (unit != last and part != "deblur")

    over = jax.tree_util.tree_map_with_path
    return {
        "deblur": over(lambda path, _: path[1].key != "motion", params),
        "motion": over(of_motion, params),
    }


_PATIENCE = 2000
_LEAST, _MOST = 1.0, 2.0**24


@flax.struct.dataclass
class LossScale:
    """The factor and what decides on its next change."""

    factor: jax.Array  # float32 power of two, so that it changes no digit
    steady: jax.Array  # int32 number of updates since it changed or one was not finite


def adjusted_loss_scale(scale: LossScale, finite: jax.Array) -> LossScale:
    """Doubles after 2000 `finite` [] updates, and halves after another one."""
    steady = jnp.where(finite, scale.steady + 1, 0)
    grows = steady >= _PATIENCE
    factor = jnp.where(finite, scale.factor, scale.factor / 2)
    factor = jnp.where(grows, 2 * factor, factor)
    return LossScale(jnp.clip(factor, _LEAST, _MOST), jnp.where(grows, 0, steady))


@flax.struct.dataclass
class TrainState:
    """Everything that an update changes.

    Examples:
        >>> config, run = read_run("runs/mine")
        >>> int(run.state.step), sorted(run.state.opt_state)
        (2, ['deblur', 'motion'])

    Attributes:
        step: int32 [] number of updates made.
        skipped: int32 [] number of updates skipped, as a loss or gradient was not
            finite.
        in_row: int32 [] number of updates skipped since the last one made.
        params: parameters, float32.
        ema: their exponential moving average, which is evaluated and exported.
        opt_state: states of the optimisers by name.
        scale: scale of the losses; used where the network computes in float16.
    """

    step: jax.Array
    skipped: jax.Array
    in_row: jax.Array
    params: dict
    ema: dict
    opt_state: dict[str, optax.OptState]
    scale: LossScale


def init_train_state(config: TrainConfig, params: dict) -> TrainState:
    """Creates the state before the first update.

    Examples:
        >>> state = init_train_state(
        ...     TrainConfig(steps=1000), init_params(model, jax.random.key(0))
        ... )
        >>> int(state.step)
        0

    Args:
        config: training settings.
        params: initial parameters with the training-only layers, as `init_params`
            draws them.

    Returns:
        A state that shares no buffer with `params`, as an update reuses its buffers.
    """
    params, ema = (jax.tree.map(jnp.array, params) for _ in range(2))
    optimizers = make_optimizers(config)
    opt_state = {name: tx.init(params) for name, tx in optimizers.items()}
    zeros = (jnp.zeros((), jnp.int32) for _ in range(3))
    scale = LossScale(jnp.float32(config.loss_scale), jnp.int32(0))
    return TrainState(*zeros, params, ema, opt_state, scale)
