"""The flags of `eval.py`: what is evaluated, on what, by which protocols.

Those of a configuration file are read as `train.py` reads them.
"""

import argparse
import dataclasses
import re
from pathlib import Path

from mtujax.errors import UsageError
from mtujax.mappings import nearest
from mtujax.train_flags import Flags, read_flags

_CONFIG = re.compile(r"--?(?:no)?config(?:[.=].*)?$", re.DOTALL)
_OF_PROCESSES = ("coordinator", "processes", "process", "cache")


@dataclasses.dataclass(frozen=True)
class EvalFlags:
    """What a command line asks for.

    Attributes:
        hosts: which processes there are, and where compiled programs are kept; its
            `config` is None without --config.
        options: keyword arguments of `evaluation.evaluate`.
    """

    hosts: Flags
    options: dict


def read_eval_flags(argv: list[str], configs: Path) -> EvalFlags:
    """Reads a command line.

    Args:
        argv: with the program's name first.
        configs: folder of the configurations that come with the program.

    Returns:
        What it asks for.

    Raises:
        UsageError: for every mistake in it, or in the file that it names.
    """
    of_config, rest = _split(argv[1:])
    given = vars(_parser().parse_args(_known(rest)))
    if given["weights"] is None and given["results"] is None:
        raise UsageError("give --weights=NAME|FILE|RUN, or --results=DIR; see --help")
    if given["weights"] is not None and given["results"] is not None:
        raise UsageError("--weights and --results: give one of them")
    hosts = {name: given.pop(name) for name in _OF_PROCESSES}
    config = read_flags([argv[0], *of_config], configs).config if of_config else None
    options = given | _place(given, config)
    if config is not None and options["results"] is None:
        options["model"] = config.model
    options["out"] = options["out"] or _default_out(options)
    listed = options.pop("protocol")
    if listed:
        options["protocols"] = [one for text in listed for one in text.split(",")]
    return EvalFlags(Flags(config, **hosts), options)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(message.removeprefix("argument "))


def _whole(text):
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number") from None


def _parser():
    parser = _Parser(add_help=False, allow_abbrev=False)
    texts = "weights results out name dataset path split variant dtype"
    for name in (*texts.split(), "coordinator", "cache"):
        parser.add_argument(f"--{name}")
    for name in ("batch", "devices", "processes", "process"):
        parser.add_argument(f"--{name}", type=_whole)
    for name in ("motion", "consistency", "save_frames"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--protocol", action="append")
    return parser


def _split(tokens):
    """Flags of the configuration, and the others."""
    of_config, rest, tokens = [], [], list(tokens)
    while tokens:
        token = tokens.pop(0)
        kind = of_config if _CONFIG.match(token) else rest
        kind.append(token)
        if kind is of_config and "=" not in token and tokens:
            if not tokens[0].startswith("-"):
                kind.append(tokens.pop(0))
    return of_config, rest


def _known(tokens):
    """The tokens; refuses flags that there are not."""
    names = [action.dest for action in _parser()._actions]
    for token in tokens:
        found = re.match(r"--?([A-Za-z][^=]*)", token)
        if found and found[1] not in names:
            hint = nearest(f"--{found[1]}", [f"--{n}" for n in ("config", *names)])
            raise UsageError(f"{token}: no such flag; {hint}")
    return [f"-{t}" if re.match(r"-[A-Za-z]", t) else t for t in tokens]


def _place(given, config):
    """Where the frames are: flags go before the configuration."""
    found = {"dataset": None, "path": None, "variant": None, "split": "test"}
    if config is not None:
        found["dataset"] = config.data.name
        found["path"] = config.validation.path or config.data.path
        found["variant"] = config.data.variant
        found["split"] = config.validation.split
    found |= {name: given[name] for name in found if given[name] is not None}
    if found["dataset"] is None:
        raise UsageError("give --dataset=NAME and --path=DIR, or --config; see --help")
    if found["dataset"] == "synthetic":
        raise UsageError(
            "dataset synthetic: has no pairs of its own; give --dataset=gopro (dvd, "
            "reds, bsd, pairs) and --path=DIR"
        )
    if not found["path"]:
        raise UsageError(f"give --path=DIR, where {found['dataset']} lies")
    return found


def _default_out(options):
    method = options["name"] or Path(options["weights"] or options["results"]).stem
    words = [method, options["dataset"], options["variant"]]
    words += [options["split"]] if options["split"] != "test" else []
    words += [options["dtype"]]
    return str(Path("results") / "-".join(word for word in words if word))
