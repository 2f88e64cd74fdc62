"""Files of our own, damaged in any way, are read as they are or refused in one line."""

import functools
import json
import shutil

import evaluated
import media
import numpy as np
import pictures
import pytest
import sets
from hypothesis import HealthCheck, given, settings, strategies as st
from networks import SMALLEST

from mtujax.common.dataclass_json import to_dict
from mtujax.data.array_cache import verify_cache
from mtujax.data.flow import dis_flow
from mtujax.data.flow_cache import compute_motion, kept_motion
from mtujax.data.frames import FolderFrames
from mtujax.data.locate import open_frames
from mtujax.data.prepare import prepare_dataset
from mtujax.deblur.api import deblur_video
from mtujax.deblur.resume import Job
from mtujax.errors import UserError
from mtujax.evaluation.results import EvaluationFolder, read_results
from mtujax.training.checkpoints import Checkpoints
from mtujax.training.config import DataConfig, RunConfig, TrainConfig, config_of
from mtujax.training.run_folder import RunFolder
from mtujax.weights.files import load

pytestmark = pytest.mark.slow
whole = evaluated.whole
DEEP = 100_000

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from([10**9, -(10**9), 10**30, 10**400, 1e308, -0.5]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["", "../../etc/passwd", "/", "\0", "\ud800", "a" * 300]),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=3), SCALARS, max_size=2),
)


def places(values, path=()):
    """The path of every value in JSON values."""
    yield path
    if isinstance(values, dict | list):
        inside = values.items() if isinstance(values, dict) else enumerate(values)
        for key, value in inside:
            yield from places(value, (*path, key))


def replaced(values, path, new):
    """The values with another one at a path; `...` deletes it."""
    if not path:
        return new
    copy = values.copy()
    if len(path) == 1 and new is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@st.composite
def damaged_json(draw, data):
    """A text of JSON, one value of which is another; or no JSON at all."""
    values = json.loads(data)
    path = draw(st.sampled_from(list(places(values))))
    if draw(st.integers(0, 9)) == 0:
        marker = "d\u00e9ep"
        text = json.dumps(replaced(values, path, marker))
        deep = draw(st.sampled_from(["[" * DEEP, "[" * DEEP + "]" * DEEP, "1" * 9999]))
        return text.replace(json.dumps(marker), deep).encode()
    new = draw(st.one_of(VALUES, st.just(...)))
    new = None if new is ... and not path else new
    return json.dumps(replaced(values, path, new)).encode()


@st.composite
def damaged_bytes(draw, data):
    """Bytes with some changed, cut out or put in, mostly near an end: in headers."""
    ends = st.integers(0, min(300, len(data)))
    near = st.one_of(ends, ends.map(lambda n: len(data) - n))
    at = draw(st.one_of(near, st.integers(0, len(data))))
    gone = draw(st.sampled_from([0, 1, 2, 8, len(data)]))
    return data[:at] + draw(st.binary(max_size=8)) + data[at + gone :]


def damaged(path):
    data = path.read_bytes()
    if path.suffix == ".json" or path.name.lower().endswith("metadata"):
        return st.one_of(damaged_json(data), damaged_bytes(data))
    return damaged_bytes(data)


def drawn(damage, check, examples):
    """Checks examples of some damage, the same ones every time."""
    fixed = settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    fixed(given(damage)(lambda bad: check(bad)))()


def fuzz(read, *files, examples=200, named=None):
    """Damages one of the files at a time; reading raises a `UserError` or nothing."""
    read()
    for path in files:
        good = path.read_bytes()

        def check(bad, path=path):
            path.write_bytes(bad)
            try:
                read()
            except UserError as error:
                names = [named] if named else [path.parent, path.name]
                assert any(str(name) in str(error) for name in names)
                assert "\n" not in str(error)

        drawn(damaged(path), check, examples)
        path.write_bytes(good)
        read()


@pytest.fixture
def own(tmp_path):
    return sets.make(tmp_path / "set", sets.FORMS["pairs"])


def test_an_interrupted_job(tmp_path):
    output, kept = tmp_path / "out.mp4", tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt), Job(output, {"crf": 3}) as job:
        job.finish({"frames": 10, "cuts": 1}, {"x": np.arange(3.0), "y": np.ones(2)})
        raise KeyboardInterrupt
    shutil.move(job.folder, kept)

    def read():
        shutil.rmtree(job.folder, ignore_errors=True)
        shutil.copytree(kept, job.folder)
        with Job(output, {"crf": 3}, resume=True) as again:
            if again.segments:
                assert again.frames == 10
                np.testing.assert_array_equal(again.state()["x"], np.arange(3.0))

    # The messages name the folder of the job, not the copy that is damaged here.
    fuzz(read, kept / "job.json", kept / "state-1.npz")


def test_a_decoded_copy(own, tmp_path):
    folder = prepare_dataset("pairs", own, tmp_path / "raw", raw=True).folder
    shutil.move(own, tmp_path / "away")

    def read():
        verify_cache(folder)
        source = open_frames("pairs", tmp_path / "raw", split="train")
        for number in range(len(source.videos)):
            source.read(number, {"blurry": [0], "sharp": [1]})

    arrays = sorted((folder / "train").glob("*.npy"))
    fuzz(read, folder / "manifest.json", arrays[0])


def test_prepared_records(own, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    folder = prepare_dataset("pairs", own, tmp_path / "records").folder
    shutil.move(own, tmp_path / "away")

    def read():
        source = open_frames("pairs", tmp_path / "records", split="train")
        for number in range(len(source.videos)):
            source.read(number, {"blurry": [0], "sharp": [1]})

    files = sorted(folder.iterdir())
    fuzz(read, *files, examples=20, named=tmp_path / "records")


def test_kept_flow(own, tmp_path):
    source, folder = FolderFrames("pairs", own, split="train"), tmp_path / "flow"
    compute_motion(source, folder, estimate=dis_flow)

    def read():
        motion = kept_motion(folder, source, advice="do it")
        for number, video in enumerate(source.videos):
            for frame in range(video.frames):
                motion.motion(number, frame)

    flows = sorted(folder.glob("*/*.npz"))
    fuzz(read, folder / "manifest.json", flows[0])


def test_an_evaluation(whole, tmp_path):
    path = shutil.copytree(whole[1], tmp_path / "evaluation")
    folder = EvaluationFolder(path)
    videos = sorted((path / "videos").glob("*.json"))

    def read():
        folder.settings()
        folder.results()
        read_results(path / "results.json")
        folder.finished(videos[0].stem, frames=False)

    fuzz(read, path / "settings.json", path / "results.json", videos[0])


def test_a_checkpoint(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    folder, state = tmp_path / "checkpoints", {"x": np.arange(300.0), "n": np.int32(5)}
    with Checkpoints(str(folder)) as checkpoints:
        for step in (10, 20):
            checkpoints.save(step, state, {"batches": step})

    def read():
        with Checkpoints(str(folder), read_only=True) as checkpoints:
            found = checkpoints.restore(state)
        assert found.extra == {"batches": found.step}
        np.testing.assert_array_equal(found.state["x"], state["x"])

    files = sorted(path for path in (folder / "20").rglob("*") if path.is_file())
    fuzz(read, *files, examples=10, named=folder)


PICTURES = {
    "png": ("a.png", np.uint8, 3),
    "jpeg": ("a.jpg", np.uint8, 3),
    "16 bits": ("a.png", np.uint16, 3),
    "opacity": ("a.png", np.uint8, 4),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_the_frames_of_a_folder(tmp_path, rng, kind):
    """Read with their metadata and written again."""
    name, dtype, channels = PICTURES[kind]
    source = tmp_path / "in"
    source.mkdir()
    image = pictures.picture(rng, channels, dtype)
    save = pictures.store_deep if dtype == np.uint16 else pictures.store
    for file in (name, "b" + name[1:]):
        save(source / file, image)

    def read():
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        pictures.carried(source)

    fuzz(read, source / name, named=source)


VIDEOS = {
    "mp4": {"audio": "aac", "metadata": {"title": "x"}},
    "mkv": {"audio": "aac", "subtitles": "subrip", "chapters": [(0, 0.1, "x")]},
    "mov": {"audio": "aac", "rotation": (90,)},
    "avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "ts": {"audio": "aac"},
}


@pytest.mark.parametrize("suffix", VIDEOS)
def test_a_video(tmp_path, tiny, suffix):
    """Restored whole, with what else is in it; nothing stays beside the output."""
    source = tmp_path / f"in.{suffix}"
    folder = tmp_path / "out"
    folder.mkdir()
    media.clip(source, media.scene(5, 64, 48), **VIDEOS[suffix])

    def read():
        output = folder / ("out.mkv" if suffix in ("avi", "ts") else f"out.{suffix}")
        try:
            deblur_video(source, output, weights=tiny, overwrite=True)
        except UserError:
            assert not list(folder.iterdir())
            raise
        assert list(folder.iterdir()) == [output]
        output.unlink()

    fuzz(read, source, examples=20, named=source)


def test_the_configuration_of_a_run(tmp_path):
    folder = RunFolder(str(tmp_path))
    config = RunConfig(SMALLEST, TrainConfig(steps=3), DataConfig("pairs", "b"))
    folder.write_config(to_dict(config))
    path = tmp_path / "config.json"
    fuzz(lambda: config_of(folder.read_config(), str(path)), path)


def with_header(data, header):
    """A safetensors file with another JSON text of ours in its header."""
    size = int.from_bytes(data[:8], "little")
    values = json.loads(data[8 : 8 + size])
    values["__metadata__"]["mtujax"] = header
    text = json.dumps(values).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def test_weights(weights_file, tmp_path):
    path = shutil.copy(weights_file, tmp_path / "mine.safetensors")
    fuzz(functools.partial(load, path), path, examples=200)


def test_the_header_of_weights(weights_file, tmp_path):
    path, data = tmp_path / "mine.safetensors", weights_file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])["__metadata__"]["mtujax"]

    def check(text):
        path.write_bytes(with_header(data, text.decode()))
        try:
            load(path)
        except UserError as error:
            assert str(path) in str(error)

    drawn(damaged_json(header.encode()), check, 200)


@pytest.mark.parametrize("field", ["num_blocks", "num_units", "channels", "lookback"])
def test_a_header_of_a_giant_network_is_refused_at_once(weights_file, tmp_path, field):
    path, data = tmp_path / "mine.safetensors", weights_file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["mtujax"])
    for value in (10**9, 60):
        header["config"][field] = value
        path.write_bytes(with_header(data, json.dumps(header)))
        with pytest.raises(UserError, match=f"{path}: "):
            load(path)
    assert getattr(SMALLEST, field) < 60
