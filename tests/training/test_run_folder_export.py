import dataclasses
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from sharing import CONFIGS, MODEL
from states import assert_same, like, make_state

from mtujax.cli.weights import export as command
from mtujax.common.dataclass_json import to_dict
from mtujax.errors import UsageError, UserError
from mtujax.model.network import inference_params
from mtujax.training import run_folder
from mtujax.training.checkpoints import Checkpoints
from mtujax.training.config import DataConfig, RunConfig
from mtujax.training.run_folder import RunFolder, state_like
from mtujax.training.state_files import read_state
from mtujax.weights import files as weights

CONFIG = RunConfig(MODEL.config, CONFIGS["release"], DataConfig(name="gopro"))


def finite(step):
    """A state whose numbers are those of a training, not any bits."""
    rng = np.random.default_rng(step)
    state = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32).astype(x.dtype), like()
    )
    return state.replace(step=np.int32(step), skipped=np.int32(0))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with checkpoints 1 (validated, the best), 2 and 3."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    folder.mkdir()
    RunFolder(str(folder)).write_config(to_dict(CONFIG))
    with Checkpoints(str(folder / "checkpoints")) as checkpoints:
        checkpoints.save(1, finite(1), {"batches": 1}, psnr=31.234567)
        checkpoints.save(2, finite(2), {"batches": 2}, psnr=30.0)
        checkpoints.save(3, finite(3), {"batches": 3})
    return str(folder)


def test_the_state_expected_is_that_of_the_run():
    assert state_like(CONFIG) == like()


def test_exported_weights_are_the_moving_average_for_inference(run, tmp_path):
    file = tmp_path / "own.safetensors"
    done = run_folder.export_weights(run, file)
    model, params = weights.load(file)
    assert model.config == MODEL.config
    expected = inference_params(finite(3).ema)
    assert flatten_dict(params).keys() == flatten_dict(expected).keys()
    assert_same(params, expected)
    told = weights.describe(file).metadata
    assert done.updates == told["updates"] == 3
    assert told["training"] == "3 updates on gopro, release scheme"
    assert told["moving_average"] is True and "validation_psnr" not in told
    assert f"jax {jax.__version__}" in told["versions"]


def test_weights_trained_in_half_precision_are_loaded_in_full(run, tmp_path):
    half = dataclasses.replace(MODEL.config, dtype="bfloat16")
    shutil.copytree(run, tmp_path / "half")
    config = dataclasses.replace(CONFIG, model=half)
    RunFolder(str(tmp_path / "half")).write_config(to_dict(config))
    run_folder.export_weights(str(tmp_path / "half"), tmp_path / "own.safetensors")
    assert weights.load(tmp_path / "own.safetensors")[0].config == MODEL.config
    told = weights.describe(tmp_path / "own.safetensors").metadata
    assert told["precision"] == "bfloat16"


@pytest.mark.parametrize("which, step", [("best", 1), (2, 2), ("latest", 3)])
def test_any_checkpoint_can_be_exported(run, tmp_path, which, step):
    file = tmp_path / "own.safetensors"
    run_folder.export_weights(run, file, which=which, raw=True)
    assert_same(weights.load(file)[1], inference_params(finite(step).params))
    # What was validated is the moving average.
    assert "validation_psnr" not in weights.describe(file).metadata
    averaged = tmp_path / "average.safetensors"
    run_folder.export_weights(run, averaged, which=which)
    told = weights.describe(averaged).metadata
    assert told.get("validation_psnr") == {1: 31.2346, 2: 30.0, 3: None}[step]


def test_another_run_can_start_from_the_moving_average(run):
    assert_same(run_folder.read_run(run)[1].state.ema, finite(3).ema)


def test_the_exported_state_is_whole(run, tmp_path):
    done = run_folder.export_state(run, tmp_path / "state.safetensors")
    state, extra = read_state(tmp_path / "state.safetensors", like())
    assert_same(state, finite(3))
    assert extra == {"batches": 3} and done.updates == 3


def test_the_command_tells_what_it_wrote(run, tmp_path, capsys):
    file = tmp_path / "own.safetensors"
    command(run, file, which="best")
    assert capsys.readouterr().out == (f"{file}: update 1, validation 31.23 dB\n")
    state = tmp_path / "state.safetensors"
    command(run, state, state=True)
    assert capsys.readouterr().out == f"{state}: update 3\n"
    for output, options in ((file, {}), (state, {"state": True})):
        with pytest.raises(UserError, match="exists already; --overwrite"):
            command(run, output, **options)
        command(run, output, overwrite=True, **options)


def test_what_is_told_of_weights_stays_with_them(run, tmp_path):
    file = tmp_path / "own.safetensors"
    command(run, file, about=["license=CC0-1.0", "description=a = b"])
    told = weights.describe(file).metadata
    assert (told["license"], told["description"]) == ("CC0-1.0", "a = b")
    assert told["updates"] == 3
    for wrong in ("license", "=x", "a b=c"):
        with pytest.raises(UsageError, match=f"--about {wrong}: give it as KEY=TEXT"):
            command(run, file, about=[wrong], overwrite=True)
    with pytest.raises(UsageError, match="--about: is kept in weights"):
        command(run, tmp_path / "state", about=["a=b"], state=True)


def test_a_fall_back_is_told_on_stderr(run, tmp_path, capsys):
    path = tmp_path / "run"
    path.mkdir()
    RunFolder(str(path)).write_config(to_dict(CONFIG))
    with Checkpoints(str(path / "checkpoints")) as checkpoints:
        checkpoints.save(1, finite(1), {})
        checkpoints.save(2, finite(2), {})
    (path / "checkpoints" / "2" / "about" / "metadata").write_text("{")
    command(str(path), tmp_path / "own.safetensors")
    said = capsys.readouterr()
    assert "update 1" in said.out
    assert said.err.startswith("note: ") and "2: is damaged" in said.err


def test_bad_use_is_one_line(run, tmp_path):
    file = tmp_path / "own.safetensors"
    with pytest.raises(UsageError, match="--which newest: must be latest, best or a"):
        command(run, file, which="newest")
    with pytest.raises(UsageError, match="--raw"):
        command(run, file, raw=True, state=True)
    with pytest.raises(UserError, match="no checkpoint 9; there are 1, 2, 3"):
        command(run, file, which="9")
    with pytest.raises(UserError, match="not the folder of a run.* config.run"):
        command(str(tmp_path), file)
    with pytest.raises(UserError, match="ends in .safetensors"):
        command(run, tmp_path / "own.npz")
    RunFolder(str(tmp_path)).write_config(to_dict(CONFIG))
    with pytest.raises(UserError, match="has no checkpoint yet"):
        command(str(tmp_path), file)
    assert not (tmp_path / "checkpoints").exists()  # read, and only read
    RunFolder(str(tmp_path)).write_config(to_dict(CONFIG) | {"colour": 1})
    with pytest.raises(UserError, match="config.json: colour: no such field"):
        command(str(tmp_path), file)


def test_states_of_random_bits_are_not_exported_as_weights(tmp_path):
    """Their numbers are not finite, and no file of them may exist."""
    path = tmp_path / "run"
    path.mkdir()
    RunFolder(str(path)).write_config(to_dict(CONFIG))
    with Checkpoints(str(path / "checkpoints")) as checkpoints:
        checkpoints.save(1, make_state(1), {})
    with pytest.raises(UserError, match="not finite"):
        run_folder.export_weights(str(path), tmp_path / "own.safetensors")
    assert not (tmp_path / "own.safetensors").exists()
