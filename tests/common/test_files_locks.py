import errno
import fcntl
import subprocess
import sys

import pytest

from mtujax.common.files import one_at_a_time
from mtujax.deblur.resume import Job
from mtujax.errors import UserError

NO_LOCKS = ["ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK"]


@pytest.fixture
def refusing(monkeypatch):
    """Makes every lock of a file system fail with an error, given by its name."""

    def refuse(name):
        def flock(*_):
            raise OSError(getattr(errno, name), "refused")

        monkeypatch.setattr(fcntl, "flock", flock)

    return refuse


@pytest.mark.parametrize("name", NO_LOCKS)
def test_where_there_are_no_locks_work_is_done_without(tmp_path, refusing, name):
    refusing(name)
    for _ in range(2):  # the second finds what the first left
        with pytest.warns(UserWarning, match="out: written without a lock"):
            with one_at_a_time(tmp_path / "lock", tmp_path / "out"):
                (tmp_path / "out").write_text("done")
    with pytest.warns(UserWarning, match="without a lock"):
        with Job(tmp_path / "out.mp4", {}) as job:
            job.finish({"frames": 1}, {})
    assert {path.name for path in tmp_path.iterdir()} <= {"lock", "out"}


def test_another_error_of_a_lock_is_raised_and_leaves_nothing(tmp_path, refusing):
    refusing("EIO")
    with pytest.raises(OSError, match="refused"):
        Job(tmp_path / "out.mp4", {})
    assert not list(tmp_path.iterdir())


def test_a_lock_that_a_process_holds_is_said_to_be_held(tmp_path):
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); "
        "fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, **pipes) as holder:
        holder.stdout.readline()
        with pytest.raises(UserError, match="out: is being prepared by another"):
            with one_at_a_time(tmp_path / "lock", tmp_path / "out"):
                pass
        holder.stdin.close()
    with one_at_a_time(tmp_path / "lock", tmp_path / "out"):
        pass
