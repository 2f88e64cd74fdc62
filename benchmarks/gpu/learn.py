"""Trains for some minutes, where few packages are installed, and exports the outcome.

    python -m benchmarks.gpu.learn RUN --photos PHOTOS --minutes 24
        [--recipe bundled_fast] [--cutouts CUTOUTS] [--start FILE] [--quick]
    python -m benchmarks.gpu.learn RUN --export FOLDER

The first form trains by a configuration of `configs/`, with the schedule "timed", from
what --start names: weights (a file, or a bundled name) or an exported state; with
--check it does not, and only says what is wrong with the two. The second one writes
weights.safetensors and state.safetensors from the last checkpoint, also while the first
one works; a large state is cut into state.safetensors.00 and so on, which --start,
given the name without a number, joins again. --quick trains a small network, or one of
the size of what it starts from.
"""

import argparse
import contextlib
import dataclasses
import importlib
import importlib.util
import pathlib
import sys
import tempfile
import time

from mtujax.common.files import whole_output
from mtujax.common.interrupts import Interrupted
from mtujax.errors import UserError

MOST = 15 * 2**20  # bytes of a file
STATE, WEIGHTS = "state.safetensors", "weights.safetensors"
TINY = dict(frames=2, crop=64, max_side=320, subframes=5)
TINY_NETWORK = dict(channels=8, num_blocks=1)


def main():
    args = arguments()
    try:
        export(args) if args.export else learn(args)
    except (UserError, OSError) as error:
        sys.exit(f"learn.py: error: {error}")
    except Interrupted as stopped:  # by who gave it its time: it is saved
        print(stopped)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("run", help="folder of the run")
    add("--export", type=pathlib.Path, help="folder for weights and state")
    add("--photos", help="folder of photographs")
    add("--cutouts", help="folder of objects in front of them")
    add("--minutes", type=float, help="of training, and what is imported for it")
    add("--recipe", default="bundled_fast", help="of configs/, perhaps with :cpu")
    add("--start", help="weights or a state to begin with")
    add("--quick", action="store_true", help="tiny: only to see it run")
    add("--check", action="store_true", help="do not train")
    args = parser.parse_args()
    if not args.export and (args.photos is None or args.minutes is None):
        parser.error("give --photos FOLDER and --minutes N, or --export FOLDER")
    return args


def learn(args):
    """Trains until the time is over, or on from where a run was stopped."""
    started = time.monotonic()
    import mtujax.training.run  # slow

    given = args.minutes
    args.minutes = max(given - (time.monotonic() - started) / 60, 0)
    if not (args.minutes or args.check):
        raise UserError(f"--minutes {given:g}: were over before it began; give more")
    with tempfile.TemporaryDirectory() as scratch:
        config = settings(args, joined(args.start, pathlib.Path(scratch)))
        if args.check:
            mtujax.training.run.first_state(config)
            return
        finished = mtujax.training.run.train(config)
    print(f"{args.run}: {finished.updates} updates, {finished.skipped} left out")


def settings(args, start):
    """The recipe for this time and these photographs, without validation."""
    # Its clips would be filmed on the host, while the accelerator waits.
    config = read_recipe(args.recipe)
    tiny = TINY if args.quick else {}
    small = size_of(start) if args.quick else {}
    data = dict(path=args.photos, cutouts=args.cutouts, made_on="device", **tiny)
    kept = dict(save_every=20, log_every=2, batch=2) if args.quick else {}
    return dataclasses.replace(
        config,
        run=args.run,
        model=dataclasses.replace(config.model, **small),
        train=dataclasses.replace(config.train, schedule="timed"),
        data=dataclasses.replace(config.data, **data),
        validation=dataclasses.replace(config.validation, every=0, path=None),
        max_minutes=args.minutes,
        tensorboard=importlib.util.find_spec("tensorboardX") is not None,
        **beginning(start) | {"save_every": 5000} | kept,
    )


def beginning(start):
    """The setting that a state or weights begin with."""
    from mtujax.training.state_files import read_extra

    if start is None:
        return {}
    if pathlib.Path(start).is_file():
        with contextlib.suppress(UserError):  # which weights are
            read_extra(start)
            return {"resume_state_from": start}
    return {"init_from": start}


def size_of(start):
    """The size of a rehearsal's network: that of what it begins with."""
    from mtujax.training.config import config_of
    from mtujax.training.state_files import read_extra
    from mtujax.weights.files import describe, locate

    match beginning(start):
        case {"resume_state_from": state}:
            model = config_of(read_extra(state)["config"], state).model
        case {"init_from": weights}:
            model = describe(locate(weights)).config
        case _:
            return TINY_NETWORK
    return {name: getattr(model, name) for name in TINY_NETWORK}


def read_recipe(name):
    """The `RunConfig` of a configuration."""
    from mtujax.training.config_dict import from_config_dict

    file, *form = name.split(":")
    try:
        recipe = importlib.import_module(f"configs.{file}")
    except ModuleNotFoundError as error:
        raise UserError(f"--recipe {name}: {error}") from None
    return from_config_dict(recipe.get_config(*form))


def joined(start, scratch):
    """The file to begin with; the parts of a state are joined in a scratch folder."""
    if start is None or (path := pathlib.Path(start)).exists():
        return start
    if not (parts := parts_of(path)):
        return start
    with open(scratch / STATE, "wb") as whole:
        for part in parts:
            whole.write(part.read_bytes())
    return str(scratch / STATE)


def parts_of(path):
    """Files that are its parts, by `write_parts` or by `split`, in their order."""
    return sorted(path.parent.glob(f"{path.name}.[0-9a-z][0-9a-z]"))


def export(args):
    """Writes weights and state of the last checkpoint, each whole or not at all."""
    from mtujax.training.run_folder import export_state, export_weights

    args.export.mkdir(parents=True, exist_ok=True)
    state = args.export / STATE
    done = export_weights(args.run, args.export / WEIGHTS)
    with tempfile.TemporaryDirectory(dir=args.export) as scratch:
        whole = pathlib.Path(scratch) / STATE
        export_state(args.run, whole)
        data = whole.read_bytes()
    write_parts(state, data)
    print(f"{args.export}: weights and state of update {done.updates}")


def write_parts(path, data):
    """Writes a file, or its parts where it is large."""
    pieces = [data[at : at + MOST] for at in range(0, len(data), MOST)]
    names = [path.with_name(f"{path.name}.{n:02d}") for n in range(len(pieces))]
    names = names if pieces[1:] else [path]
    for name, piece in zip(names, pieces, strict=True):
        with whole_output(name, folder=False) as part:
            part.write_bytes(piece)
    # Of an earlier state, which `joined` would take.
    for old in {path, *parts_of(path)} - {*names}:
        old.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
