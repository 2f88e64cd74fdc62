"""What a training run gives away: weights to restore with, or its state to go on from.

Reads a run's folder and changes nothing there, so the run may be going on.
"""

import dataclasses
import os
from importlib.metadata import version
from pathlib import Path

import jax

from mtujax.archive import pack
from mtujax.checkpoints import Checkpoints, Restored
from mtujax.errors import UserError
from mtujax.network import MTUNet, init_params
from mtujax.runfolder import CONFIG, RunFolder
from mtujax.settings import RunConfig, config_of
from mtujax.training import TrainState, init_train_state
from mtujax.weights import save_weights

CHECKPOINTS = "checkpoints"
"""Name of the folder in a run's folder that holds them."""

_LIBRARIES = ("mtujax", "jax", "flax", "optax")


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        updates: that the run had made.
        psnr: of its validation at that time in dB, or None; of the moving average.
        files: written.
        notes: lines on checkpoints that could not be read.
    """

    updates: int
    psnr: float | None
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def export_weights(
    run: str,
    output: str | os.PathLike,
    *,
    which: str | int = "latest",
    raw: bool = False,
    about: dict[str, str] | None = None,
) -> Exported:
    """Writes the weights of a run as `mtujax.load` takes them.

    Whoever loads them computes in float32, or chooses a precision: that of the training
    need not suit the device they are used on, and is only noted.

    Args:
        run: its folder, also remote.
        output: a `.safetensors` file, which is replaced at once.
        which: checkpoint: "latest", "best" or a number.
        raw: the parameters themselves, not their moving average.
        about: more to keep in the file, as {"licence": "Apache-2.0"}.

    Returns:
        What was written.

    Raises:
        UserError: if the run cannot be read or the file not be written.
    """
    config, found = read_run(run, which=which)
    updates = int(found.state.step)
    provenance = {
        "training": f"{updates} updates on {config.data.name}, {config.train.scheme} "
        "scheme",
        "updates": updates,
        "moving_average": not raw,
        "precision": config.model.dtype,
        "versions": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }
    psnr = None if raw else found.psnr  # it is of the moving average
    if psnr is not None:
        provenance["validation_psnr"] = round(psnr, 4)
    params = found.state.params if raw else found.state.ema
    network = dataclasses.replace(config.model, dtype="float32")
    save_weights(output, network, params, **(provenance | (about or {})))
    return Exported(updates, psnr, (Path(output),), found.notes)


def export_state(
    run: str,
    output: str | os.PathLike,
    *,
    which: str | int = "latest",
    overwrite: bool = False,
) -> Exported:
    """Writes the whole state of a run as an archive of parts under 16 MiB.

    Args:
        run: its folder, also remote.
        output: folder to create.
        which: checkpoint: "latest", "best" or a number.
        overwrite: replace an archive.

    Returns:
        What was written.

    Raises:
        UserError: if the run cannot be read or the folder not be written.
    """
    _, found = read_run(run, which=which)
    files = pack(found.state, found.extra, output, overwrite=overwrite)
    return Exported(int(found.state.step), found.psnr, tuple(files), found.notes)


def read_run(run: str, *, which: str | int = "latest") -> tuple[RunConfig, Restored]:
    """Reads a run's configuration and one of its checkpoints.

    Args:
        run: its folder, also remote.
        which: checkpoint: "latest", "best" or a number.

    Returns:
        Both.

    Raises:
        UserError: if one of them cannot be read.
    """
    folder = RunFolder(str(run))
    values = folder.read_config()
    if values is None:
        raise UserError(
            f"{run}: not the folder of a run, as it has no {CONFIG}; give the one that "
            "train.py was given as config.run"
        )
    config = config_of(values, folder.path(CONFIG))
    like = state_like(config)
    with Checkpoints(folder.path(CHECKPOINTS), read_only=True) as checkpoints:
        found = checkpoints.restore(like, which)
    if found is None:
        raise UserError(f"{run}: has no checkpoint yet")
    return config, found


def state_like(config: RunConfig) -> TrainState:
    """Shapes and types of a run's state; nothing is computed.

    Args:
        config: of the run.

    Returns:
        A tree of `jax.ShapeDtypeStruct`.
    """
    model = MTUNet(config.model)

    def first(rng_key):
        return init_train_state(config.train, init_params(model, rng_key))

    return jax.eval_shape(first, jax.random.key(0))
