"""What every benchmark says of its machine, and the file that its figures go to."""

import argparse
import json
import pathlib

from mtujax.machine import machine


def add_json(parser: argparse.ArgumentParser):
    """Adds the option that asks for the file."""
    parser.add_argument("--json", type=pathlib.Path, help="folder for the results")


def machine_printed() -> dict:
    """What the benchmark runs on, which is printed as well."""
    about = machine()
    print(" | ".join(f"{k} {v}" for k, v in about.items()), flush=True)
    return about


def write(results: dict, benchmark: str, folder: pathlib.Path | None):
    """Writes results with their "machine", if a folder is given."""
    if folder is None:
        return
    about = results["machine"]
    name = f"{benchmark}-{about['device']}-{about['date']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name.replace(" ", "-").lower()
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {path}")
