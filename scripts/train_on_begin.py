"""Chooses how training continues, and becomes train.py; `train_on.py` starts it.

Runs where that has installed it: beside train.py and configs, by the environment's own
Python. In this order: the latest run resumes if the configuration is
unchanged; else a new run takes over its state, or its averaged weights, whichever this
version can read; else a new run starts from the bundled weights of its network. Old
runs stay where they are.
"""

import dataclasses
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from train_on import environment_of, mark_of, saved_runs

from mtujax.cli.configs import read_config
from mtujax.cli.entry import run_script
from mtujax.common.dataclass_json import differing_fields, to_dict
from mtujax.config import ModelConfig
from mtujax.errors import UserError
from mtujax.training.config import RunConfig, fixed_fields
from mtujax.training.run import first_state
from mtujax.training.run_folder import read_run
from mtujax.weights.files import bundled


@dataclasses.dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        run: its folder.
        flags: that train.py needs for it, besides those given.
        notes: lines that say why.
    """

    run: Path
    flags: tuple[str, ...]
    notes: tuple[str, ...]


def choose(folder: Path, file: str, flags: list[str]) -> Start:
    """Chooses how training continues.

    Args:
        folder: of the recipe's runs.
        file: the configuration, perhaps with its form.
        flags: for train.py, without the run's folder.

    Returns:
        The start that keeps most of what was learnt.

    Raises:
        UserError: if the configuration is wrong.
    """

    def config(run, *more):
        return read_config([file], [*flags, f"--config.run={run}", *more])

    saved = saved_runs(folder)
    if not saved:
        return _afresh(folder / "run-001", config, ())
    last = saved[-1]
    reason = why_not(last, config(last))
    if reason is None:
        return Start(last, (), (f"{last.name}: resumes",))
    new = folder / f"run-{int(last.name.removeprefix('run-')) + 1:03}"
    notes = [f"{last.name}: cannot resume: {reason}"]
    taken = folder / "taken-over"
    shutil.rmtree(taken, ignore_errors=True)
    taken.mkdir()
    for kind, use in (("state", _use_state), ("weights", _use_weights)):
        try:
            exported = _export(last, taken, kind)
            flags = use(exported, lambda *flags: config(new, *flags))
        except UserError as error:
            notes.append(f"its {kind} cannot be taken over: {error}")
            continue
        notes.append(f"{new.name}: takes over the {kind} of {last.name}")
        return Start(new, flags, tuple(notes))
    return _afresh(new, config, notes)


def why_not(run: Path, config: RunConfig) -> str | None:
    """Why a run cannot resume with a configuration; None if it can."""
    try:
        old, _ = read_run(str(run))
    except UserError as error:
        return str(error)
    return "; ".join(differing_fields(fixed_fields(old), fixed_fields(config))) or None


def _export(run, folder, kind):
    """Lets whoever wrote to a run export from it: it can read it for sure."""
    installed = environment_of(run)
    python = installed / "env" / "bin" / "python" if installed else sys.executable
    out = folder / f"{kind}.safetensors"
    words = [python, "-m", "mtujax", "export", run, out, "--overwrite"]
    words += ["--state"] * (kind == "state")
    done = subprocess.run([*map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise UserError(" ".join(done.stderr.split()) or f"status {done.returncode}")
    return out


def _use_state(exported, config):
    flags = f"--config.resume_state_from={exported}", "--config.init_from=None"
    first_state(config(*flags))
    return flags


def _use_weights(exported, config):
    flags = f"--config.init_from={exported}", "--config.resume_state_from=None"
    first_state(config(*flags))
    return flags


def _afresh(run, config, notes):
    chosen = config(run)
    if given := chosen.init_from or chosen.resume_state_from:
        return Start(run, (), (*notes, f"{run.name}: starts from {given}"))
    name = bundled_for(chosen.model)
    if name is None:
        note = f"{run.name}: starts over, as no bundled weights are of its network"
        return Start(run, (), (*notes, note))
    flags = (f"--config.init_from={name}",)
    return Start(run, flags, (*notes, f"{run.name}: starts from the bundled {name}"))


def bundled_for(network: ModelConfig) -> str | None:
    """Name of the bundled weights of a network, whatever it computes in."""

    def fields(config):
        return to_dict(dataclasses.replace(config, dtype="float32"))

    wanted = fields(network)
    return next((w.name for w in bundled() if fields(w.config) == wanted), None)


def with_form(recipe: str) -> str:
    """A recipe as train.py takes it, in the form for this machine if it has forms."""
    name, _, form = recipe.partition(":")
    get_config = importlib.import_module(f"configs.{name}").get_config
    if not form and inspect.signature(get_config).parameters:
        import jax

        form = "cpu" if jax.default_backend() == "cpu" else "gpu"
    return f"configs/{name}.py" + (f":{form}" if form else "")


def begin(here: Path, folder: Path, recipe: str, flags: list[str]):
    """Becomes train.py, whose output goes to the log.

    Args:
        here: folder of train.py and configs.
        folder: of the recipe's runs.
        recipe: name of a configuration, perhaps with its form.
        flags: for train.py.
    """
    os.chdir(here)
    config = with_form(recipe)
    chosen = choose(folder, config, flags)
    log = folder / "log.txt"
    lines = [f"{time.strftime('%F %T')}, {here.name}", *chosen.notes]
    with log.open("a") as file:
        for line in lines:
            print(line, file=file, flush=True)
        print("\n".join(chosen.notes))
        print(f"process {os.getpid()}; what it says is in {log}", flush=True)
        mark_of(chosen.run).write_text(here.name)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    words = [f"--config={config}", *flags, f"--config.run={chosen.run}", *chosen.flags]
    os.execv(sys.executable, [sys.executable, "train.py", *words])


def main():
    """Begins as the command line says."""
    folder, recipe, *flags = sys.argv[1:]
    here = Path(__file__).resolve().parent
    run_script("train_on.py", lambda: begin(here, Path(folder), recipe, flags))


if __name__ == "__main__":
    main()
