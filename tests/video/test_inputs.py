import os
import re
import socket
import threading

import cv2
import media
import pytest

from mtujax.common.files import check_output
from mtujax.errors import UserError
from mtujax.video.inputs import open_reader


def pipe(path):
    os.mkfifo(path)


def link_circle(path):
    path.symlink_to(path.name)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # whose names are short


def device(path):
    path.symlink_to("/dev/zero")


IRREGULAR = {
    "pipe": pipe,
    "socket": unix_socket,
    "device": device,
    "link that leads to itself": link_circle,
}


@pytest.mark.parametrize("what", IRREGULAR)
def test_what_is_no_file_is_refused_at_once_as_an_input(tmp_path, what):
    IRREGULAR[what](tmp_path / "a.mp4")
    with pytest.raises(UserError, match=f"a.mp4: is a {what}, not a file"):
        open_reader(tmp_path / "a.mp4")


@pytest.mark.parametrize("what", IRREGULAR)
@pytest.mark.parametrize("name", ["a.png", "b.jpg"])
def test_what_is_no_file_is_refused_at_once_as_a_frame(tmp_path, what, name):
    cv2.imwrite(str(tmp_path / "aa.png"), media.scene(1)[0])
    IRREGULAR[what](tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: is a {what}, not a frame"):
        open_reader(tmp_path)


def test_folders_and_broken_links_are_no_frames(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), media.scene(1)[0])
    (tmp_path / "b.png").symlink_to("nowhere.png")
    with pytest.raises(UserError, match="b.png: is a folder or a link to no file"):
        open_reader(tmp_path)
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UserError, match="b.png: is a folder or a link to no file"):
        open_reader(tmp_path)


@pytest.mark.parametrize("what", IRREGULAR)
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("folder", [True, False])
def test_what_is_no_file_is_never_replaced(tmp_path, what, overwrite, folder):
    source = tmp_path / "source.mp4"
    source.touch()
    IRREGULAR[what](tmp_path / "a.mp4")
    before = os.lstat(tmp_path / "a.mp4")
    said = re.escape(f"a.mp4: is a {what}, and is not replaced; name another")
    with pytest.raises(UserError, match=said):
        check_output(source, tmp_path / "a.mp4", folder=folder, overwrite=overwrite)
    assert os.lstat(tmp_path / "a.mp4") == before


def test_the_pipe_of_a_shell_is_refused_without_being_read(tmp_path):
    ours, theirs = os.pipe()
    writer = threading.Thread(target=os.write, args=(theirs, b"frames"))
    writer.start()
    with pytest.raises(UserError, match="is a pipe, not a file; save it to one"):
        open_reader(f"/dev/fd/{ours}")
    assert os.read(ours, 6) == b"frames"
    writer.join()
    os.close(ours), os.close(theirs)


def test_links_to_files_and_folders_are_followed(tmp_path):
    media.clip(tmp_path / "a.mp4", media.scene(2))
    (tmp_path / "b.mp4").symlink_to("a.mp4")
    with open_reader(tmp_path / "b.mp4") as reader:
        assert len(list(reader.frames())) == 2
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "c.png"), media.scene(1)[0])
    (tmp_path / "frames" / "a.png").symlink_to("../c.png")
    (tmp_path / "linked").symlink_to("frames")
    with open_reader(tmp_path / "linked") as reader:
        assert len(list(reader.frames())) == 1
