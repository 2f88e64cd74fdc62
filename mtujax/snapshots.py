"""What a stream remembers, as arrays by name that `np.savez` can store.

`motion_0`, ..., `detail`, `restored` and `is_first` are `RecurrentState`; `past_0`, ...
are the last blurry frames [B, H, W, 3], oldest first. Letters: B batch, H W pixels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.network import MTUNet, RecurrentState, initial_state


def pack(state: RecurrentState, past: Sequence[jax.Array]) -> dict[str, np.ndarray]:
    """Copies a state and the frames before it to the host.

    Args:
        state: after the last of `past`.
        past: blurry frames [B, H, W, 3], oldest first, at least one.

    Returns:
        Arrays by name. bfloat16, of which NumPy's files know nothing, is the uint16 of
        the same bits.
    """
    arrays = _named(state) | {f"past_{k}": frame for k, frame in enumerate(past)}
    return {name: _storable(array) for name, array in arrays.items()}


def unpack(
    snapshot: dict[str, np.ndarray], model: MTUNet
) -> tuple[RecurrentState, list[jax.Array]]:
    """Undoes `pack`.

    Args:
        snapshot: from `pack`.
        model: the network that goes on with it.

    Returns:
        The state and the blurry frames [B, H, W, 3], on the device.

    Raises:
        ValueError: if this network cannot have left such arrays; names one.
    """
    past = _past(snapshot, model.config.lookback)
    batch, height, width, _ = past[0].shape
    like = _named(jax.eval_shape(lambda: initial_state(model, batch, height, width)))
    unknown = snapshot.keys() - like.keys() - {f"past_{k}" for k in range(len(past))}
    if unknown:
        raise ValueError(f"snapshot: {min(unknown)} is of another network")
    arrays = {name: _loaded(snapshot, name) for name in like}
    for name, wanted in like.items():
        found = arrays[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"snapshot: {name} is {found.dtype} {found.shape}, and with this "
                f"network {wanted.dtype} {wanted.shape}"
            )
    motion = tuple(arrays.pop(name) for name in like if name.startswith("motion_"))
    return RecurrentState(motion=motion, **arrays), past


def _named(state):
    motion = {f"motion_{k}": features for k, features in enumerate(state.motion)}
    rest = {k: getattr(state, k) for k in ("detail", "restored", "is_first")}
    return motion | rest


def _past(snapshot, lookback):
    count = sum(name.startswith("past_") for name in snapshot)
    if not 1 <= count <= lookback:
        raise ValueError(
            f"snapshot: has {count} past frames; this network reads 1 to {lookback}"
        )
    past = [_loaded(snapshot, f"past_{k}") for k in range(count)]
    for frame in past:
        if frame.ndim != 4 or frame.shape[-1] != 3 or frame.shape != past[0].shape:
            raise ValueError(f"snapshot: a past frame is {frame.dtype} {frame.shape}")
    return past


def _storable(array):
    array = np.array(array)
    return array.view(np.uint16) if array.dtype == jnp.bfloat16 else array


def _loaded(snapshot, name):
    if name not in snapshot:
        raise ValueError(f"snapshot: has no {name}, which this network needs")
    array = np.asarray(snapshot[name])
    # No array of ours is uint16 itself.
    array = array.view(jnp.bfloat16) if array.dtype == np.uint16 else array
    # Copied: the device must not keep memory that is another's.
    return jnp.array(array)
