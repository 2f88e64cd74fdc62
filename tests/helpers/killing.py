"""Work that is killed before each change of the file system in turn, and started again.

Run as a program, which forks: `python killing.py WORK FOLDER`.
"""

import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
from places import ROOT

from mtujax.errors import UserError

_CHANGES = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")
_KILLED = 99


def tree(folder):
    """Every file with its content, and every folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.is_file() and path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def run(work, place):
    """Kills the work named so at every change; returns how many there are."""
    paths = os.pathsep.join((str(Path(__file__).parent), str(ROOT)))
    done = subprocess.run(
        [sys.executable, __file__, work, str(place)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-2])


def _kill_at(number):
    """Has the process end, with no tidying up, before its change number `number`."""
    count = 0

    def counted(change):
        def call(*given, **options):
            nonlocal count
            count += 1
            if count == number:
                os._exit(_KILLED)
            return change(*given, **options)

        return call

    for name in _CHANGES:
        setattr(os, name, counted(getattr(os, name)))


def _in_a_process(work, folder, number=None):
    """Its exit status; of work that says that all is done already, 0."""
    if not (child := os.fork()):
        status = 1
        try:
            os.chdir(folder)
            if number is not None:
                _kill_at(number)
            work()
            status = 0
        except UserError as error:
            done = "exists already" in str(error) and number is None
            status = 0 if done else 2
            print(error)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_everywhere(make, work, place):
    """Kills `work` at every change in a folder from `make`; the next start mends it."""
    first = place / "first"
    first.mkdir()
    make(first)
    whole = shutil.copytree(first, place / "whole")
    assert _in_a_process(work, whole) == 0
    wanted = tree(whole)
    for number in range(1, 1000):
        folder = shutil.copytree(first, place / f"{number}")
        status = _in_a_process(work, folder, number)
        if status == 0:
            break
        assert status == _KILLED, number
        assert _in_a_process(work, folder) == 0, number
        found = tree(folder)
        astray = {
            n for n in wanted.keys() | found.keys() if found.get(n) != wanted.get(n)
        }
        assert not astray, (number, sorted(astray))
        shutil.rmtree(folder)
    print(f"killed {number - 1} times")


def _photo(folder):
    import cv2

    (folder / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    photo = cv2.resize(noise, (160, 120))
    cv2.imwrite(str(folder / "photos/a.png"), photo)


def _synthesize(folder=Path(".")):
    from mtujax.synthesis.sets import Filming, write_photos

    filming = Filming(width=32, height=24, frames=2, clips=1)
    write_photos("photos", "set", filming, overwrite=True)


def _new_set(folder):
    _photo(folder)


def _old_set(folder):
    """A set to be replaced, with a split next to it that stays."""
    _photo(folder)
    for split in ("train", "val"):
        (folder / "set" / split / "clip").mkdir(parents=True)
        (folder / "set" / split / "synthesis.json").write_text("{}")
        (folder / "set" / split / "clip/0001.png").write_bytes(b"old")


def _write_files():
    from mtujax.common.dataclass_json import write_json
    from mtujax.common.files import publish, staged

    write_json(Path("a.json"), {"a": 1})
    write_json(Path("a.json"), {"a": 2})
    with staged(Path("b"), folder=True) as made:
        (made.path / "inside").mkdir()
        (made.path / "inside/file").write_text("b")
        publish(made, overwrite=True)


class _Restorer:
    """In place of the network: frames come back darker; the state counts them."""

    def __init__(self, *_, snapshot_every, **__):
        self._every, self._done = snapshot_every, 0

    def resume(self, state, done):
        assert state["done"] == done
        self._done = done

    def restore(self, frames):
        from mtujax.deblur.restorer import Restored
        from mtujax.model.stream import Step

        for source in frames:
            number, self._done = self._done, self._done + 1
            due = self._done % self._every == 0
            step = Step(source.frame // 2, np.full((4, 4, 2), 2, np.int32))
            state = {"done": np.array(self._done)} if due else None
            yield Restored(number, source, step, state)


def _frames(folder):
    import cv2

    (folder / "in").mkdir()
    for number in range(7):
        image = np.full((16, 16, 3), 20 * number, np.uint8)
        cv2.imwrite(str(folder / f"in/{number}.png"), image)


def _deblur(output, motion):
    from networks import SMALLEST

    from mtujax.deblur import api
    from mtujax.deblur.api import deblur_video
    from mtujax.model.network import MTUNet

    api.Restorer = _Restorer
    Path("elsewhere").mkdir(exist_ok=True)
    report = deblur_video(
        "in",
        output,
        save_motion=motion,
        weights=(MTUNet(SMALLEST), {"w": np.zeros(3, np.float32)}),
        segment_frames=3,
        resume=True,
        rate=25 if "." in output else None,
    )
    assert (report.frames, report.size) == (7, (16, 16))


def _videos(folder):
    import shutil

    _frames(folder)
    shutil.copytree(folder / "in", folder / "sets/a")
    (folder / "in").rename(folder / "sets/b")


def _deblur_videos(*shards):
    """The command for many; its reports have times, and are emptied at the end."""
    from networks import SMALLEST

    from mtujax.deblur import api
    from mtujax.deblur.videos import deblur_videos
    from mtujax.model.network import MTUNet

    api.Restorer, api.inference_form = _Restorer, lambda *network: network
    found = []
    for shard in shards or (None,):
        found += deblur_videos(
            "sets",
            "out",
            weights=(MTUNet(SMALLEST), {"w": np.zeros(3, np.float32)}),
            segment_frames=3,
            resume=True,
            shard=shard,
        )
    assert [(one.frames, one.error) for one in found] == [(7, None), (7, None)]
    for report in Path("out").glob("report*.json"):
        report.write_text("")


def _fetch():
    from mtujax.fetch import fetch_weights

    os.environ["MTUJAX_CACHE"] = "cache"
    url = os.environ["MTUJAX_TEST_URL"]
    fetch_weights(["mtu1-gopro"], source=url, accept_licence=True)


def _nothing(_):
    pass


def _checkpoint(folder):
    (folder / "a.pytorch").write_bytes(b"any")


def _convert():
    """The command, but for what it converts."""
    import types

    from mtujax import weights
    from mtujax.cli.weights import convert
    from mtujax.common.files import whole_output

    def written(checkpoint, output, preset):
        with whole_output(output, folder=False) as part:
            part.write_bytes(b"converted")
        return types.SimpleNamespace(preset="x", parameters=1, sha256="", dropped=())

    weights.convert_checkpoint = written
    convert(Path("a.pytorch"), Path("b.safetensors"), overwrite=True)


WORK = {
    "files": (_nothing, _write_files),
    "weights": (_checkpoint, _convert),
    "fetch": (_nothing, _fetch),
    "new set": (_new_set, _synthesize),
    "old set": (_old_set, _synthesize),
    "video": (_frames, lambda: _deblur("out.mkv", "elsewhere/motion.mkv")),
    "videos": (_videos, _deblur_videos),
    "shards": (_videos, lambda: _deblur_videos("1/2", "2/2")),
    "folder": (_frames, lambda: _deblur("out", "motion.mkv")),
}

if __name__ == "__main__":
    name, place = sys.argv[1:]
    make, work = WORK[name]
    if work is not _write_files:  # once, before it forks
        import mtujax.deblur.videos
        import mtujax.fetch.weights
        import mtujax.synthesis.sets  # noqa: F401

    kill_everywhere(make, work, Path(place))
