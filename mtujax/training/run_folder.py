"""The run directory: its lock, its configuration, and the export of what it holds.

Export reads a run and changes nothing there, so the run may be active. In the directory
are:

    config.json         the configuration of the run, which resuming compares with
    checkpoints/STEP/   state, a plain Orbax tree, and about, JSON with its digest, the
                        configuration, and the PSNR of a validation
    log.csv, validation.csv
                        what was printed; not in a remote directory
    tensorboard/        the same for TensorBoard, and images
    .lock               held while a process trains there
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from mtujax import parallel
from mtujax.common.dataclass_json import read_json
from mtujax.common.files import (
    one_at_a_time,
    unwritable_named,
    whole_output,
)
from mtujax.errors import UserError
from mtujax.model.network import MTUNet, init_params
from mtujax.training.checkpoints import Checkpoints, Restored, remote_path
from mtujax.training.config import RunConfig, config_of
from mtujax.training.optimizers import TrainState, init_train_state
from mtujax.training.state_files import write_state
from mtujax.weights.files import save_weights

CONFIG = "config.json"
"""Name of the configuration's file in the run directory."""


_BUSY = "run folder in use by another process; stop that, or name another"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run directory, local or remote as gs://bucket/run."""

    folder: str

    @property
    def remote(self) -> bool:
        """Whether it is remote."""
        return "://" in self.folder

    def path(self, name: str) -> str:
        """Returns the path of a file in it, remote if the directory is."""
        return f"{self.folder.rstrip('/') or '/'}/{name}"

    def read_config(self) -> dict | None:
        """Reads the configuration as JSON values; None if there is none."""
        path = self.path(CONFIG)
        try:
            path = self._config
            remedy = "delete it, and give the configuration the run was started with"
            config = read_json(path, remedy)
        except FileNotFoundError:
            return None
        except (ImportError, KeyError) as error:  # etils': no package, unknown scheme
            why = "the scheme is unknown: " * isinstance(error, KeyError) + str(error)
            why = " ".join(why.split())
            raise UserError(f"{path}: cannot be reached ({why})") from error
        if not isinstance(config, dict):
            raise UserError(f"{path}: holds no configuration; delete it")
        return config

    def write_config(self, config: dict) -> None:
        """Writes the configuration, all or nothing, in the first process only."""
        if not parallel.is_first():
            return
        text = json.dumps(config, indent=2) + "\n"
        path = self._config
        with unwritable_named(path):
            if self.remote:  # object stores show no half objects
                path.write_text(text)
                return
            with whole_output(path, folder=False) as part:
                part.write_text(text, "utf-8")

    @property
    def _config(self):
        return (remote_path if self.remote else Path)(self.path(CONFIG))


@contextlib.contextmanager
def open_run(folder: str) -> Iterator[RunFolder]:
    """Creates a run directory and locks it; a `UserError` if it is in use."""
    run = RunFolder(folder)
    with contextlib.ExitStack() as stack:
        with parallel.failing_together():
            # Remote ones are not locked; the first of several processes locks for all.
            if parallel.is_first() and not run.remote:
                try:
                    Path(folder).mkdir(parents=True, exist_ok=True)
                    lock = Path(folder, ".lock")
                    stack.enter_context(one_at_a_time(lock, Path(folder), busy=_BUSY))
                except OSError as error:
                    raise UserError(
                        f"{folder}: cannot be a run folder ({error.strerror})"
                    ) from error
        yield run


CHECKPOINTS = "checkpoints"
"""Name of their folder in the run directory."""


def read_run(run: str, *, which: str | int = "latest") -> tuple[RunConfig, Restored]:
    """Reads a run's configuration and one of its checkpoints.

    Examples:
        >>> config, checkpoint = read_run("runs/mine")
        >>> config.train.scheme, checkpoint.step
        ('release', 2)

    Args:
        run: its directory, local or remote.
        which: checkpoint: "latest", "best" or a number.

    Returns:
        The configuration and the checkpoint.

    Raises:
        UserError: if either cannot be read.
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
    """Returns a run's state as a tree of `jax.ShapeDtypeStruct`; computes nothing."""
    model = MTUNet(config.model)

    def first(rng_key):
        return init_train_state(config.train, init_params(model, rng_key))

    return jax.eval_shape(first, jax.random.key(0))


_LIBRARIES = ("mtujax", "jax", "flax", "optax")


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written."""

    updates: int  # number that the run had made
    psnr: float | None  # of the moving average at that time's validation in dB
    notes: tuple[str, ...]  # on checkpoints that could not be read


def export_weights(
    run: str,
    output: str | os.PathLike,
    *,
    which: str | int = "latest",
    raw: bool = False,
    about: dict[str, str] | None = None,
) -> Exported:
    """Writes the weights of a run as a file for `mtujax.load`.

    They load as a float32 network, unless a precision is chosen: that of the training
    need not suit the device they are used on, and is only recorded.

    Examples:
        >>> export_weights("runs/mine", "trained.safetensors", which="best").psnr
        28.5
        >>> model, params = load("trained.safetensors")

    Args:
        run: its directory, local or remote.
        output: a `.safetensors` file, which is replaced atomically.
        which: checkpoint: "latest", "best" or a number.
        raw: the parameters themselves, not their moving average.
        about: more metadata for the file, as {"license": "Apache-2.0"}.

    Returns:
        The number of updates, the validation PSNR and notes.

    Raises:
        UserError: if the run cannot be read or the file cannot be written.
    """
    config, found = read_run(run, which=which)
    updates = int(found.state.step)
    provenance = {
        "training": f"{updates} updates on {config.data.name}, {config.train.scheme} "
        "scheme",
        "updates": updates,
        "moving_average": not raw,
        "precision": config.model.dtype,
        "versions": ", ".join(_versions()),
    }
    psnr = None if raw else found.psnr  # it is of the moving average
    if psnr is not None:
        provenance["validation_psnr"] = round(psnr, 4)
    params = found.state.params if raw else found.state.ema
    network = dataclasses.replace(config.model, dtype="float32")
    save_weights(output, network, params, **(provenance | (about or {})))
    return Exported(updates, psnr, found.notes)


def _versions():
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):  # a clone that is not installed
            yield f"{name} {version(name)}"


def export_state(
    run: str,
    output: str | os.PathLike,
    *,
    which: str | int = "latest",
    overwrite: bool = False,
) -> Exported:
    """Writes the whole state of a run as a file for `resume_state_from`.

    Examples:
        >>> export_state("runs/mine", "state.safetensors").updates
        2

    Args:
        run: its directory, local or remote.
        output: a `.safetensors` file, which is written atomically.
        which: checkpoint: "latest", "best" or a number.
        overwrite: replace an existing file.

    Returns:
        The number of updates, the validation PSNR and notes.

    Raises:
        UserError: if the run cannot be read or the file cannot be written.
    """
    _, found = read_run(run, which=which)
    write_state(found.state, found.extra, output, overwrite=overwrite)
    return Exported(int(found.state.step), found.psnr, found.notes)
