"""All that an accelerator is wanted for, in one go and within some minutes.

    python -m benchmarks.gpu.day OUT --photos PHOTOS [--cutouts CUTOUTS]
        [--sets SET ...] [--start FILE] [--minutes 30] [--only train scores]

In this order, each part in a process of its own, which has its share of the time left:

    tests       `pytest -m gpu`
    matchers    every implementation of the matcher in one table
    narrow      convolutions of few channels, as they are and widened by zeros
    flags       a frame with and without command buffers, by XLA_FLAGS
    train       the network that is to be bundled, by the schedule "timed" (`learn.py`);
                weights and state are exported to OUT every five minutes
    scores      of these weights, or of the bundled ones without them, on --sets
    speed       the table of the presets, with a file that is written again at each row

A part that fails, or for which too little time is left, is named, and the others run.
OUT/day.json says how each has ended, and OUT/PART.txt what it printed; whatever is to
be brought home is directly in OUT, in files below 16 MiB. The same command does what
was not finished, or was with other code or arguments; a finished run of training is
kept as OUT/run-1 and so on then. --quick is the rehearsal, for a CPU as well.

Where nothing can be installed, pure wheels of what is missing serve as they are, put
into a folder --wheels (docs/contributing.md, "A GPU without a network").
"""

import argparse
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPORT_EVERY = 300  # seconds
EXPORT_TAKES = 120  # seconds at most
STARTS_IN = 300  # seconds at most
GRACE = 60  # seconds to save in, after a part's time
# Ends the process group named in the first line, as `stop` does, if no second line
# comes: who named it was killed, and cannot stop it any more.
GUARD = f"""read -r group && ! read -r _ || exit
kill -INT $group
for _ in $(seq {GRACE}); do kill -0 $group || break; sleep 1; done
kill -KILL -$group"""


@dataclasses.dataclass(frozen=True)
class Part:
    """A share of the time left, beside the parts after it, and the least minutes."""

    share: float
    least: float


PARTS = {
    "tests": Part(3, 1),
    "matchers": Part(3, 1),
    "narrow": Part(1, 0.5),
    "flags": Part(1, 0.5),
    "train": Part(15, 2),
    "scores": Part(3, 1),
    "speed": Part(5, 1),
}
DONE = "done"


class Refused(Exception):
    """What a user can mend, in a line."""


def main():
    args = arguments()
    try:
        status = day(args)
    except Refused as error:
        sys.exit(f"day.py: error: {error}")
    except OSError as error:
        sys.exit(f"day.py: error: {error.filename or args.out}: {error.strerror}")
    except KeyboardInterrupt:
        print("day.py: interrupted; the same command does the rest", file=sys.stderr)
        status = 130
    sys.exit(status)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("out", type=pathlib.Path, help="folder for all results")
    add("--photos", type=pathlib.Path, help="photographs to train on")
    add("--cutouts", type=pathlib.Path, help="objects in front of them")
    add("--sets", type=pathlib.Path, nargs="+", default=[], help="to score, as pairs")
    add("--start", help="weights, or a state of OUT, to begin the training with")
    add("--recipe", default="bundled_fast", help="of configs/")
    add("--wheels", type=pathlib.Path, help="folder of wheels to import from")
    add("--minutes", type=float, default=30, help="for everything")
    add("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts")
    add("--quick", action="store_true", help="everything tiny: only to see it run")
    args = parser.parse_args()
    if not args.minutes > 0:
        parser.error(f"--minutes {args.minutes:g}: must be above 0")
    if "train" in args.only and args.photos is None:
        parser.error("train: --photos FOLDER is missing; --only names other parts")
    if "scores" in args.only and not args.sets:
        parser.error("scores: --sets FOLDER is missing; --only names other parts")
    for path in (args.photos, args.cutouts, args.wheels, *args.sets):
        if path and not path.is_dir():
            parser.error(f"{path}: no such folder")
    if args.out.exists() and not args.out.is_dir():
        parser.error(f"{args.out}: is a file; name a folder")
    found = sorted(args.wheels.resolve().glob("*.whl")) if args.wheels else []
    before = filter(None, [os.environ.get("PYTHONPATH")])
    os.environ["PYTHONPATH"] = os.pathsep.join([*before, *map(str, found)])
    return args


def day(args):
    """Runs the parts in their order; 1 if one of them was not done."""
    end = time.monotonic() + 60 * args.minutes
    args.out.mkdir(parents=True, exist_ok=True)
    record = read_record(args.out)
    record["machine"] = machine(args)
    if "train" in args.only:
        check_training(args)
    save(record, args.out)
    names = [name for name in PARTS if name in args.only]
    for at, name in enumerate(names):
        last, asked = record["parts"].get(name, {}), identity(name, args)
        if last.get("status") == DONE:
            if last.get("of") == asked:
                say(name, "is done already")
                continue
            say(name, "was done with other code or arguments")
        left = (end - time.monotonic()) / 60
        shares = [PARTS[other].share for other in names[at:]]
        minutes = left * shares[0] / sum(shares)
        least = 0 if args.quick else PARTS[name].least
        if minutes <= least:
            why = f"{max(minutes, 0):.1f} of at least {least:g} minutes are left"
            found = {"status": "left out", "why": why}
        else:
            if name == "train" and last.get("status") == DONE:
                put_aside(args.out / "run")
            started = time.monotonic()
            found = run_part(name, args, 60 * minutes)
            found["seconds"] = round(time.monotonic() - started, 1)
        record["parts"][name] = found | {"of": asked}
        save(record, args.out)
        say(name, *found.values())
    return int(any(record["parts"][n]["status"] != DONE for n in names))


def identity(name, args):
    """What a part is done with: the code, its arguments but the time, the weights."""
    code, weights = hashlib.sha256(), args.out / "weights.safetensors"
    for folder in ("mtujax", "benchmarks", "configs", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            code.update(b"%s\0%s\0" % (bytes(path), path.read_bytes()))
    found = {"code": code.hexdigest(), "command": words_of(name, args, 0)}
    if name == "scores" and weights.exists():
        found["weights"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    return found


def put_aside(run):
    """Renames a finished run, if there is one."""
    names = (run.with_name(f"{run.name}-{n}") for n in itertools.count(1))
    if run.exists():
        run.rename(next(name for name in names if not name.exists()))


def say(name, *what):
    print(f"{name}: {', '.join(str(x) for x in what)}", flush=True)


def read_record(folder):
    """What an earlier start with the same folder has finished."""
    path = folder / "day.json"
    if not path.exists():
        return {"parts": {}}
    try:
        record = json.loads(path.read_text())
        return {"parts": dict(record["parts"])}
    except (ValueError, KeyError, TypeError):
        raise Refused(f"{path}: damaged; delete it, or name another folder") from None


def save(record, folder):
    """Writes the file whole, or not at all."""
    part = folder / "day.json.part"
    try:
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.replace(folder / "day.json")
    except OSError:
        part.unlink(missing_ok=True)
        raise


def machine(args):
    """What JAX finds here, asked in a process of its own: this one takes no memory."""
    code = (
        "import json, jax; from mtujax.common.hardware import machine; "
        "print(json.dumps([jax.default_backend(), machine()]))"
    )
    done = asked([sys.executable, "-c", code])
    if done.returncode:
        raise Refused(f"mtujax cannot be imported: {why_not(done)}")
    backend, found = json.loads(done.stdout.splitlines()[-1])
    if backend == "cpu" and not args.quick:
        raise Refused("JAX finds no accelerator here; --quick rehearses without one")
    print(" | ".join(f"{k} {v}" for k, v in found.items()), flush=True)
    return found


def check_training(args):
    """Refuses a recipe or a start that the training would refuse, before any part."""
    done = asked([*words_of("train", args, 0), "--check"], JAX_PLATFORMS="cpu")
    if done.returncode:
        raise Refused(f"train: {why_not(done)}")


def asked(words, **environment):
    """A process that answers soon, or not at all."""
    given = dict(cwd=ROOT, capture_output=True, text=True, timeout=STARTS_IN)
    try:
        return subprocess.run(words, env=os.environ | environment, **given)
    except subprocess.TimeoutExpired:
        raise Refused(
            f"JAX does not start in {STARTS_IN} s: is the device busy?"
        ) from None


def why_not(done):
    """What a process that failed said last, and what helps."""
    why = last_line(done.stderr)
    lacking = "No module named" in why and "'configs." not in why
    return why + "; put its wheel into --wheels" * lacking


def run_part(name, args, seconds):
    """How a part has ended."""
    log = args.out / f"{name}.txt"
    words = words_of(name, args, seconds)
    export = (lambda: run_export(args)) if name == "train" else None
    code, late = run(words, log, seconds, export)
    if name == "train":
        why = run_export(args)  # whatever became of it: what it has saved counts
        if code == 0 and why is None:
            return {"status": DONE}
        if code == 0:
            return {"status": "failed", "why": f"not exported: {why}"}
    if code == 0 and not late:
        return {"status": DONE}
    if late:
        return {"status": "not in time", "why": f"{seconds / 60:.1f} minutes were over"}
    if code < 0:
        return {"status": "failed", "why": f"killed by signal {-code}"}
    return {"status": "failed", "why": last_line(log.read_text(errors="replace"))}


def words_of(name, args, seconds):
    """The command line of a part."""
    python, out = [sys.executable, "-m"], str(args.out.resolve())
    quick = ["--quick"] * args.quick
    if name == "tests":
        files = map(str, sorted((ROOT / "tests" / "end_to_end").glob("test_gpu*.py")))
        return [*python, "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    if name == "matchers":
        only = ["--only", "matcher", "--json", out]
        return [*python, "benchmarks.speed.core", *only, *quick]
    if name == "narrow":
        return [*python, "benchmarks.training.narrow", "--json", out, *quick]
    if name == "flags":
        return [*python, "benchmarks.gpu.flags", "--json", out, *quick]
    if name == "train":
        minutes = (seconds - min(60, seconds / 5)) / 60
        words = [*python, "benchmarks.gpu.learn", f"{out}/run", "--recipe", args.recipe]
        words += ["--photos", str(args.photos.resolve()), "--minutes", f"{minutes:.3f}"]
        words += quick
        if args.cutouts:
            words += ["--cutouts", str(args.cutouts.resolve())]
        if args.start:
            start = pathlib.Path(args.start)  # or a bundled name, which has no suffix
            words += ["--start", str(start.resolve() if start.suffix else start)]
        return words
    if name == "scores":
        made = args.out.resolve() / "weights.safetensors"
        weights = str(made) if made.exists() else "fast"
        sets = [str(path.resolve()) for path in args.sets]
        return [*python, "benchmarks.gpu.scores", weights, *sets, "--json", out]
    words = ["--add-to", f"{out}/speed.json", "--minutes", f"{seconds / 60:.2f}"]
    return [*python, "benchmarks.speed.speed", *words, *quick]


def run_export(args):
    """Writes weights and state of the run beside what is running; why not, or None."""
    out, log = str(args.out.resolve()), args.out / "export.txt"
    words = [sys.executable, "-m", "benchmarks.gpu.learn", f"{out}/run"]
    # On the CPU: the memory of the accelerator is the training's.
    words, environment = [*words, "--export", out], {"JAX_PLATFORMS": "cpu"}
    code, _ = run(words, log, EXPORT_TAKES, **environment)
    return None if code == 0 else last_line(log.read_text(errors="replace"))


def run(words, log, seconds, regularly=None, **environment):
    """Exit status of a process, which may be asked to end, and whether it was."""
    # Set to nothing, the flags are not chosen by tests/conftest.py: compiled as usual.
    # Unfiltered, JAX's tracebacks end with the error, which is the reason reported.
    usual = {"XLA_FLAGS": "", "JAX_TRACEBACK_FILTERING": "off"}
    environment = usual | os.environ | environment
    with (
        log.open("w") as out,
        guarded() as name_group,
        subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        end = time.monotonic() + seconds
        try:
            name_group(process.pid)
            while (left := end - time.monotonic()) > 0:
                wait = min(left, EXPORT_EVERY) if regularly else left
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(wait), False
                if regularly and end - time.monotonic() > EXPORT_TAKES:
                    regularly()
        finally:
            stop(process)
        return process.wait(), True


@contextlib.contextmanager
def guarded():
    """A block in which a process group, once it is named, ends with this process."""
    nowhere = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    given = dict(stdin=subprocess.PIPE, text=True, **nowhere)
    guard = subprocess.Popen(["sh", "-c", GUARD], start_new_session=True, **given)

    def name(group):
        guard.stdin.write(f"{group}\n")
        guard.stdin.flush()

    try:
        yield name
    finally:
        guard.communicate("over\n")


def stop(process):
    """Has a process save and end, and ends it with whatever it has started."""
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def last_line(text):
    """What a process said last."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have the first ignored
        signal.signal(number, signal.default_int_handler)
    main()
