"""The command `eval.py`: from its flags to tables. Heavy imports wait for the flags.

Flags set the method, the dataset and the protocols. Those of a configuration file are
read as `train.py` reads them.
"""

import argparse
import dataclasses
import re
import sys
import textwrap
from pathlib import Path

from mtujax.cli.script import (
    Flags,
    asks_for_help,
    invoked,
    join_processes,
    listed_configs,
    program_of,
    run_script,
)
from mtujax.cli.train import read_flags
from mtujax.common.hardware import use_cache
from mtujax.common.text import nearest
from mtujax.errors import UsageError

_CONFIG = re.compile(r"--?(?:no)?config(?:[.=].*)?$", re.DOTALL)
_OF_PROCESSES = ("coordinator", "processes", "process", "cache")


@dataclasses.dataclass(frozen=True)
class EvalFlags:
    """What a command line asks for.

    Attributes:
        hosts: the processes, and the cache of compiled programs; its `config` is None
            without --config.
        options: keyword arguments of `evaluation.api.evaluate`.
    """

    hosts: Flags
    options: dict


def read_eval_flags(argv: list[str], configs: Path) -> EvalFlags:
    """Reads a command line; UsageError for any mistake in it or in its file."""
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
    """Separates the flags of the configuration from the others."""
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
    """Returns the tokens; refuses unknown flags."""
    names = [action.dest for action in _parser()._actions]
    for token in tokens:
        found = re.match(r"--?([A-Za-z][^=]*)", token)
        if found and found[1] not in names:
            hint = nearest(f"--{found[1]}", [f"--{n}" for n in ("config", *names)])
            raise UsageError(f"{token}: no such flag; {hint}")
    return [f"-{t}" if re.match(r"-[A-Za-z]", t) else t for t in tokens]


def _place(given, config):
    """Where the frames are: flags take precedence over the configuration."""
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


_HELP = """\
usage: {command} --weights=NAME|FILE|RUN --dataset=NAME --path=DIR [...]
       {command} --weights=NAME|FILE|RUN --config=NAME|FILE [...]
       {command} --results=DIR --dataset=NAME --path=DIR [...]

Restores the videos of a dataset and scores them, or scores results made by any other
method. Interrupt it at any time; rerun the same command to resume with the next video.

  --weights=NAME|FILE|RUN   bundled weights (`mtujax weights`), a .safetensors file, or
                            the folder of a training run (its latest checkpoint)
  --results=DIR             frames to be scored: DIR/VIDEO/FRAME.png (.jpg, .npy), named
                            as the dataset's, or in the same order
  --dataset=NAME            gopro, dvd, reds, bsd or pairs (your own)
  --path=DIR                its folder, as unpacked or as `mtujax data prepare` made it
  --split=NAME              part of it [test]
  --variant=NAME            kind of blur, as gopro's blur_gamma [the default one]
  --config=NAME|FILE        a configuration of train.py: dataset, path and variant are
                            its data's, the split is its validation's, and weights
                            must be of its model; flags above go before it
  --config.FIELD=VALUE      changes one field of it
  --out=DIR                 folder of what is found [results/METHOD-DATASET]
  --protocol=NAME,...       {protocols}
  --motion                  also score the motion between sharp frames (paper, Sec. 4.2)
                            and, where exact flow lies beside them, its end-point error
  --consistency             also compare neighbouring frames along their motion; slow
  --save_frames             keep restored frames as PNG, in DIR/frames
  --name=NAME               of the method, in tables
  --dtype=TYPE              float32, bfloat16 or float16 [the network's own]
  --batch=N                 evaluation batch size, in videos [one per device]
  --devices=N               that are used [all of this machine]
  --coordinator=HOST:PORT, --processes=N, --process=K, --cache=DIR
                            as for train.py; all processes need the same --out

Configurations:
{configs}"""


def main(argv: list[str], *, configs: Path) -> None:
    """Evaluates as the command line says, and exits (SystemExit)."""
    if asks_for_help(argv):
        print(_help(argv, configs))
        sys.exit(0)
    run_script(program_of(argv), lambda: _evaluate(read_eval_flags(argv, configs)))


def _help(argv, configs):
    from mtujax.metrics.protocols import DEFAULT, PROTOCOLS

    return _HELP.format(
        protocols=_wrapped(f"{', '.join(PROTOCOLS)} [{','.join(DEFAULT)}]"),
        command=" ".join(invoked(argv[:1])),
        configs=listed_configs(configs),
    )


def _wrapped(text):
    """Wraps text to the column of the flags' meanings."""
    indent = 28 * " "
    lines = textwrap.fill(
        text,
        width=88,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    return lines.lstrip()


def _evaluate(flags: EvalFlags):
    """Evaluates; heavy imports are done here."""
    use_cache(flags.hosts.cache)
    from mtujax import parallel
    from mtujax.common.progress import FrameProgress
    from mtujax.evaluation.api import evaluate
    from mtujax.evaluation.tables import as_text

    join_processes(flags.hosts)
    with FrameProgress("evaluating", stderr=True) as progress:
        found = evaluate(
            **flags.options, on_frames=progress, on_note=lambda line: print(line)
        )
    if parallel.is_first():
        print(as_text(found))
        print(f"in {flags.options['out']}: results.json, videos.csv, frames.csv")
    return 0
