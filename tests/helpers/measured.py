"""Benchmarks run small, as a user runs them."""

import json
import subprocess
import sys

from places import ROOT


def quick_run(name, folder, *more):
    """What `python -m benchmarks.NAME --quick --json FOLDER` writes and prints."""
    words = "-m", f"benchmarks.{name}", "--quick", "--json", folder, *more
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = folder.iterdir()
    assert file.match(f"{name.split('.')[-1]}-*.json")
    return json.loads(file.read_text()), done.stdout
