"""The command `mtujax`, also `python -m mtujax`: signals are noted from the start."""

import atexit
import gc

from mtujax.common.interrupts import catching


def main(args: list[str] | None = None, *, script: str | None = None) -> None:
    """Runs the command line, as `cli.app.main`, and exits (SystemExit)."""
    # Looking for garbage at the end takes longer than many a command, and delays a
    # signal that is obeyed.
    atexit.register(gc.freeze)
    with catching(f"{script}.py" if script else "mtujax"):
        from mtujax.cli import app  # takes a moment to import

        app.main(args, script=script)


if __name__ == "__main__":
    main()
