"""The door of `train.py` and `eval.py`; imports nothing that may be missing or slow."""

import importlib
import sys
from pathlib import Path


def launch(script: str, module: str) -> None:
    """Runs a script's command to its exit, from the first import on.

    Args:
        script: its path; the configurations lie beside it, in `configs`.
        module: whose `main` is the command, in `mtujax`.

    Raises:
        SystemExit: always, with the exit status.
    """
    path = Path(script)
    try:
        command = importlib.import_module(f"mtujax.{module}")
        command.main(sys.argv, configs=path.parent / "configs")
    except KeyboardInterrupt:  # before `main` says what becomes of it
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "mtujax").startswith("mtujax"):
            raise
        message = f"{error.name} is not installed; pip install -e '.[train]'"
        print(f"{path.name}: error: {message}", file=sys.stderr)
        sys.exit(1)
