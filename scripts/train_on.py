"""Goes on training a network in the background, from a copy that is installed for it.

    python scripts/train_on.py start --photos PHOTOS [--recipe bundled_fast] [--hours 8]
    python scripts/train_on.py stop
    python scripts/train_on.py export [--out mine.safetensors]

A wheel of this checkout goes into an environment of its own, with train.py and the
configurations beside it, so that changes to the checkout do not touch what is running:

    HOME/installed/DIGEST/    env, train.py, configs: one for each state of the checkout
    HOME/RECIPE/run-001/      folder of a run, as train.py writes it; the last counts
    HOME/RECIPE/run-001.installed   DIGEST of what wrote to it last
    HOME/RECIPE/log.txt       what it says

Training runs at the lowest priority, in the process that was started, until it is
stopped (SIGTERM, Ctrl-C), its hours are over or its updates are done; its state is
saved, and the same command resumes. `train_on_begin.py` chooses how.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NICE = 19  # the lowest priority there is
KEPT = 2  # runs of a recipe whose environments are kept


class Refused(Exception):
    """What a user can mend, in a line."""


def default_home() -> Path:
    """The folder of environments and runs, where none is named."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mtujax" / "train-on"


def saved_runs(folder: Path) -> list[Path]:
    """Folders of the runs of a recipe that have a checkpoint, in order."""
    return [
        run
        for run in sorted(folder.glob("run-[0-9][0-9][0-9]"))
        if any(path.name.isdecimal() for path in run.glob("checkpoints/*"))
    ]


def environment_of(run: Path) -> Path | None:
    """The folder of what wrote to a run last; None if it is no longer there."""
    with contextlib.suppress(OSError):
        digest = mark_of(run).read_text().strip()
        found = run.parent.parent / "installed" / digest
        return found if digest and (found / "ready").exists() else None


def mark_of(run: Path) -> Path:
    """The file that names what wrote to a run."""
    return run.with_name(f"{run.name}.installed")


@contextlib.contextmanager
def locked(path: Path, *, wait: bool):
    """Holds a lock, which a program started by `exec` keeps.

    Raises:
        Refused: if another process holds it and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            handle.seek(0)
            raise Refused(
                f"{path.parent}: is being trained already, by process "
                f"{handle.read().strip()}; `make train-on STOP=1` stops it"
            ) from None
        yield handle


def start(args):
    """Installs what is not there yet, and becomes the training program."""
    folder = args.home / args.recipe.replace(":", "-")
    if not (ROOT / "configs" / f"{args.recipe.split(':')[0]}.py").is_file():
        raise Refused(f"--recipe {args.recipe}: no such file in configs/")
    words = []
    for field, path in (
        ("data.path", args.photos),
        ("data.cutouts", args.cutouts),
        ("validation.path", args.held_out),
    ):
        if path and not path.is_dir():
            raise Refused(f"{path}: no such folder")
        if path:
            words.append(f"--config.{field}={path.resolve()}")
    if args.hours is not None:
        words.append(f"--config.max_minutes={60 * args.hours}")
    with locked(folder / ".lock", wait=False) as lock:
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        os.nice(NICE)
        os.environ.pop("PYTHONPATH", None)  # it may lead to the checkout
        os.environ["PYTHONUNBUFFERED"] = "1"
        with locked(args.home / "installed" / ".lock", wait=True):
            installed = install(args.home, args.extras)
            (folder / "installed").write_text(installed.name)
            remove_unused(args.home)
        os.set_inheritable(lock.fileno(), True)
        python = installed / "env" / "bin" / "python"
        begin = installed / "train_on_begin.py"
        given = [python, begin, folder, args.recipe, *words, *args.flags]
        os.execv(python, [str(word) for word in given])


def install(home: Path, extras: str) -> Path:
    """Installs the checkout under the digest of all that matters, unless it is there.

    Args:
        home: folder of environments and runs.
        extras: of the package, as "train,cuda".

    Returns:
        The folder: env, train.py and configs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(Path(scratch))
        beside = [ROOT / "train.py", *sorted((ROOT / "scripts").glob("*.py"))]
        configs = sorted((ROOT / "configs").glob("*.py"))
        digest = hashlib.sha256(f"{sys.version} {extras}".encode())
        for path in (wheel, *beside, *configs):
            digest.update(path.name.encode() + path.read_bytes())
        folder = home / "installed" / digest.hexdigest()[:12]
        if (folder / "ready").exists():
            return folder
        print(f"installing into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "configs").mkdir(parents=True)
        for path in beside:
            shutil.copy(path, folder)
        for path in configs:
            shutil.copy(path, folder / "configs")
        make_environment(folder / "env", wheel, extras)
        (folder / "ready").touch()
    return folder


def build_wheel(folder: Path) -> Path:
    """Builds the checkout's wheel."""
    _run(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "-w", folder, ROOT)
    return next(folder.glob("*.whl"))


def make_environment(folder: Path, wheel: Path, extras: str):
    """Makes a virtual environment with a wheel and what it needs."""
    _run(sys.executable, "-m", "venv", folder)
    _run(folder / "bin" / "python", "-m", "pip", "install", "-qq", f"{wheel}[{extras}]")


def _run(*words):
    words = [str(word) for word in words]
    if subprocess.run(words).returncode:
        raise Refused(f"failed: {' '.join(words)}")


def remove_unused(home: Path):
    """Removes environments of neither the latest runs nor what is started."""
    names = {path.read_text().strip() for path in home.glob("*/installed")}
    for folder in home.iterdir():
        last = sorted(folder.glob("run-[0-9][0-9][0-9].installed"))[-KEPT:]
        names |= {path.read_text().strip() for path in last}
    for path in (home / "installed").iterdir():
        if path.is_dir() and path.name not in names:
            shutil.rmtree(path)


def stop(args):
    """Tells the training process to save and leave, and waits until it has."""
    lock = args.home / args.recipe.replace(":", "-") / ".lock"
    with contextlib.suppress(Refused), locked(lock, wait=False) as free:
        free.truncate(0)
    if not (number := lock.read_text().strip()):
        raise Refused(f"{lock.parent}: nothing is being trained")
    os.kill(int(number), signal.SIGTERM)
    print(f"process {number} saves and stops; this may take an update", flush=True)
    with locked(lock, wait=True):
        print("stopped")


def export(args):
    """Writes the averaged weights of the latest run, which may be active."""
    folder = args.home / args.recipe.replace(":", "-")
    runs = saved_runs(folder)
    if not runs:
        raise Refused(f"{folder}: has no run with a checkpoint yet")
    installed = environment_of(runs[-1])
    if installed is None:
        raise Refused(f"{runs[-1]}: what it was trained by is gone; start it once")
    out = (args.out or folder / "weights.safetensors").resolve()
    os.environ.pop("PYTHONPATH", None)
    python = str(installed / "env" / "bin" / "python")
    words = ["-m", "mtujax", "export", str(runs[-1]), str(out), "--overwrite"]
    os.chdir(installed)  # not where `mtujax` is a folder of the checkout
    os.execv(python, [python, *words])


def main(argv=None):
    """Does what the command line says; a mistake takes one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("start", "stop", "export"))
    add = parser.add_argument
    add("--recipe", default="bundled_fast", help="of configs/, perhaps with :cpu, :gpu")
    add("--home", type=Path, default=default_home(), help="environments and runs")
    add("--photos", type=Path, help="photographs to train on")
    add("--cutouts", type=Path, help="objects in front of them")
    add("--held-out", type=Path, help="photographs to be judged by")
    add("--hours", type=float, help="save and stop after that time")
    add("--out", type=Path, help="file that `export` writes [in HOME/RECIPE]")
    add("--extras", default="train", help="of the package; on a GPU train,cuda")
    args, args.flags = parser.parse_known_args(argv)
    for word in args.flags:
        if not word.startswith("--config."):
            parser.error(
                f"{word}: no such option; more for train.py is --config.FIELD="
            )
    args.home = args.home.expanduser().resolve()
    if args.action == "start" and not args.photos:
        parser.error("start: --photos FOLDER is missing")
    try:
        {"start": start, "stop": stop, "export": export}[args.action](args)
    except Refused as error:
        sys.exit(f"train_on.py: error: {error}")


if __name__ == "__main__":
    main()
