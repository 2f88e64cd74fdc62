"""Data sets out of archives in the authors' layout."""

import errno
import io
import os
import re

import cv2
import numpy as np
import pytest
import releases
from serving import serving

from mtujax.data.check import check_dataset
from mtujax.data.datasets import PublishedCounts
from mtujax.errors import UsageError, UserError
from mtujax.fetch import datasets, records
from mtujax.fetch.datasets import fetch_dataset
from mtujax.fetch.records import fetching

VIDEOS = {"train": {"GOPR1": 3, "GOPR2": 2}, "test": {"GOPR3": 2}}


def image(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def members(folder=""):
    found = {f"{folder}readme.txt": b"hello"}
    for split, videos in VIDEOS.items():
        for video, count in videos.items():
            for kind in ("blur_gamma", "sharp"):
                for n in range(count):
                    name = f"{folder}{split}_nah/{video}/{kind}/{n:06d}.png"
                    found[name] = image(len(found))
    return found


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """A cache of its own, and a published set that is as small as the archive's."""
    from mtujax.data.datasets import GOPRO

    monkeypatch.setenv("MTUJAX_CACHE", str(tmp_path / "cache"))
    counts = {s: PublishedCounts(len(v), dict(v)) for s, v in VIDEOS.items()}
    monkeypatch.setitem(GOPRO.known, "train", counts["train"])
    monkeypatch.setitem(GOPRO.known, "test", counts["test"])


@pytest.fixture
def there(tmp_path):
    path = tmp_path / "nah.zip"
    path.write_bytes(releases.packed(members("nah/")))
    return path


def test_a_downloaded_set_is_whole(tmp_path):
    output = tmp_path / "new" / "gopro"
    with serving(releases.packed(members())) as served:
        with pytest.raises(UsageError, match="--accept-licence"):
            fetch_dataset("gopro", output, source=served.url)
        done = fetch_dataset("gopro", output, source=served.url, accept_licence=True)
    assert (done.files, done.missing) == (14, ())
    check_dataset("gopro", output).refuse()
    for name, data in members().items():
        if name != "readme.txt":
            assert (output / name).read_bytes() == data
    assert os.listdir(output.parent) == ["gopro"]
    assert sorted(os.listdir(output)) == ["test_nah", "train_nah"]


def test_one_split_alone(there, tmp_path):
    output = tmp_path / "gopro"
    done = fetch_dataset("gopro", output, source=there, split="test")
    assert (done.files, done.missing) == (4, ())
    assert os.listdir(output) == ["test_nah"] and there.exists()


def test_what_the_set_lacks_is_noted(tmp_path):
    given = {n: d for n, d in members().items() if "GOPR2" not in n}
    path = tmp_path / "nah.zip"
    path.write_bytes(releases.packed(given))
    done = fetch_dataset("gopro", tmp_path / "gopro", source=path)
    assert done.missing == ("train/GOPR2: missing, a video of 2 pairs",)


def refused(tmp_path, word, path, **options):
    before = sorted({*os.listdir(tmp_path)} - {"cache"})
    with pytest.raises(UserError, match=word) as caught:
        fetch_dataset("gopro", tmp_path / "gopro", source=path, **options)
    assert "\n" not in str(caught.value)
    assert sorted({*os.listdir(tmp_path)} - {"cache"}) == before


@pytest.mark.parametrize(
    "given, word",
    [
        ({"test_nah/GOPR3/blur_gamma/0.png": b"", "train_nah/x": b"1"}, "no folder"),
        ({**members(), "../x.png": b"1"}, "leads out of it"),
        ({**members(), "nah/test_nah/GOPR3/sharp/000000.png": b"1"}, "twice"),
        ({**members(), "test_nah/GOPR3/sharp/000000.png": b"1"}, "cannot be used"),
    ],
)
def test_an_archive_that_cannot_be_used_leaves_nothing(tmp_path, given, word):
    path = tmp_path / "nah.zip"
    path.write_bytes(releases.packed(given))
    refused(tmp_path, word, path)


def test_another_archive_than_before_is_noticed(there, tmp_path):
    fetch_dataset("gopro", tmp_path / "first", source=there)
    there.write_bytes(releases.packed(members()))
    refused(tmp_path, "--accept-changed", there)
    fetch_dataset("gopro", tmp_path / "gopro", source=there, accept_changed=True)


def test_a_disk_without_room_is_noticed_before(there, tmp_path, monkeypatch):
    import shutil

    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    refused(tmp_path, "another --to", there)


@pytest.mark.parametrize("locked", [".", "gopro"])
def test_a_folder_that_cannot_be_written_is_refused_first(
    there, tmp_path, monkeypatch, locked
):
    (tmp_path / "gopro").mkdir()

    def refuse(dir):
        if dir == tmp_path / locked:
            raise PermissionError(errno.EACCES, "denied", "tmp1234")
        return io.BytesIO()

    # Permissions do not bind the tests where they run as root.
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    name = re.escape(str(tmp_path / locked))
    word = rf"^{name}: cannot be written \(denied\); name another folder by --to$"
    with serving(releases.packed(members())) as served:
        refused(tmp_path, word, there)
        refused(tmp_path, word, served.url, accept_licence=True)
    assert not served.asked


def test_a_folder_with_something_in_it_is_left_alone(there, tmp_path):
    (tmp_path / "gopro").mkdir()
    (tmp_path / "gopro" / "mine").write_text("mine")
    refused(tmp_path, "not empty", there)
    assert os.listdir(tmp_path / "gopro") == ["mine"]


def test_what_appears_while_it_is_unpacked_is_left_alone(there, tmp_path, monkeypatch):
    output = tmp_path / "gopro"

    def appearing(*args):
        output.mkdir(exist_ok=True)
        (output / "mine.txt").write_text("mine")

    monkeypatch.setattr(datasets, "check_space", appearing)
    with pytest.raises(UserError, match="gopro: appeared in the meantime"):
        fetch_dataset("gopro", output, source=there)
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_only_the_cache_is_to_be_placed_elsewhere(tmp_path, monkeypatch):
    with pytest.raises(PermissionError, match="theirs"), fetching():
        raise PermissionError(errno.EACCES, "denied", "theirs.zip")

    def refused(folder, remedy):
        raise PermissionError(errno.EACCES, "denied", str(folder))

    monkeypatch.setattr(records, "make_folder", refused)
    with pytest.raises(
        UserError, match=r"cannot be written \(denied\); .* MTUJAX_CACHE$"
    ):
        with fetching():
            raise AssertionError


def test_unknown_names_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="reds.*no data set to fetch"):
        fetch_dataset("reds", tmp_path / "x")
    with pytest.raises(UsageError, match="--split valid: there are train, test"):
        fetch_dataset("gopro", tmp_path / "x", split="valid")
