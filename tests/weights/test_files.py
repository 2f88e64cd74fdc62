"""Weights files: the way there and back, and every way they can be wrong."""

import hashlib
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from places import ROOT

from mtujax.config import DEFAULT_WEIGHTS, LIVE_WEIGHTS, PRESETS, ModelConfig
from mtujax.errors import UnknownWeightsError, UsageError, WeightsError
from mtujax.model.network import MTUNet, expected_shapes, init_params
from mtujax.weights import files as weights
from mtujax.weights.files import bundled, describe, load, save_weights

SMALL = ModelConfig(channels=8, num_blocks=1, matching_units=(0, 1), lookahead=1)


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    tree = jax.eval_shape(lambda k: init_params(MTUNet(SMALL), k), jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype("float32"), tree)


@pytest.fixture
def saved(tmp_path, params):
    path = tmp_path / "small.safetensors"
    save_weights(path, SMALL, params, description="for tests", scores={"psnr": 30.5})
    return path


@pytest.fixture
def assets(tmp_path, params, monkeypatch):
    """A package with two bundled weights."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("mtu2", "mtu2_fast"):
        save_weights(folder / f"{name}.safetensors", SMALL, params, license="CC0-1.0")
    monkeypatch.setattr(weights, "_assets", lambda: folder)
    return folder


def rewrite(path, change):
    """Changes tensors and header of a weights file by hand."""
    with safetensors.safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        header = json.loads(file.metadata()["mtujax"])
    change(tensors, header)
    metadata = {"mtujax": json.dumps(header)}
    path.write_bytes(safetensors.numpy.save(tensors, metadata))


def refused(path, *parts):
    """The message of `load`, one line that names the file and all `parts`."""
    with pytest.raises(WeightsError) as caught:
        load(path)
    (line,) = str(caught.value).splitlines()
    for part in (str(path), *parts):
        assert part in line
    return line


def test_saved_weights_come_back_as_they_were(saved, params):
    model, loaded = load(saved)
    assert model == MTUNet(SMALL)
    assert "deblur" not in loaded["unit_0"]  # only training reads it
    for part in ("structure", "temporal", "unit_1"):
        jax.tree.map(np.testing.assert_array_equal, loaded[part], params[part])
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(loaded))


def test_the_order_of_parameters_in_memory_does_not_matter(tmp_path, params):
    path = tmp_path / "fortran.safetensors"
    save_weights(path, SMALL, jax.tree.map(np.asfortranarray, params))
    found = load(path)[1]
    for name in ("structure", "temporal"):
        np.testing.assert_array_equal(
            found[name]["conv"]["kernel"], params[name]["conv"]["kernel"]
        )


def test_the_header_tells_the_network_and_where_it_comes_from(saved):
    entry = describe(saved)
    assert entry.config == SMALL
    assert entry.name == "small"
    assert entry.metadata == {"description": "for tests", "scores": {"psnr": 30.5}}
    assert entry.size == os.path.getsize(saved)
    shapes = expected_shapes(SMALL).values()
    assert entry.parameters == sum(int(np.prod(shape)) for shape in shapes)


def test_the_compute_precision_can_be_chosen_when_loading(saved):
    model, params = load(saved, dtype="bfloat16")
    assert model.config.dtype == "bfloat16"
    assert params["structure"]["conv"]["kernel"].dtype == jnp.float32
    with pytest.raises(UsageError, match="dtype='int8': must be one of"):
        load(saved, dtype="int8")


def test_half_precision_parameters_are_written_as_float32(tmp_path, params):
    path = tmp_path / "half.safetensors"
    save_weights(path, SMALL, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))
    _, loaded = load(path)
    wanted = params["structure"]["conv"]["bias"].astype(jnp.bfloat16)
    found = loaded["structure"]["conv"]["bias"]
    np.testing.assert_array_equal(found, wanted.astype("float32"))


def test_bundled_weights_are_listed_and_loaded_by_name(assets):
    entries = bundled()
    assert [entry.name for entry in entries] == ["mtu2", "mtu2_fast"]
    assert entries[0].metadata == {"license": "CC0-1.0"}
    (assets / "scores.json").write_text('{"mtu2": {"scores": "30 dB"}}')
    assert bundled()[0].metadata == {"license": "CC0-1.0", "scores": "30 dB"}
    model, _ = load("mtu2_fast")
    assert model.config == SMALL


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(assets):
    with pytest.raises(UnknownWeightsError) as caught:
        load("MTU_2")
    message = str(caught.value)
    assert "'MTU_2', did you mean 'mtu2'" in message
    assert "bundled: mtu2, mtu2_fast" in message
    assert caught.value.status == 2


def test_the_weights_in_the_package_can_all_be_loaded():
    found = {entry.name: load(entry.name)[0].config for entry in bundled()}
    assert found == {name: PRESETS[name] for name in found}
    assert {DEFAULT_WEIGHTS, LIVE_WEIGHTS} <= found.keys()


def test_a_published_network_without_weights_is_answered_with_what_brings_them():
    with pytest.raises(UnknownWeightsError) as caught:
        load("mtu1")
    message = str(caught.value)
    assert f"bundled: {', '.join(entry.name for entry in bundled())};" in message
    assert "`mtujax fetch mtu1-gopro` (or -dvd, -reds)" in message
    assert "\n" not in message


def _record(kind, entry):
    sha256 = entry.metadata["sha256"]
    name = f"{kind}-{entry.name}-{sha256[:8]}-*.json"
    *_, path = sorted((ROOT / "benchmarks" / "results").glob(name))
    return json.loads(path.read_text())


def test_scores_in_the_package_are_those_of_its_files_as_they_were_measured():
    for entry in bundled():
        sha256 = hashlib.sha256(entry.path.read_bytes()).hexdigest()
        assert entry.metadata["sha256"] == sha256
        assert {"description", "license", "training"} <= entry.metadata.keys()
        found = _record("bundled", entry)["evaluations"]
        assert found["restored"]["method"]["sha256"] == sha256
        for name in ("restored", "blurry"):
            scores = found[name]["protocols"]["rt-paper"]
            for number in (f"{scores['psnr']:.2f}", f"{scores['ssim']:.4f}"):
                assert number in entry.metadata["scores"]


def _psnr(evaluation):
    (scores,) = (
        scores
        for name, scores in evaluation["protocols"].items()
        if name in ("rt-paper", "kair")
    )
    return scores["psnr"]


def test_the_readme_tells_what_was_measured():
    readme = " ".join((ROOT / "README.md").read_text().split())
    entries = {entry.name: entry for entry in bundled()}
    fast = _record("bundled", entries["fast"])
    demo = _record("demo", entries["fast"])
    before, after = demo["blurry"]["psnr"], demo["restored"]["psnr"]
    real = _psnr(fast["real"]["restored"]) - _psnr(fast["real"]["blurry"])
    sharp = _psnr(fast["evaluations"]["sharp"])
    assert f"it gains {real:.2f} dB on average on four real scenes" in readme
    assert f"from {before:.2f} to {after:.2f} dB" in readme
    assert f"lose a little ({sharp:.1f} dB against themselves)" in readme
    (row,) = [r for r in _speed("fast-cpu") if r["preset"] == "fast"]
    seconds = row["forms"]["optimized"]["step_ms"]["p50"] / 1e3
    assert f"`fast` takes {seconds:.2f} s for a frame of 640x360 on two" in readme
    (row,) = [r for r in _speed("nvidia-h100") if r["status"] == "measured"]
    step = row["forms"]["optimized"]
    assert f"MTU2 takes {step['step_ms']['p50']:.1f} ms for a frame of 1280" in readme
    assert f"{step['frames_per_second']:.0f} frames/s" in readme
    assert f"{row['ratios']['twin']:.1f} times as fast as our PyTorch" in readme


def _speed(kind):
    *_, path = sorted((ROOT / "benchmarks" / "results").glob(f"speed-{kind}*.json"))
    return json.loads(path.read_text())["rows"]


@pytest.mark.parametrize("suffix", [".pytorch", ".pth", ".pt", ".PTH"])
def test_a_pytorch_checkpoint_is_sent_to_convert(tmp_path, suffix):
    refused(tmp_path / f"mtu2{suffix}", "mtujax convert", "mtu2.safetensors")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    refused(tmp_path / "none.safetensors", "no such file")
    refused(tmp_path / "fast.safetensors", "the bundled weights are called 'fast'")
    (tmp_path / "run").mkdir()
    refused(tmp_path / "run", "is a folder; of a training run, `mtujax export ")
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    refused(folder, "is a folder")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data + b"more",
        lambda data: b"garbage " * 99,
        lambda data: b"\x80\x04" + data,
        lambda data: (2**60).to_bytes(8, "little") + data[8:],
    ],
    ids=["empty", "5", "100", "short", "long", "garbage", "shifted", "huge header"],
)
def test_a_damaged_file_is_one_clear_line(saved, damage):
    saved.write_bytes(damage(saved.read_bytes()))
    assert "\n" not in refused(saved, "damaged or not a safetensors file")


def test_tensors_without_a_configuration_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(3, np.float32)}))
    refused(path, "no mtujax configuration", "mtujax convert")


def test_every_tensor_that_does_not_fit_is_listed(saved):
    def change(tensors, header):
        del tensors["structure/conv/bias"]
        tensors["unit_9/conv/bias"] = np.zeros(3, np.float32)
        tensors["temporal/conv/bias"] = np.zeros(9, np.float32)
        tensors["unit_1/motion/layer/conv/bias"] = np.zeros(16, np.int64)

    rewrite(saved, change)
    message = refused(saved, "4 tensors cannot be used")
    for line in (
        "missing structure/conv/bias [8]",
        "unexpected unit_9/conv/bias [3]",
        "mis-shaped temporal/conv/bias [9], expected [8]",
        "unit_1/motion/layer/conv/bias is I64, expected F32",
    ):
        assert line in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(saved, value):
    def change(tensors, header):
        tensors["structure/conv/bias"][3] = value

    rewrite(saved, change)
    assert "structure/conv/bias holds values that are not finite" in refused(saved)


@pytest.mark.parametrize(
    "fields, part",
    [
        ({"novelty": 1}, "unknown field 'novelty'"),
        ({"num_units": "two"}, "num_units='two': must be int"),
        ({"num_units": True}, "num_units=True: must be int"),
        ({"num_units": 0}, "num_units=0: must be >= 1"),
        ({"matching_units": ["a"]}, "matching_units"),
        ({"dtype": "float8"}, "dtype='float8'"),
    ],
)
def test_a_configuration_out_of_range_is_named(saved, fields, part):
    rewrite(saved, lambda tensors, header: header["config"].update(fields))
    refused(saved, part)


def test_a_newer_format_asks_for_an_upgrade(saved):
    rewrite(saved, lambda tensors, header: header.update(format=2))
    refused(saved, "format 2", "git pull")


def test_a_header_without_its_parts_is_damaged(saved):
    rewrite(saved, lambda tensors, header: header.pop("provenance"))
    refused(saved, "header is damaged")


def test_nothing_is_written_that_could_not_be_loaded(tmp_path, params):
    path = tmp_path / "new.safetensors"
    broken = jax.tree.map(np.copy, params)
    broken["structure"]["conv"]["bias"][0] = np.nan
    with pytest.raises(WeightsError, match="structure/conv/bias holds values"):
        save_weights(path, SMALL, broken)
    with pytest.raises(WeightsError, match="mis-shaped temporal/conv/kernel"):
        save_weights(path, ModelConfig(channels=8, num_blocks=1), params)
    with pytest.raises(WeightsError, match="provenance must be JSON"):
        save_weights(path, SMALL, params, scores={1, 2})
    with pytest.raises(WeightsError, match="ends in .safetensors"):
        save_weights(tmp_path / "new.bin", SMALL, params)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [OSError(28, "disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_other(saved, params, failure):
    before = saved.read_bytes()

    def replace(source, target):
        raise failure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises((WeightsError, KeyboardInterrupt)) as caught:
            save_weights(saved, SMALL, params)
    if isinstance(failure, OSError):
        assert str(caught.value) == f"{saved}: cannot be written (disk full)"
    assert list(saved.parent.iterdir()) == [saved]
    assert saved.read_bytes() == before


def test_a_missing_output_folder_is_named(tmp_path, params):
    path = tmp_path / "no" / "new.safetensors"
    with pytest.raises(WeightsError, match="new.safetensors: cannot be written"):
        save_weights(path, SMALL, params)
