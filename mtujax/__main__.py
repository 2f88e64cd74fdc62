"""The command `mtujax`, also `python -m mtujax`: signals are noted from the start."""

import atexit
import contextlib
import gc
import os
import sys

from mtujax.common.interrupts import catching

_failed_with = 0


def main(args: list[str] | None = None, *, script: str | None = None) -> None:
    """Runs the command line, as `cli.app.main`, and exits (SystemExit)."""
    global _failed_with
    if args is None:  # of the process itself; registered first, it runs last
        atexit.register(_end)
    with catching(f"{script}.py" if script else "mtujax"):
        from mtujax.cli import app  # takes a moment to import

        try:
            app.main(args, script=script)
        except SystemExit as stopped:
            if args is None:
                _failed_with = stopped.code
            raise


def _end():
    """Ends the process, after all other exit handlers."""
    # Looking for garbage at the end takes longer than many a command, and delays a
    # signal that is obeyed.
    gc.freeze()
    if _failed_with:
        # What was ended midway may have threads of libraries at work, which crash when
        # the process is taken apart under them.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(_failed_with)


if __name__ == "__main__":
    main()
