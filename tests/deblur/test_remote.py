"""Inputs and outputs behind URLs, by file systems of fsspec that need no network."""

import json
import os
import sys
import tempfile

import cv2
import media
import numpy as np
import pytest
from killing import tree

from mtujax import deblur_videos
from mtujax.deblur import remote
from mtujax.errors import UserError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder for temporary files, in which nothing is to stay."""
    (folder := tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


@pytest.fixture
def memory(scratch):
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


@pytest.fixture
def local(tmp_path):
    """A video, a folder of frames and a file that is no video."""
    (folder := tmp_path / "in").mkdir()
    media.h264_mp4(folder / "a.mp4", media.scene(4))
    (folder / "b").mkdir()
    for number in range(3):
        image = np.full((48, 64, 3), 25 * number + 9, np.uint8)
        cv2.imwrite(str(folder / "b" / f"f{number}.png"), image)
    (folder / "c.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def there(memory, local):
    memory.put(f"{local}/", "/bucket/in/", recursive=True)
    return "memory://bucket/in"


def listed(memory, folder):
    return sorted(memory.find(folder))


def test_outputs_behind_a_url_are_those_of_local_files(
    tmp_path, memory, local, there, tiny
):
    deblur_videos(local, tmp_path / "out", weights=tiny)
    expected = tree(tmp_path / "out")
    out, notes = "memory://bucket/made/out", []
    found = deblur_videos(there, out, weights=tiny, on_note=notes.append)
    assert [v.frames for v in found] == [4, 3, None]
    assert "memory://bucket/in/c.mp4: cannot be read" in found[2].error
    assert not any("mtujax-" in text for text in [*notes, found[2].error])
    names = [f"/bucket/made/out/b/f{n}.png" for n in range(3)]
    names += ["/bucket/made/out/a.mp4", "/bucket/made/out/report.json"]
    assert listed(memory, "/bucket/made") == sorted(names)
    for name in names[:4]:
        assert memory.cat(name) == expected[name.removeprefix("/bucket/made/out/")]


def test_what_the_report_there_calls_finished_is_skipped(memory, there, tiny):
    out = "memory://bucket/out"
    deblur_videos([f"{there}/*.mp4", f"{there}/b"], out, weights=tiny)
    with pytest.raises(UserError, match="memory://bucket/out/a.mp4.*: exists already"):
        deblur_videos([f"{there}/a.mp4"], out, weights=tiny)
    found = deblur_videos(there, out, weights=tiny, resume=True)
    assert [v.skipped for v in found] == [True, True, False]
    memory.rm("/bucket/out/b/f1.png")
    found = deblur_videos(there, out, weights=tiny, resume=True)
    assert [v.skipped for v in found] == [True, False, False]
    assert len(listed(memory, "/bucket/out/b")) == 3
    memory.pipe("/bucket/in/a.mp4", b"another")
    (video,) = deblur_videos([f"{there}/a.mp4"], out, weights=tiny, resume=True)
    assert "a.mp4: has changed since" in video.error
    with pytest.raises(UserError, match="^memory://bucket/out/report.json: its videos"):
        deblur_videos(there, out, weights=tiny, resume=True, scene_threshold=0.1)
    report = json.loads(memory.cat("/bucket/out/report.json"))
    assert [v["output"] for v in report["videos"]] == ["a.mp4", "c.mp4", "b"]


def test_an_interrupted_one_starts_over_and_shards_share_a_folder(memory, there, tiny):
    out = "memory://bucket/out"

    def interrupt(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        deblur_videos(there, out, weights=tiny, progress=interrupt, segment_frames=1)
    assert caught.value.__notes__ == ["0 of 3 videos are finished; --resume continues"]
    assert listed(memory, "/bucket/out") == ["/bucket/out/report.json"]
    for shard in ("1/2", "2/2"):
        deblur_videos(there, out, weights=tiny, shard=shard, resume=True, batch=2)
    found = deblur_videos(there, out, weights=tiny, resume=True)
    assert [v.skipped for v in found] == [True, True, False]


def test_only_one_side_may_be_behind_a_url(tmp_path, scratch, local, tiny):
    out = tmp_path / "out"
    deblur_videos([f"file://{local}/b"], out, weights=tiny)
    assert set(os.listdir(out / "b")) == {"f0.png", "f1.png", "f2.png"}
    deblur_videos([local / "b"], f"file://{tmp_path}/away", weights=tiny)
    away, here = tree(tmp_path / "away"), tree(out)
    assert {n: away[n] for n in here if "/" in n} == {
        n: x for n, x in here.items() if "/" in n
    }


def test_a_failed_copy_is_of_that_video_alone(memory, there, tiny, monkeypatch):
    kind, put = type(memory), type(memory).put_file

    def failing(self, here, path, *given, **options):
        if "a.mp4" in path:
            raise PermissionError("Access Denied")
        return put(self, here, path, *given, **options)

    monkeypatch.setattr(kind, "put_file", failing)
    found = deblur_videos(there, "memory://bucket/out", weights=tiny)
    assert found[0].error == "memory://bucket/out/a.mp4: Access Denied"
    assert found[1].frames == 3


def test_what_cannot_be_reached_is_one_line_with_the_remedy(tmp_path, tiny, memory):
    def refused(word):
        with pytest.raises(UserError) as caught:
            deblur_videos([word], tmp_path / "out", weights=tiny)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    said = refused("nonsense://bucket/a.mp4")
    assert said.startswith("nonsense://bucket/a.mp4: Protocol not known")
    assert "no such file or folder" in refused("memory://bucket/none.mp4")
    assert "no file or folder has such a name" in refused("memory://bucket/*.mp4")


def test_a_library_that_is_not_installed_is_named(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match="s3://bucket/a.mp4: Install s3fs"):
        deblur_videos(["s3://bucket/a.mp4"], tmp_path / "out", weights=tiny)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UserError) as caught:
        deblur_videos(["s3://bucket/a.mp4"], tmp_path / "out", weights=tiny)
    said = "fsspec is not installed; in a clone, pip install '.[remote]'"
    assert str(caught.value) == said


def test_what_a_killed_process_left_is_swept(scratch):
    with remote._scratch("memory://bucket/a.mp4") as place:
        left = place.parent
    left.mkdir()
    (left / place.name).mkdir()
    (left / place.name / "a.mp4").write_bytes(b"half")
    with remote._scratch("memory://bucket/a.mp4") as again:
        assert again == place and not list(again.iterdir())
        with pytest.raises(UserError, match="memory://bucket/a.mp4: another process"):
            remote._scratch("memory://bucket/a.mp4").__enter__()
