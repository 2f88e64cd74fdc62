"""How a process of the command line ends."""

import subprocess
import sys


def test_a_process_ends_without_looking_for_garbage():
    """Which takes longer than many a command, and delays signals at the end."""
    done = _ended_with("--version")
    assert done.returncode == 0 and done.stdout.startswith("mtujax 0.")
    assert "handled" in done.stdout and "circle" not in done.stdout


def test_a_process_that_failed_is_not_taken_apart():
    """Threads of libraries may be at work; exit handlers run all the same."""
    done = _ended_with("deblur")
    assert (done.returncode, done.stdout) == (2, "handled\n")
    assert done.stderr.startswith("mtujax: error: ") and done.stderr.count("\n") == 1


def _ended_with(word):
    """A process with an object alive, one in a circle, and an exit handler."""
    code = (
        "import atexit, mtujax.__main__ as m\n"
        "class Object:\n"
        "    def __del__(self): print(self.name)\n"
        "alive, circle = Object(), Object()\n"
        "alive.name, circle.name, circle.itself = 'alive', 'circle', circle\n"
        "def catching(name, real=m.catching):\n"
        "    atexit.register(print, 'handled')\n"
        "    return real(name)\n"
        "m.catching = catching\n"
        "m.main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, word], capture_output=True, text=True
    )
