"""The command `eval.py`: from its flags to tables. Heavy imports wait for the flags."""

import sys
import textwrap
from pathlib import Path

from mtujax.compile_cache import use_cache
from mtujax.eval_flags import EvalFlags, read_eval_flags
from mtujax.scripts import (
    asks_for_help,
    join_processes,
    listed_configs,
    run_script,
)

_PROGRAM = "eval.py"
_HELP = """\
usage: python eval.py --weights=NAME|FILE|RUN --dataset=NAME --path=DIR [...]
       python eval.py --weights=NAME|FILE|RUN --config=FILE [--config.FIELD=VALUE ...]
       python eval.py --results=DIR --dataset=NAME --path=DIR [...]

Restores the videos of a dataset and scores them, or scores results made by any other
method. It can be stopped at any time; the same command goes on with the next video.

  --weights=NAME|FILE|RUN   bundled weights (`mtujax weights`), a .safetensors file, or
                            the folder of a training run (its latest checkpoint)
  --results=DIR             frames to be scored: DIR/VIDEO/FRAME.png (.jpg, .npy), named
                            as the dataset's, or in the same order
  --dataset=NAME            gopro, dvd, reds, bsd or pairs (your own)
  --path=DIR                its folder, as unpacked or as `mtujax data prepare` made it
  --split=NAME              part of it [test]
  --variant=NAME            kind of blur, as gopro's blur_gamma [the default one]
  --config=FILE             a configuration of train.py: dataset, path and variant are
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
  --batch=N                 videos that advance together [one per device]
  --devices=N               that are used [all of this machine]
  --coordinator=HOST:PORT, --processes=N, --process=K, --cache=DIR
                            as for train.py; all processes need the same --out

Configurations:
{configs}"""


def main(argv: list[str], *, configs: Path) -> None:
    """Evaluates as the command line says, and exits.

    Args:
        argv: with the program's name first.
        configs: folder of the configurations that come with the program.

    Raises:
        SystemExit: always, with the exit status.
    """
    if asks_for_help(argv):
        print(_help(configs))
        sys.exit(0)
    run_script(_PROGRAM, lambda: _evaluate(read_eval_flags(argv, configs)))


def _help(configs):
    from mtujax.protocols import DEFAULT, PROTOCOLS

    return _HELP.format(
        protocols=_wrapped(f"{', '.join(PROTOCOLS)} [{','.join(DEFAULT)}]"),
        configs=listed_configs(configs),
    )


def _wrapped(text):
    """Text in the column of the flags' meanings."""
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
    """Heavy imports are done here."""
    use_cache(flags.hosts.cache)
    from mtujax import parallel
    from mtujax.evaluation import evaluate
    from mtujax.evaluation_text import as_text
    from mtujax.progress import FrameProgress

    join_processes(flags.hosts)
    with FrameProgress("evaluating", stderr=True) as progress:
        found = evaluate(
            **flags.options, on_frames=progress, on_note=lambda line: print(line)
        )
    if parallel.is_first():
        print(as_text(found))
        print(f"in {flags.options['out']}: results.json, videos.csv, frames.csv")
    return 0
