"""The folder of a training run: one process at a time, and its configuration."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import jax

from mtujax.common.files import one_at_a_time, whole_output
from mtujax.errors import UserError
from mtujax.model.network import MTUNet, init_params
from mtujax.parallel import is_first
from mtujax.training.checkpoints import Checkpoints, Restored
from mtujax.training.config import RunConfig, config_of
from mtujax.training.step import TrainState, init_train_state

CONFIG = "config.json"
"""Its name in the folder."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what it writes.

    Attributes:
        folder: local, or remote as gs://bucket/run.
    """

    folder: str

    @property
    def remote(self) -> bool:
        """Whether it is on no file system."""
        return "://" in self.folder

    def path(self, name: str) -> str:
        """Where something in it lies.

        Args:
            name: its name.

        Returns:
            Its path, remote if the folder is.
        """
        return f"{self.folder.rstrip('/') or '/'}/{name}"

    def read_config(self) -> dict | None:
        """Reads the configuration of the run.

        Returns:
            JSON values, or None if there is none.

        Raises:
            UserError: if it cannot be read.
        """
        path = self.path(CONFIG)
        try:
            path = self._config
            config = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (ImportError, KeyError) as error:
            raise _no_way_to(path, error) from error
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise UserError(
                f"{path}: is damaged ({error}); delete it, and give the run the "
                "configuration that it was begun with"
            ) from None
        if not isinstance(config, dict):
            raise UserError(f"{path}: holds no configuration; delete it")
        return config

    def write_config(self, config: dict) -> None:
        """Writes the configuration of the run, all or nothing; the first process does.

        Args:
            config: JSON values.

        Raises:
            UserError: if it cannot be written; what was there is untouched.
        """
        if not is_first():
            return
        text = json.dumps(config, indent=2) + "\n"
        path = self._config
        try:
            if self.remote:  # object stores show no half objects
                path.write_text(text)
                return
            with whole_output(path, folder=False) as part:
                part.write_text(text)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error

    @property
    def _config(self):
        if not self.remote:
            return Path(self.path(CONFIG))
        from etils import epath

        return epath.Path(self.path(CONFIG))


def _no_way_to(path, error):
    """What etils raises for a scheme that it does not know, or only with a package."""
    why = f"the scheme is unknown: {error}" if isinstance(error, KeyError) else error
    return UserError(f"{path}: cannot be reached ({' '.join(str(why).split())})")


@contextlib.contextmanager
def open_run(folder: str) -> Iterator[RunFolder]:
    """Takes the folder of a run, which is created; nobody else may have it.

    Of several processes of one run the first takes it. Remote folders are not locked.

    Args:
        folder: local, or remote as gs://bucket/run.

    Yields:
        The folder.

    Raises:
        UserError: if it cannot be created, or is in use.
    """
    run = RunFolder(folder)
    if run.remote or not is_first():
        yield run
        return
    with contextlib.ExitStack() as stack:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            lock = one_at_a_time(
                Path(run.path(".lock")),
                Path(folder),
                busy="run folder in use by another process; stop that, or name another",
            )
            stack.enter_context(lock)
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be a run folder ({error.strerror})"
            ) from error
        yield run


CHECKPOINTS = "checkpoints"
"""Name of the folder in a run's folder that holds them."""


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
