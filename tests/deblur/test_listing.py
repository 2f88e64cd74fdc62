import os

import pytest

from mtujax.deblur.listing import find_inputs, name_outputs, shard_of
from mtujax.errors import UsageError, UserError


def frames(folder):
    folder.mkdir()
    (folder / "f0.png").write_bytes(b"\x89\0")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with videos, frames and what is neither, as the current one."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("clips/a10.mp4", "clips/a2.AVI", "clips/notes.txt", "clips/._p.jpg"),
        *("b/a2.mkv", "c/A10.MP4", "x"),
    ):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        open(name, "w").close()
    frames(tmp_path / "clips" / "shots")
    (tmp_path / "clips" / ".hidden.mp4").touch()
    return tmp_path


def found(*words, to="out"):
    return find_inputs(words, to)


def outputs(*words, to="out"):
    return list(name_outputs(found(*words, to=to), to).values())


def test_a_folder_without_frames_stands_for_the_videos_in_it(here):
    assert found("clips") == ["clips/a2.AVI", "clips/a10.mp4", "clips/shots"]
    assert found("clips/shots") == ["clips/shots"]


def test_a_gif_is_a_video_but_not_among_frames(here):
    for folder in ("clips", "clips/shots"):
        (here / folder / "a.gif").touch()
    assert "clips/a.gif" in found("clips") and "clips/shots" in found("clips")
    assert found("clips/shots") == ["clips/shots"]
    assert outputs("clips/a.gif") == ["out/a.mkv"]


def test_a_folder_of_videos_and_pictures_is_refused_not_guessed(here):
    (here / "clips" / "cover.jpg").touch()
    with pytest.raises(UserError, match=r"^clips: holds .*\(cover.jpg\); give 'clips/"):
        found("clips")
    assert found("clips/*.mp4") == ["clips/a10.mp4"]


def test_globs_are_in_natural_order_and_names_go_before_globs(here):
    assert found("clips/a*", "x") == ["clips/a2.AVI", "clips/a10.mp4", "x"]
    (here / "a[1].mp4").touch()
    (here / "a1.mp4").touch()
    assert found("a[1].mp4") == ["a[1].mp4"]


def test_a_list_has_a_name_on_each_line(here):
    (here / "list.txt").write_bytes(b"\xef\xbb\xbfx\r\n\nclips/*.mp4\nn\xff.mp4\n")
    with pytest.raises(UserError, match=r"^list.txt, line 4: n\\xff.mp4: no such"):
        found("@list.txt")
    (here / "list.txt").write_text("x\r\n\nclips/*.mp4")
    assert found("@list.txt") == ["x", "clips/a10.mp4"]
    (here / "list.txt").write_text("x\nclips/*.mov")
    with pytest.raises(UserError, match="^list.txt, line 2: clips/.*no file or folder"):
        found("@list.txt")


def test_names_are_kept_and_what_cannot_be_written_is_matroska(here):
    assert outputs("clips", "x") == [
        "out/a2.mkv",
        "out/a10.mp4",
        "out/shots/",
        "out/x.mkv",
    ]
    assert outputs(str(here / "clips/shots/."), to="o") == ["o/shots/"]


@pytest.mark.parametrize(
    "words, to, kind, said",
    [
        ([], "out", UsageError, "no input: give videos"),
        (["-"], "out", UsageError, "-: a pipe has no name"),
        (["clips/*.mov"], "out", UserError, "clips/.*no file or folder has such"),
        (["gone.mp4"], "out", UserError, "gone.mp4: no such file or folder"),
        (["@clips/shots/f0.png"], "out", UserError, "is not a list of names"),
        (["x", "./x"], "out", UserError, "./x: is given twice"),
        (["clips", "clips/*.mp4"], "out", UserError, "clips/a10.mp4: is given twice"),
        (["clips", "b/*"], "out", UserError, "AVI and b/a2.mkv: both .* out/a2.mkv"),
        (["clips"], "clips/out", UserError, "clips/out: is in clips, which is an inp"),
        (["clips/shots"], "clips/shots/o", UserError, "is in clips/shots, which"),
        (["clips/a10.mp4", "c/A10.MP4"], "out", UserError, "MP4, as case makes no dif"),
        (["x", "clips"], "clips/.", UserError, "^clips/.: is an input itself; choose"),
        (["x"], "", UsageError, "folder '': give one for the outputs"),
        (["clips/a10.mp4"], "clips", UsageError, "a10.mp4: is an input itself"),
    ],
)
def test_what_would_lose_or_mix_files_is_refused_before_any_work(
    here, words, to, kind, said
):
    with pytest.raises(kind, match=said):
        outputs(*words, to=to)


def test_the_folder_of_outputs_itself_is_left_out(here):
    frames(here / "out")
    assert found("*") == [
        "b/a2.mkv",
        "c/A10.MP4",
        "clips/a2.AVI",
        "clips/a10.mp4",
        "clips/shots",
        "x",
    ]


def test_shards_take_every_input_once():
    items = list(range(37))
    shards = [shard_of(items, f"{n}/16") for n in range(1, 17)]
    assert shards[2] == [2, 18, 34]
    assert sorted(sum(shards, [])) == items and shard_of(items, None) == items
    for text in ("0/3", "4/3", "3", "a/b", "1/0", "-1/3"):
        with pytest.raises(UsageError, match="give N/M"):
            shard_of(items, text)
