import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import sets
from disks import full_disk
from filelock import FileLock

from mtujax.cli import data as data_command
from mtujax.data import prepare as preparing
from mtujax.data.datasets import DATASETS, dataset
from mtujax.data.locate import open_frames
from mtujax.data.prepare import prepare_dataset
from mtujax.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")

from mtujax.data.frames import builder, prepared  # noqa: E402

OWN = sets.FORMS["pairs"]
VERSION = "1.0.0"


@pytest.fixture
def own(tmp_path):
    return sets.make(tmp_path / "set", OWN)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture(params=[False, True], ids=["records", "raw"])
def raw(request):
    return request.param


def final(out, raw):
    return out / "pairs" / "default" / ("raw" if raw else VERSION)


def visible(out):
    """What a reader of the folder could take for a set."""
    return [path for path in out.rglob("*") if path.is_file() and path.name[0] != "."]


@pytest.mark.parametrize("name", sets.FORMS)
def test_records_hold_the_files_bytes_in_stored_order(name, tmp_path):
    form = sets.FORMS[name]
    root = sets.make(tmp_path / "set", form)
    done = prepare_dataset(form.name, root, tmp_path, config=form.config, partial=True)
    label = "/".join(filter(None, (form.name, form.config)))
    assert done.folder == tmp_path / label / VERSION
    made = builder(form.name, config=form.config, data_dir=tmp_path)
    for split, videos in form.lengths.items():
        wanted = [(video, n) for video, count in videos.items() for n in range(count)]
        source = tfds.data_source(label, split=split, data_dir=tmp_path)
        raw = made.raw_source(split)
        assert len(source) == len(raw) == len(wanted)
        for n, (video, frame) in enumerate(wanted):
            files = sets.pair(root, form, split, video, frame)
            assert (raw[n]["video"].decode(), raw[n]["frame"]) == (video, frame)
            for kind, file in zip(("blurry", "sharp"), files, strict=True):
                assert raw[n][kind] == file.read_bytes()
                np.testing.assert_array_equal(source[n][kind], sets.rgb(file))
        entries = [[video, count, 24, 32] for video, count in videos.items()]
        assert made.info.metadata["videos"][split] == entries


def test_slices_of_splits_and_reading_by_name_work_as_usual_in_tfds(own, out):
    prepare_dataset("pairs", own, out, config="mine")
    prepare_dataset(
        "pairs", own, out, config="mine", raw=True
    )  # lies beside the versions
    part = tfds.data_source("pairs/mine", split="train[2:6]", data_dir=out)
    assert [int(example["frame"]) for example in part] == [2, 3, 0, 1]
    both = tfds.data_source("pairs/mine", split="train+test", data_dir=out)
    assert len(both) == 13
    code = (
        "import sys, tensorflow_datasets as tfds; "
        f"s = tfds.data_source('pairs/mine', split='test', data_dir={str(out)!r}); "
        "print(len(s), 'mtujax' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["4", "False", "False"], done.stderr


def test_a_builder_is_found_by_name_class_and_config(own, out):
    from mtujax.data.builders import Gopro

    assert tfds.builder("gopro", data_dir=out).builder_config.name == "blur_gamma"
    linear = builder("gopro", config="blur", data_dir=out)
    assert isinstance(linear, Gopro)
    assert linear.data_dir == str(out / "gopro" / "blur" / VERSION)
    assert (
        builder("dvd", data_dir=out).info.features["blurry"].encoding_format == "jpeg"
    )
    assert not builder("bsd", data_dir=out).is_prepared()
    # TFDS's own way to build, without ours around it.
    made = builder("pairs", data_dir=out)
    config = tfds.download.DownloadConfig(manual_dir=str(own))
    made.download_and_prepare(download_config=config)
    assert len(made.as_data_source("train")) == 9


@pytest.mark.parametrize("name", DATASETS)
def test_tfds_says_where_to_get_a_set_and_how_it_should_lie(name, out):
    made = builder(name, data_dir=out)
    config = tfds.download.DownloadConfig(manual_dir=str(out / "nowhere"))
    with pytest.raises(AssertionError) as caught:
        made.download_and_prepare(download_config=config)
    assert dataset(name).instructions in str(caught.value)
    assert not visible(out / name / "default")


def test_tensorflow_is_never_imported_and_tfds_only_where_it_is_needed(own, out):
    code = (
        "import sys\n"
        "from mtujax.cli import data\n"
        "from mtujax.data.clips import Clips, ClipSpec\n"
        "from mtujax.data.locate import open_frames\n"
        "from mtujax.data.prepare import prepare_dataset\n"
        f"prepare_dataset('pairs', {str(own)!r}, {str(out)!r}, raw=True)\n"
        f"source = open_frames('pairs', {str(out)!r}, split='train')\n"
        "Clips(source, ClipSpec(3))[0]\n"
        "heavy = {'jax', 'grain', 'tensorflow_datasets', 'array_record'}\n"
        "print(heavy & set(sys.modules))\n"
        f"prepare_dataset('pairs', {str(own)!r}, {str(out)!r})\n"
        "print({'tensorflow', 'jax'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["set()", "set()"], done.stderr


def test_without_the_training_extra_the_way_out_is_named(own, out, monkeypatch):
    monkeypatch.delattr("mtujax.data.builders", raising=False)
    monkeypatch.delitem(sys.modules, "mtujax.data.builders")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"pip install '\.\[train\]'"):
        prepare_dataset("pairs", own, out)


def test_a_bad_set_is_refused_and_nothing_is_written(own, out, raw):
    blurry, sharp = sets.pair(own, OWN, "train", "kitchen", 2)
    sharp.unlink()
    with pytest.raises(UserError, match=f"1 finding.*: {blurry}: has no partner"):
        prepare_dataset("pairs", own, out, raw=raw, partial=True)
    blurry.unlink()
    with pytest.raises(UserError, match="no frame 2 .*; --partial accepts it"):
        prepare_dataset("pairs", own, out, raw=raw)
    bad = sets.pair(own, OWN, "test", "garden", 3)[1]
    bad.write_bytes(bad.read_bytes()[:-9])
    with pytest.raises(UserError, match=f"{bad}: cut short"):
        prepare_dataset("pairs", own, out, raw=raw, partial=True)
    with pytest.raises(UserError, match=f"{bad}: cut short"):
        prepare_dataset("pairs", own, out, raw=raw, partial=True, quick=True)
    assert not visible(out)
    sets.write(bad, np.zeros((24, 30, 3), np.uint8))
    with pytest.raises(UserError, match="30x24"):
        prepare_dataset("pairs", own, out, raw=raw, partial=True)
    assert not visible(out)


def test_a_split_that_tfds_could_not_name_is_refused(own, out):
    (own / "test").rename(own / "test-2")
    with pytest.raises(UserError, match="test-2: not the name of a split"):
        prepare_dataset("pairs", own, out)


def test_a_set_that_exists_is_kept_or_replaced_whole(own, out, raw):
    first = prepare_dataset("pairs", own, out, raw=raw)
    second = "--overwrite .* it, --config NAME prepares another set of your own next to"
    with pytest.raises(UserError, match=f"exists already; {second}"):
        prepare_dataset("pairs", own, out, raw=raw)
    shutil.rmtree(own / "train" / "my street")
    again = prepare_dataset("pairs", own, out, raw=raw, overwrite=True)
    assert again.folder == first.folder == final(out, raw)
    (video,) = open_frames("pairs", out, split="train").videos
    assert video.name == "kitchen"
    assert not list(out.glob("**/*.part*")) + list(out.glob("**/*.old*"))


def test_an_older_version_is_refused_and_replaced_on_demand(own, out):
    new = prepare_dataset("pairs", own, out).folder
    old = new.rename(new.with_name("0.9.0"))
    message = "prepared as version 0.9.0, .*--overwrite"
    with pytest.raises(UserError, match=message):
        prepare_dataset("pairs", own, out)
    with pytest.raises(UserError, match=message):
        prepared("pairs", data_dir=out)
    with pytest.raises(UserError, match=message):
        open_frames("pairs", out, split="train")
    prepare_dataset("pairs", own, out, overwrite=True)
    assert new.exists() and not old.exists()


def test_a_decoded_copy_of_an_older_version_is_refused(own, out):
    folder = prepare_dataset("pairs", own, out, raw=True).folder
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 0}))
    message = "version 0, but this mtujax reads 1; .*--overwrite"
    with pytest.raises(UserError, match=message):
        open_frames("pairs", out, split="train")
    with pytest.raises(UserError, match=message):
        prepare_dataset("pairs", own, out, raw=True)
    prepare_dataset("pairs", own, out, raw=True, overwrite=True)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="manifest.json: damaged"):
        open_frames("pairs", out, split="train")


@pytest.mark.parametrize(
    "damaged", ["dataset_info.json", "metadata.json", "pairs-test.array_record-*"]
)
def test_damaged_records_are_named_and_replaced(own, out, damaged):
    path = next(prepare_dataset("pairs", own, out).folder.glob(damaged))
    whole = path.read_bytes()
    middle = whole.rstrip(b"\0")[: len(whole) // 3]
    for data in (middle, b"{", bytes(len(middle)) + whole[len(middle) :]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=f"in {out}: damaged .*--overwrite"):
            read = open_frames("pairs", out, split="test")
            read.read(0, {"blurry": [0, 1]})
    prepare_dataset("pairs", own, out, overwrite=True)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["dataset_info.json", "metadata.json"])
def test_a_folder_in_place_of_a_file_of_records_is_named(own, out, name):
    path = prepare_dataset("pairs", own, out).folder / name
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=f"in {out}: damaged .*--overwrite"):
        open_frames("pairs", out, split="train")


def test_a_size_that_is_none_is_named(own, out):
    path = prepare_dataset("pairs", own, out).folder / "metadata.json"
    values = json.loads(path.read_text())
    for size in (0, -1, 0.5, "24", None, [24], {}):
        values["videos"]["test"][0][2] = size
        path.write_text(json.dumps(values))
        with pytest.raises(UserError, match=f"in {out}: damaged .*--overwrite"):
            open_frames("pairs", out, split="test")


def test_what_is_not_prepared_is_said_with_the_command(own, out):
    with pytest.raises(UserError, match="pairs/default is not prepared; `mtujax data"):
        prepared("pairs", data_dir=out)


def test_a_write_that_fails_in_the_middle_leaves_no_set(own, out, raw):
    with full_disk(8000), pytest.raises((UserError, OSError)) as caught:
        prepare_dataset("pairs", own, out, raw=raw)
    assert f"{final(out, raw)}" in str(caught.value)
    assert "too large" in str(caught.value)
    assert not visible(out)
    prepare_dataset("pairs", own, out, raw=raw)
    with full_disk(8000), pytest.raises((UserError, OSError)):
        prepare_dataset("pairs", own, out, raw=raw, overwrite=True)
    assert len(open_frames("pairs", out, split="train").videos) == 2


def test_an_interrupted_build_leaves_no_set(own, out, raw):
    @contextlib.contextmanager
    def interrupting(label):
        def show(done, total):
            if label == "writing" and done >= total // 2:
                raise KeyboardInterrupt

        yield show

    with pytest.raises(KeyboardInterrupt):
        prepare_dataset("pairs", own, out, raw=raw, progress=interrupting)
    assert not visible(out)


def test_what_a_killed_build_left_is_cleared_away(own, out):
    left = out / f".pairs-default-{VERSION}.part" / "pairs" / "default" / VERSION
    left.mkdir(parents=True)
    (left / "pairs-train.array_record-00000-of-00002").write_text("half")
    prepare_dataset("pairs", own, out)
    assert not left.exists()


def test_two_prepares_at_once_are_refused(own, out, raw):
    out.mkdir()
    with FileLock(out / f".pairs-default-{final(out, raw).name}.lock"):
        with pytest.raises(UserError, match="is being prepared by another process"):
            prepare_dataset("pairs", own, out, raw=raw)
        prepare_dataset("pairs", own, out, raw=not raw)  # the other form is another set
    prepare_dataset("pairs", own, out, raw=raw)


@dataclasses.dataclass
class Disk:
    free: int = 1000


def test_a_disk_too_small_is_refused_before_the_work(own, out, raw, monkeypatch):
    monkeypatch.setattr(preparing.shutil, "disk_usage", lambda _: Disk())
    with pytest.raises(UserError, match="needs .* [GM]B, but .* [GM]B are free"):
        prepare_dataset("pairs", own, out, raw=raw)


def test_output_inside_the_dataset_is_refused(own, raw):
    with pytest.raises(UserError, match="is inside the dataset"):
        prepare_dataset("pairs", own, own / "out", raw=raw)


def test_the_command_prepares_where_tfds_looks(own, out, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(out))
    args = ["prepare", "pairs", str(own)]
    data_command.app(args, standalone_mode=False)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith(f"{final(out, False)}: ")
    assert len(printed) == 5
    data_command.app([*args, "--raw"], standalone_mode=False)
    data_command.app(["check", "pairs", str(final(out, True))], standalone_mode=False)
    assert capsys.readouterr().out.endswith("all arrays are intact\n")
    with pytest.raises(UserError, match="holds pairs/default as prepared; check the"):
        data_command.app(["check", "pairs", str(out)], standalone_mode=False)
