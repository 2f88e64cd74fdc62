"""Archives of others that must not be unpacked, and files out of those that may be."""

import contextlib
import stat
import zipfile

import pytest

from mtujax.errors import UserError
from mtujax.fetch.archive import files_below, find_member, opened, unpack


def archive(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name",
    ["../a", "x/../../a", "/etc/a", "C:/a", "..\\a", "x\\..\\..\\a", "\\a"],
)
def test_names_that_lead_outside_are_refused(tmp_path, name):
    path = archive(tmp_path / "a.zip", [("fine", b"1"), (name, b"2")])
    with pytest.raises(UserError, match="leads out of it") as caught:
        with opened(path):
            pass
    assert "\n" not in str(caught.value)


def test_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("MTU2_GoPro.pytorch")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = archive(tmp_path / "a.zip", [(link, b"/etc/passwd")])
    with pytest.raises(UserError, match="holds a link"):
        with opened(path):
            pass


def test_a_file_that_unpacks_to_far_more_is_refused(tmp_path):
    members = [("a", bytes(1 << 24))]
    path = archive(tmp_path / "a.zip", members, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="unpacks to far more"):
        with opened(path):
            pass


@pytest.mark.parametrize("method", ["STORED", "DEFLATED", "BZIP2", "LZMA"])
def test_any_changed_byte_is_noticed_or_harmless(tmp_path, method):
    method = getattr(zipfile, f"ZIP_{method}")
    members = [("x/a", b"one two three " * 9), ("b\u00e9", b"four")]
    path, out = archive(tmp_path / "a.zip", members, method), tmp_path / "out"
    whole = path.read_bytes()
    for at in range(len(whole)):
        for change in (1, 128, 255):
            changed = bytes([whole[at] ^ change])
            path.write_bytes(whole[:at] + changed + whole[at + 1 :])
            with contextlib.suppress(UserError), opened(path) as file:
                for info in file.infolist():
                    unpack(file, info, out)


def test_a_name_is_found_in_any_folder_but_not_twice(tmp_path):
    members = [("RT/ckpt/A.pytorch", b"1"), ("RT/x/b", b"2"), ("y/B", b"3")]
    path = archive(tmp_path / "a.zip", members)
    with opened(path) as file:
        info = find_member(path, file, "a.pytorch")
        unpack(file, info, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"1"
        assert find_member(path, file, "c") is None
        with pytest.raises(UserError, match="in it 2 times"):
            find_member(path, file, "b")


def test_files_of_a_folder_are_found_wherever_it_is(tmp_path):
    members = [("nah/test_nah/v/1.png", b"1"), ("__MACOSX/test_nah/v/1.png", b"2")]
    path = archive(tmp_path / "a.zip", [*members, ("test_nah", b"3"), ("train/a", b"")])
    with opened(path) as file:
        found = files_below(path, file, "test_nah")
    assert [str(name) for name in found] == ["test_nah/v/1.png"]


def test_one_path_of_two_files_is_refused(tmp_path):
    path = archive(tmp_path / "a.zip", [("a/t/1", b"1"), ("b/t/1", b"2")])
    with opened(path) as file, pytest.raises(UserError, match="twice"):
        files_below(path, file, "t")


def test_a_damaged_archive_is_one_line(tmp_path):
    whole = archive(tmp_path / "a.zip", [("a", bytes(range(256)) * 8)]).read_bytes()
    path = tmp_path / "b.zip"
    for data in (b"", b"text", whole[:-8], whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(UserError, match="damaged or not a zip") as caught:
            with opened(path):
                pass
        assert "\n" not in str(caught.value)
    changed = bytearray(whole)
    changed[100] ^= 1
    path.write_bytes(changed)
    with pytest.raises(UserError, match="damaged"), opened(path) as file:
        unpack(file, file.infolist()[0], tmp_path / "out")


def test_a_cut_archive_is_not_taken_for_the_last_one_in_it(tmp_path):
    inner = archive(tmp_path / "inner.zip", [("x/data.pkl", b"1")]).read_bytes()
    path = archive(tmp_path / "a.zip", [("inner.zip", inner)])
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="damaged"), opened(path):
            pass
