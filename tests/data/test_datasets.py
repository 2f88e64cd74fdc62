import os
import shutil

import cv2
import numpy as np
import pytest
import sets
from networks import slow

from mtujax.cli import data as data_command
from mtujax.data.check import check_dataset
from mtujax.data.datasets import DATASETS
from mtujax.data.folders import find
from mtujax.errors import UsageError, UserError

PUBLISHED = [name for name in sets.FORMS if not name.startswith("pairs")]


@pytest.fixture(params=sets.FORMS)
def form(request):
    return sets.FORMS[request.param]


@pytest.fixture
def gopro(tmp_path):
    return sets.make(tmp_path / "set", sets.FORMS["gopro"])


@pytest.fixture
def own(tmp_path):
    return sets.make(tmp_path / "set", sets.FORMS["pairs"])


def pair(root, frame=1):
    return sets.pair(root, sets.FORMS["pairs"], "train", "kitchen", frame)


def broken(root, name="pairs", **options):
    return check_dataset(name, root, **options).broken


def known_counts(name):
    """{split: (videos, pairs)}."""
    return {
        split: (k.videos, sum(k.lengths.values()) if k.lengths else k.videos * k.each)
        for split, k in DATASETS[name].known.items()
    }


def test_the_known_counts_are_the_published_ones():
    assert {name: known_counts(name) for name in DATASETS} == {
        "gopro": {"train": (22, 2103), "test": (11, 1111)},
        "dvd": {"train": (61, 5708), "test": (10, 1000)},
        "reds": {"train": (240, 24000), "test": (30, 3000)},
        "bsd": {"train": (60, 6000), "valid": (20, 2000), "test": (20, 3000)},
        "pairs": {},
    }
    test = DATASETS["gopro"].known["test"].lengths
    assert {n: c for n, c in test.items() if c != 100} == {
        "GOPR0410_11_00": 134,
        "GOPR0862_11_00": 77,
    }
    train = DATASETS["gopro"].known["train"].lengths
    assert (min(train.values()), max(train.values())) == (48, 150)
    train = DATASETS["dvd"].known["train"].lengths
    assert (min(train.values()), max(train.values())) == (35, 229)
    assert " ".join(DATASETS["dvd"].known["test"].lengths) == (
        "IMG_0030 IMG_0049 IMG_0021 720p_240fps_2 IMG_0032 IMG_0033 IMG_0031 IMG_0003 "
        "IMG_0039 IMG_0037"
    )
    assert not train.keys() & DATASETS["dvd"].known["test"].lengths.keys()


@pytest.mark.parametrize(
    "name", [slow(n) if " " in n or n == "reds" else n for n in PUBLISHED]
)
def test_a_whole_published_set_has_no_findings(name, tmp_path):
    form = sets.FORMS[name]
    root = sets.make_whole(tmp_path / "set", form)
    report = check_dataset(form.name, root, config=form.config, quick=True)
    assert (report.missing, report.broken) == ((), ())
    found = {row.split: (row.videos, row.pairs) for row in report.rows}
    assert found == known_counts(form.name)
    assert all(row.sizes == {"1x1": row.videos} for row in report.rows)


def test_every_layout_is_recognised_with_its_frames_in_order(form, tmp_path):
    root = sets.make(tmp_path / "set", form)
    found = find(form.name, root, form.config)
    lengths = {
        split: {video.name: len(video.pairs) for video in videos}
        for split, videos in found.splits.items()
    }
    assert lengths == form.lengths
    for video in found.videos:
        wanted = sets.pair(root, form, video.split, video.name, 2)
        assert list(video.paths(2)) == wanted
        assert not video.unpaired
    assert check_dataset(form.name, root, config=form.config).broken == ()


def test_the_folder_may_be_the_outer_one_of_the_archive_or_the_layouts_own(tmp_path):
    root = sets.make(tmp_path / "bsd", sets.FORMS["bsd"])
    videos = find("bsd", root, "3ms24ms").videos
    for folder in ("BSD", "BSD/BSD_3ms24ms"):
        assert find("bsd", root / folder, "3ms24ms").videos == videos
    root = sets.make(tmp_path / "dvd", sets.FORMS["dvd"])
    inner = root / "DeepVideoDeblurring_Dataset" / "quantitative_datasets"
    assert find("dvd", inner).videos == find("dvd", root).videos


def test_frames_sort_by_number_and_pair_by_name_whatever_the_suffix(tmp_path):
    for kind, suffix in (("input", ".png"), ("GT", ".jpg")):
        (tmp_path / "clip" / kind).mkdir(parents=True)
        for n in (10, 2, 1):
            image = np.zeros((2, 2, 3), np.uint8)
            sets.write(tmp_path / "clip" / kind / f"f{n}{suffix}", image)
    (tmp_path / "clip" / "GT" / "Thumbs.db").touch()
    (video,) = find("pairs", tmp_path).videos
    wanted = (("f1.png", "f1.jpg"), ("f2.png", "f2.jpg"), ("f10.png", "f10.jpg"))
    assert video.pairs == wanted
    assert video.split == "train"


def test_missing_and_extra_videos_and_lengths_are_named(tmp_path):
    form = sets.FORMS["gopro"]
    root = sets.make_whole(tmp_path / "set", form)
    videos = root / "GOPRO_Large" / "train"
    shutil.rmtree(videos / "GOPR0386_11_00")
    os.rename(videos / "GOPR0884_11_00", videos / "GOPR9999_11_00")
    for folder in form.folders(root, "test", "GOPR0862_11_00"):
        folder.unlink()
        shutil.copytree(root / ".77", folder)
        for name in form.files(77)[3:5]:
            (folder / name).unlink()
    assert check_dataset("gopro", root, quick=True).missing == (
        "train/GOPR0386_11_00: missing, a video of 100 pairs",
        "train/GOPR0884_11_00: missing, a video of 100 pairs",
        "train/GOPR9999_11_00: extra, no video of the published set",
        "test/GOPR0862_11_00: 75 pairs, but 77 are known, without 50, 51",
    )
    shutil.rmtree(root / "GOPRO_Large" / "test")
    found = check_dataset("gopro", root, quick=True).missing
    assert found[-1] == "split test: missing, all 11 videos of it"


def test_a_set_without_known_names_is_compared_by_number(tmp_path):
    root = sets.make_whole(tmp_path / "set", sets.FORMS["bsd"])
    shutil.rmtree(root / "BSD" / "BSD_3ms24ms" / "valid" / "004")
    (line,) = check_dataset("bsd", root, config="3ms24ms", quick=True).missing
    assert line == "split valid: has 19 videos, but 20 are known"


def test_a_frame_without_partner_is_named(own):
    blurry, sharp = pair(own)
    sharp.unlink()
    (line,) = broken(own)
    assert line == f"{blurry}: has no partner in {sharp.parent}"
    shutil.rmtree(sharp.parent)
    (line,) = broken(own)
    assert line == f"{sharp.parent}: has no frames, but {blurry.parent} has 4"


def test_a_number_that_both_sides_skip_is_named(own):
    for path in pair(own, 2):
        path.unlink()
    assert check_dataset("pairs", own).missing == (
        "train/kitchen: no frame 2 between others",
    )


def test_a_folder_of_frames_that_is_empty_is_named(own):
    for path in [p for n in range(4) for p in pair(own, n)]:
        path.unlink()
    (line,) = broken(own)
    assert line == f"{pair(own)[0].parent}: has no PNG or JPEG frames"


def test_all_damaged_images_are_listed_and_no_other(own):
    files = sorted(own.rglob("*.png"))[:4]
    jpeg = files[0].with_suffix(".jpg")
    sets.write(jpeg, sets.rgb(files[0]))
    files[0].unlink()
    jpeg.write_bytes(jpeg.read_bytes()[:-20])
    data = files[1].read_bytes()
    files[1].write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])
    files[2].write_bytes(b"")
    files[3].write_text("not an image")
    assert sorted(broken(own)) == [
        f"{jpeg}: cut short",
        f"{files[1]}: damaged: a checksum does not fit",
        f"{files[2]}: empty file",
        f"{files[3]}: neither PNG nor JPEG",
    ]
    assert f"{files[2]}: empty file" in broken(own, quick=True)
    files[2].write_bytes(data[:-30])
    assert f"{files[2]}: cut short" in broken(own)


def test_jpegs_that_decode_though_damaged_are_named_in_our_words(tmp_path, capfd):
    root = sets.make(tmp_path / "set", sets.FORMS["pairs without splits"])
    files = sorted((root / "kitchen" / "blur").iterdir())[1:3]
    for file in files:
        data = file.read_bytes()
        middle = len(data) // 2
        file.write_bytes(data[:middle] + bytes(range(8)) + data[middle + 8 :])
        assert cv2.imread(str(file)) is not None
    assert "Corrupt JPEG" in capfd.readouterr().err
    report = check_dataset("pairs", root)
    assert report.findings == ()
    said = f"damaged, decoded as far as that went: {files[0]}, {files[1]}"
    assert report.notes == (said,)
    assert capfd.readouterr().err == ""


def test_sizes_that_differ_in_a_pair_or_a_video_are_named(own):
    blurry, sharp = pair(own)
    sets.write(sharp, np.zeros((24, 30, 3), np.uint8))
    assert broken(own) == (f"{blurry}: is 32x24, but its sharp frame is 30x24",)
    sets.write(blurry, np.zeros((24, 30, 3), np.uint8))
    wanted = f"{blurry}: is 30x24, but the frames before it are 32x24"
    assert broken(own) == (wanted,)


def test_a_folder_that_is_no_video_is_said(own):
    os.rename(own / "test" / "garden" / "blur", own / "test" / "garden" / "blurr")
    os.rename(own / "test" / "garden" / "sharp", own / "test" / "garden" / "sharpp")
    report = check_dataset("pairs", own)
    assert [row.split for row in report.rows] == ["train"]
    (own / "train" / "notes").mkdir()
    (note,) = check_dataset("pairs", own).notes
    assert note.endswith("train/notes")


def test_videos_beside_splits_are_refused(own):
    shutil.copytree(own / "train" / "kitchen", own / "attic")
    with pytest.raises(UserError, match="holds videos .attic. next to splits"):
        find("pairs", own)


@pytest.mark.parametrize("name", DATASETS)
def test_where_a_set_is_from_takes_one_line(name):
    assert "\n" not in DATASETS[name].instructions


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_that_is_none_is_refused_with_the_way_out(name, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find(name, tmp_path / "nowhere")
    with pytest.raises(UserError, match="this folder is empty; (unzip|put) [^\n]*$"):
        find(name, tmp_path)
    (tmp_path / "set.zip").touch()
    with pytest.raises(UserError, match="is a file; give the folder"):
        find(name, tmp_path / "set.zip")
    with pytest.raises(
        UserError, match=rf"does not hold {name}.*; (unzip|put) [^\n]*\Z"
    ):
        find(name, tmp_path)


def test_what_lies_there_instead_is_said(gopro, tmp_path):
    with pytest.raises(UserError, match="holds gopro/blur_gamma, not gopro/blur; add"):
        find("gopro", gopro, "blur")
    (tmp_path / "reds" / "reds_lmdb").mkdir(parents=True)
    with pytest.raises(UserError, match="an LMDB is not read"):
        find("reds", tmp_path / "reds")


def test_unknown_names_are_bad_use(gopro):
    with pytest.raises(
        UsageError, match="gropo: unknown dataset; known are gopro, dvd"
    ):
        find("gropo", gopro)
    with pytest.raises(UsageError, match="no config '3ms'; it has 1ms8ms, 2ms16ms"):
        find("bsd", gopro, "3ms")
    with pytest.raises(UsageError, match="config 'a/b': use letters"):
        find("pairs", gopro, "a/b")


def run(*args):
    return data_command.app([str(a) for a in args], standalone_mode=False)


def test_the_command_prints_a_table_and_fails_with_a_list(tmp_path, own, capsys):
    run("check", "pairs", own)
    assert capsys.readouterr().out.splitlines() == [
        f"pairs/default in {own}, pairs",
        "split     videos   pairs  size",
        "test           1       4  32x24",
        "train          2       9  32x24",
        "all frames are paired",
    ]
    pair(own)[0].unlink()
    pair(own, 3)[0].write_bytes(b"")
    with pytest.raises(UserError) as caught:
        run("check", "pairs", own)
    assert str(caught.value) == f"{own}: 2 findings in pairs/default"
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("finding: ") and "has no partner in" in first
    assert second == f"finding: {pair(own, 3)[0]}: empty file"


def test_progress_counts_every_image(own):
    seen = []
    check_dataset("pairs", own, progress=lambda *step: seen.append(step))
    assert seen[0] == (2, 26)
    assert seen[-1] == (26, 26)


def test_flat_pairs_of_one_video_are_a_split_by_its_name_only(tmp_path):
    for split in ("train", "kitchen"):
        for kind in ("input", "target"):
            (tmp_path / split / kind).mkdir(parents=True)
            image = np.zeros((2, 2, 3), np.uint8)
            sets.write(tmp_path / split / kind / "frame-1.png", image)
    with pytest.raises(UserError, match=r"holds videos \(kitchen\) next to splits"):
        find("pairs", tmp_path)
    shutil.rmtree(tmp_path / "kitchen")
    (video,) = find("pairs", tmp_path).videos
    assert (video.split, video.name) == ("train", "frame")
    (tmp_path / "train").rename(tmp_path / "kitchen")
    (video,) = find("pairs", tmp_path).videos
    assert (video.split, video.name) == ("train", "kitchen")


def test_a_flat_frame_without_a_partner_is_named(tmp_path):
    root = sets.make(tmp_path / "set", sets.FORMS["gopro flat"])
    (lost,) = root.glob("test/target/GOPR0862_11_00-000049.png")
    lost.unlink()
    (line,) = broken(root, "gopro")
    assert "input/GOPR0862_11_00-000049.png: has no partner in" in line


def test_flat_frames_are_of_one_video_where_its_name_begins_anothers(tmp_path):
    image = np.zeros((2, 2, 3), np.uint8)
    for kind in ("input", "target"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for stem in ("a-1", "a-2", "a-b-1", "a-1-3"):
            sets.write(tmp_path / "train" / kind / f"{stem}.png", image)
    found = {v.name: [b for b, _ in v.pairs] for v in find("pairs", tmp_path).videos}
    assert found == {
        "a": ["a-1.png", "a-2.png"],
        "a-1": ["a-1-3.png"],
        "a-b": ["a-b-1.png"],
    }
