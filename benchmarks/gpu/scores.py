"""Scores weights on sets of frames by the paper's PSNR and SSIM, in little time.

    python -m benchmarks.gpu.scores WEIGHTS SET ... [--json FOLDER]

Sets are in the layout `pairs`: their split `test`, or all where there are no splits.
`benchmarks.weights.bundled` has all figures of a model card, and takes longer.
"""

import argparse
import pathlib
import sys
import tempfile

import mtujax
from benchmarks.helpers import record
from mtujax.common.text import Column, Table, markdown
from mtujax.data.folders import find
from mtujax.errors import UserError
from mtujax.evaluation.results import to_json

PROTOCOL = "rt-paper"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="bundled name, file or training run")
    parser.add_argument("sets", nargs="+", type=pathlib.Path, help="folders")
    record.add_json(parser)
    args = parser.parse_args()
    results = {"machine": record.machine_printed(), "sets": {}}
    rows = []
    try:
        for path in args.sets:
            found = scored(args.weights, path)
            results["sets"][path.name] = to_json(found)
            record.keep(results, "scores", args.json)
            rows.append(row(path, found))
    except (UserError, OSError) as error:
        sys.exit(f"scores.py: error: {error}")
    columns = Column("set", align="l"), Column("PSNR"), Column("blurry"), Column("SSIM")
    print(markdown([Table("scores", args.weights, columns, rows)]))
    record.write(results, "scores", args.json)


def scored(weights, path):
    """The evaluation of a set."""
    splits = find("pairs", path, None).splits
    split = "test" if "test" in splits else "train"
    with tempfile.TemporaryDirectory() as folder:
        return mtujax.evaluate(
            weights,
            dataset="pairs",
            path=path,
            split=split,
            out=folder,
            protocols=(PROTOCOL,),
        )


def row(path, found):
    """Its cells of the table."""
    scores = found.protocols[PROTOCOL]
    psnr, ssim = scores.means
    return path.name, f"{psnr:.2f}", f"{scores.blurry_mean:.2f}", f"{ssim:.4f}"


if __name__ == "__main__":
    main()
