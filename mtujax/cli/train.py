"""The command `train.py`: from its flags to a run. Heavy imports wait for the flags.

Flags are read by absl and ml_collections; what these report of a user's mistake becomes
a `UsageError`. JAX is not imported before the flags, and the file that `--config`
names, are found to exist.
"""

import ast
import difflib
import os
import re
import shlex
import sys
import traceback
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from mtujax.cli.script import (
    Flags,
    asks_for_help,
    config_titles,
    invoked,
    join_processes,
    listed_configs,
    make_importable,
    program_of,
    run_script,
    say,
)
from mtujax.common.hardware import CACHE, use_cache
from mtujax.errors import UsageError

_CONFIG = re.compile(r"--?config(?:=(.*))?$", re.DOTALL)
_FLAG = re.compile(r"--?(?:no(?=config\.))?([A-Za-z][^=]*)")


class _OrNone(flags.ArgumentParser):
    """Also takes None; whether the field may be None is checked later."""

    def __init__(self, parse, wanted):
        self._parse, self._wanted = parse, wanted

    def parse(self, argument):
        if isinstance(argument, str) and argument.lower() == "none":
            return None
        try:
            return self._parse(argument)
        except (SyntaxError, TypeError, ValueError):
            raise ValueError(f"must be {self._wanted}") from None


_OTHERS = {
    "coordinator": flags.ArgumentParser(),
    "processes": _OrNone(flags.IntegerParser(1).parse, "a number from 1"),
    "process": _OrNone(flags.IntegerParser(0).parse, "a number from 0"),
    "cache": flags.ArgumentParser(),
}
"""Flags besides --config and its fields."""


def read_flags(argv: list[str], configs: Path) -> Flags:
    """Reads a command line; UsageError for any mistake in it or in its file."""
    argv = _with_paths(argv, configs)
    path = _check_names(argv, configs)
    make_importable(configs)
    # Late, as it imports JAX.
    from mtujax.training.config_dict import from_config_dict

    _register_parsers()
    logging.set_verbosity(logging.ERROR)  # it warns of what is refused here
    sys.modules.pop("config_config", None)  # the file read before, if any
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    for name, parser in _OTHERS.items():
        flags.DEFINE(parser, name, None, "", flag_values=values)
    try:
        _check_rest(values(argv)[1:])
        config = values.config
        getattr(config, "get", None)  # raises what reading the file raised
    except UsageError:
        raise
    except Exception as error:
        explained = _explain(error, path)
        if explained is None:
            raise
        raise UsageError(explained) from error
    if not isinstance(config, ConfigDict):
        given = type(config).__name__
        raise UsageError(f"{path}: get_config() gives no ConfigDict but {given}")
    others = {name: getattr(values, name) for name in _OTHERS}
    return Flags(from_config_dict(config), **others)


def _with_paths(argv, configs):
    """The command line with `--config=mtu2` as the path of that configuration."""
    argv = list(argv)
    for place, token in enumerate(argv):
        found = _CONFIG.match(token) if place else None
        apart = found and found[1] is None
        if apart and place + 1 == len(argv):
            break
        if found:
            name, colon, rest = (argv[place + 1] if apart else found[1]).partition(":")
            path = configs / f"{name}.py"
            if re.fullmatch(r"\w+", name) and path.is_file():
                if not Path(name).is_file():
                    given = f"{os.path.relpath(path)}{colon}{rest}"
                    argv[place + apart] = given if apart else f"--config={given}"
            break
    return argv


def _check_names(argv, configs):
    """Returns the configuration file; refuses mistyped names and missing files."""
    path, overrides, rest = None, [], []
    for place, token in enumerate(argv[1:], 1):
        if token == "--":
            break
        if found := _CONFIG.match(token):
            if path or overrides:
                raise UsageError(f"{token}: must come once, before all --config.FIELD")
            following = argv[place + 1 : place + 2] or [None]
            path = found[1] if found[1] is not None else following[0]
        elif found := _FLAG.match(token):
            name = found[1]
            if name.startswith("config."):
                overrides.append(name.removeprefix("config."))
            elif name not in _OTHERS:
                raise UsageError(f"{token}: no such flag; {_nearest_flag(name)}")
        else:
            rest.append(token)
    if not path:
        file = next((token for token in rest if Path(token).is_file()), "FILE")
        raise UsageError(f"give the configuration as --config={file}; see --help")
    file = path.split(":")[0]
    if not Path(file).is_file():
        raise UsageError(f"--config={file}: {_no_file(file, configs)}")
    if overrides:
        from mtujax.training.config_dict import check_field

        for name in overrides:
            check_field(name)
    return file


def _nearest_flag(name):
    from mtujax.training.config import RunConfig
    from mtujax.training.config_dict import field_names

    if name in field_names(RunConfig):
        return f"did you mean --config.{name}?"
    near = difflib.get_close_matches(name, ["config", *_OTHERS], n=1)
    if near:
        return f"did you mean --{near[0]}?"
    return "settings are --config.FIELD=VALUE; see --help"


def _no_file(file, configs):
    if Path(file).exists():
        return "is a folder, give a file"
    known = {Path(path).stem: path for path in config_titles(configs)}
    near = difflib.get_close_matches(Path(file).stem, known, n=1)
    if near:
        return f"no such file; did you mean {known[near[0]]}?"
    return f"no such file; there are {', '.join(known.values())}"


def _check_rest(rest):
    if rest:
        setting = rest[0] if "=" in rest[0] else "FIELD=VALUE"
        raise UsageError(f"{rest[0]}: unexpected; a setting is --config.{setting}")


def _tuple(argument):
    value = ast.literal_eval(argument) if isinstance(argument, str) else argument
    if not isinstance(value, list | tuple):
        raise ValueError
    return tuple(value)


def _section(argument):
    if not isinstance(argument, ConfigDict):
        raise ValueError
    return argument


def _register_parsers():
    parsers = {
        int: (flags.IntegerParser().parse, "a whole number"),
        float: (flags.FloatParser().parse, "a number"),
        bool: (flags.BooleanParser().parse, "true or false"),
        str: (str, "text"),
        tuple: (_tuple, "several values, as (1, 2) or (1,)"),
        ConfigDict: (_section, "None where it may be; else its fields have flags"),
    }
    for kind, (parse, wanted) in parsers.items():
        parser = _OrNone(parse, wanted)
        config_flags.register_flag_parser_for_type(kind, parser)


def _explain(error, path):
    """One line for what is wrong with the flags or the file, or None for a bug."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    for origin in reversed(chain):  # those of ml_collections and absl come after it
        if (line := _line(origin, path)) is not None:
            return f"{path}, line {line}: {_words(origin)}"
        literal = getattr(origin, "filename", None) == "<unknown>"  # a flag's value
        if isinstance(origin, SyntaxError | UnicodeDecodeError) and not literal:
            return f"{path}: is no Python file ({_words(origin)})"
    if isinstance(chain[-1], AttributeError) and chain[-1].name == "get_config":
        return f"{path}: has no get_config()"
    if isinstance(chain[-1], TypeError) and "get_config()" in str(chain[-1]):
        none = "takes 0 positional" in str(chain[-1])
        hint = "; its name takes nothing after a colon" if none else ""
        return f"{path}: {chain[-1]}{hint}"
    if isinstance(error, KeyError) and (name := re.search(r"\(in: (.*)\)", str(error))):
        return f"--config.{name[1]}: cannot be set, as another flag takes it away"
    if isinstance(error, flags.Error):
        return " ".join(str(error).split()).removeprefix("flag ")
    return None


def _line(error, path):
    """Number of the last line of a file that an error passed through, or None."""
    if isinstance(error, SyntaxError) and _same(error.filename, path):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if _same(frame.filename, path)]
    return lines[-1] if lines else None


def _same(name, path):
    return os.path.realpath(name or "") == os.path.realpath(path)


def _words(error):
    text = " ".join(str(getattr(error, "msg", error)).split())
    # ml_collections lists every value of the section before this.
    meant = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
    unknown = re.search(r'Key "(\w+)" does not exist', text)
    if meant or unknown:
        from mtujax.training.config import RENAMED

        name = meant[2] if meant else unknown[1]
        for old, new in RENAMED.items():
            if old.rpartition(".")[2] == name:
                return f"{old}: is called {new} now"
        return f"{name}: no such field" + (
            f"; did you mean {meant[1]}?" if meant else ""
        )
    text = text.split(" Other fields present")[0]
    return f"{type(error).__name__}: {text}"


_HELP = """\
usage: {command} --config=NAME|FILE [--config.FIELD=VALUE ...]

Trains a network. Interrupt it at any time; rerun the same command to resume.

  --config=NAME|FILE        a configuration of those below, or a Python file whose
                            get_config() returns one
  --config.FIELD=VALUE      changes one field of it; None where a field may have it
  --coordinator=HOST:PORT   of several processes: where the first one listens; auto
                            asks the machine (TPU VMs; SLURM, Open MPI, Kubernetes
                            and GKE are seen without it); none: there is one process
  --processes=N             with it: how many there are
  --process=K               with it: which one this is, from 0
  --cache=DIR               compiled programs, used again by the next start; "" for
                            none [{cache}]

Fields that are often changed (mtujax/training/config.py, mtujax/config.py list all):
  --config.run=runs/mine            folder of checkpoints, logs and configuration
  --config.data.name=NAME           gopro, dvd, reds, bsd, pairs or synthetic
  --config.data.path=DIR            that dataset, or the photographs to be filmed
  --config.data.teacher=FILE        motion labels by `mtujax convert --teacher`
  --config.validation.path=DIR      photographs, or a dataset, to be judged by
  --config.batch=8                  clips of an update, over all devices
  --config.train.steps=300000       updates in all
  --config.train.motion_weight=0    without motion labels
  --config.model.dtype=bfloat16     half precision
  --config.init_from=mtu2           start from weights: a name, a file or a run
  --config.max_minutes=60           save and stop after that time

Configurations:
{configs}"""


def main(argv: list[str], *, configs: Path) -> None:
    """Trains as the command line says, and exits (SystemExit)."""
    if asks_for_help(argv):
        command = shlex.join(invoked(argv[:1]))
        print(
            _HELP.format(command=command, cache=CACHE, configs=listed_configs(configs))
        )
        sys.exit(0)
    run_script(program_of(argv), lambda: _train(argv, read_flags(argv, configs)))


def _train(argv, flags: Flags):
    """Trains; heavy imports are done here."""
    use_cache(flags.cache)
    from mtujax import parallel
    from mtujax.training.interrupts import Interrupted
    from mtujax.training.run import train

    if not join_processes(flags):
        parallel.use_cores(flags.config.batch)
    command = shlex.join(invoked(argv))
    try:
        finished = train(flags.config, command=command)
    except Interrupted as stop:
        say(program_of(argv), stop)
        return stop.status
    if parallel.is_first():
        print(_summary(flags.config.run, finished, command), flush=True)
    return 0


def _summary(run, finished, command):
    """Summarises the run in a line."""
    parts = [f"{run}: {finished.updates} updates"]
    if finished.skipped:
        parts.append(f"{finished.skipped} left out as not finite")
    if finished.psnr is not None:
        parts.append(f"{finished.psnr:.2f} dB (blurry {finished.blurry:.2f} dB)")
    if not finished.complete:
        parts.append(f"its time is over; to go on: {command}")
    return ", ".join(parts)
