"""The run directory: its lock, for one process at a time, and its configuration."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import jax

from mtujax import parallel
from mtujax.common.dataclass_json import read_json
from mtujax.common.files import one_at_a_time, whole_output
from mtujax.errors import UserError
from mtujax.model.network import MTUNet, init_params
from mtujax.training.checkpoint_store import remote_path
from mtujax.training.checkpoints import Checkpoints, Restored
from mtujax.training.config import RunConfig, config_of
from mtujax.training.step import TrainState, init_train_state

CONFIG = "config.json"
"""Name of the configuration's file in the run directory."""


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
        except (ImportError, KeyError) as error:
            raise _no_way_to(path, error) from error
        if not isinstance(config, dict):
            raise UserError(f"{path}: holds no configuration; delete it")
        return config

    def write_config(self, config: dict) -> None:
        """Writes the configuration, all or nothing, in the first process only."""
        if not parallel.is_first():
            return
        text = json.dumps(config, indent=2) + "\n"
        path = self._config
        try:
            if self.remote:  # object stores show no half objects
                path.write_text(text)
                return
            with whole_output(path, folder=False) as part:
                part.write_text(text, "utf-8")
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error

    @property
    def _config(self):
        return (remote_path if self.remote else Path)(self.path(CONFIG))


def _no_way_to(path, error):
    """Explains what etils raises for an unknown scheme or a missing package."""
    why = f"the scheme is unknown: {error}" if isinstance(error, KeyError) else error
    return UserError(f"{path}: cannot be reached ({' '.join(str(why).split())})")


@contextlib.contextmanager
def open_run(folder: str) -> Iterator[RunFolder]:
    """Creates a run directory and locks it; a `UserError` if it is in use."""
    run = RunFolder(folder)
    with contextlib.ExitStack() as stack:
        with parallel.failing_together():
            # Remote ones are not locked; the first of several processes locks for all.
            if parallel.is_first() and not run.remote:
                _lock(folder, stack)
        yield run


def _lock(folder, stack):
    busy = "run folder in use by another process; stop that, or name another"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        lock = one_at_a_time(Path(folder, ".lock"), Path(folder), busy=busy)
        stack.enter_context(lock)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be a run folder ({error.strerror})"
        ) from error


CHECKPOINTS = "checkpoints"
"""Name of their folder in the run directory."""


def read_run(run: str, *, which: str | int = "latest") -> tuple[RunConfig, Restored]:
    """Reads a run's configuration and one of its checkpoints.

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
