"""PyTorch checkpoints into weights files, and every checkpoint that must be refused."""

import collections
import hashlib
import os
import pickle
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import recordings
from networks import slow

from mtujax.cli.app import main
from mtujax.config import PRESETS, ModelConfig
from mtujax.errors import UnknownWeightsError, WeightsError
from mtujax.weights.convert import (
    convert_checkpoint,
    find_preset,
    from_params,
    torch_names,
)
from mtujax.weights.files import describe, load
from mtujax.weights.torch_reader import read_checkpoint

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from mtujax.torch_port.layers import match_banded  # noqa: E402
from mtujax.torch_port.verify import check  # noqa: E402

PREFIX = "module.Network."


@pytest.fixture(scope="module")
def recorded():
    return recordings.read("MTU2")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "converted.safetensors"


def write(path, tensors, prefix=PREFIX):
    content = collections.OrderedDict(
        (prefix + name, torch.as_tensor(value)) for name, value in tensors.items()
    )
    torch.save(content, path)
    return path


def refused(path, target, *parts, preset=None):
    """The message of `convert`, one line with all `parts`; nothing is written."""
    with pytest.raises(WeightsError) as caught:
        convert_checkpoint(path, target, preset=preset)
    (line,) = str(caught.value).splitlines()
    for part in (str(path), *parts):
        assert part in line
    assert not target.exists()
    return line


@pytest.mark.parametrize("prefix", [PREFIX, "module.", "Network.", ""])
def test_a_checkpoint_comes_back_from_its_weights_file(
    tmp_path, target, recorded, prefix
):
    source = write(tmp_path / "mtu2.pytorch", recorded.tensors, prefix)
    done = convert_checkpoint(source, target)
    assert (done.preset, done.parameters) == ("mtu2", recorded.parameters)
    model, params = load(target)
    assert model.config == PRESETS["mtu2"]
    back = from_params(params, model.config)
    assert back.keys() == recorded.tensors.keys()
    for name, value in recorded.tensors.items():
        np.testing.assert_array_equal(back[name], value)


def test_the_file_says_what_it_was_made_of(tmp_path, target, recorded):
    source = write(tmp_path / "mtu2.pytorch", recorded.tensors)
    done = convert_checkpoint(source, target, preset="mtu2")
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    metadata = describe(target).metadata
    assert done.sha256 == metadata["source_sha256"] == sha256
    assert metadata["source"] == "mtu2.pytorch"
    assert "AGPL-3.0" in metadata["license"]


def test_training_only_layers_are_accepted_and_dropped(tmp_path, target, recorded):
    tensors = recorded.tensors | recorded.training_tensors
    done = convert_checkpoint(write(tmp_path / "mtu2.pytorch", tensors), target)
    assert done.dropped == ("deblur_layer.0.weight", "deblur_layer.0.bias")
    assert done.parameters == recorded.parameters


@pytest.mark.parametrize(
    "name", [*recordings.PRESET_NAMES[:3], *map(slow, recordings.PRESET_NAMES[3:])]
)
def test_each_preset_is_found_by_its_tensors(name):
    recorded = recordings.read(name)
    everything = recorded.tensors | recorded.training_tensors
    assert find_preset(everything) == name.lower()


def test_the_twin_and_the_converted_file_agree(tmp_path, target):
    recorded = recordings.read("MTU1")
    source = write(tmp_path / "mtu1.pytorch", recorded.tensors)
    convert_checkpoint(source, target)
    differences = check(source, target, frames=recorded.frames[:2, :40, :40])
    assert differences.image < 1e-4
    assert (differences.displacements, differences.cells) == (0, 200)


def test_the_check_notices_other_weights(tmp_path, target):
    recorded = recordings.read("MTU1")
    convert_checkpoint(write(tmp_path / "one.pytorch", recorded.tensors), target)
    recorded.tensors["out.bias"] += 0.5
    other = write(tmp_path / "other.pytorch", recorded.tensors)
    frames = recorded.frames[:1, :40, :40]
    assert check(other, target, frames=frames).image == pytest.approx(0.5, abs=1e-3)


def with_a_tie(monkeypatch):
    """Lets the twin choose another displacement in one cell of each frame."""

    def match(*args, **options):
        found = match_banded(*args, **options)
        found[0, 0, 0] += torch.tensor([1, 0]) * (1 - 2 * (found[0, 0, 0] > 0).int())
        return found

    monkeypatch.setattr("mtujax.torch_port.network.match_banded", match)


@pytest.mark.parametrize(("error", "agrees"), [(0.0, True), (0.01, False)])
def test_a_near_tie_excuses_no_other_difference(
    tmp_path, target, monkeypatch, error, agrees
):
    recorded = recordings.read("MTU1")
    convert_checkpoint(write(tmp_path / "one.pytorch", recorded.tensors), target)
    recorded.tensors["out.bias"] += np.float32(error)
    other = write(tmp_path / "other.pytorch", recorded.tensors)
    with_a_tie(monkeypatch)
    found = check(other, target, frames=recorded.frames[:2, :48, :48])
    assert (found.displacements, found.cells) == (2, 288)
    assert found.image >= found.elsewhere == pytest.approx(error, abs=1e-4, rel=0.5)
    assert found.agree is agrees


def test_the_check_has_a_clip_of_its_own_that_moves(tmp_path, target):
    from mtujax.torch_port.verify import _moving_texture

    clip = _moving_texture(time=3, side=32)
    assert clip.shape == (3, 32, 32, 3)
    assert clip.min() >= 0 and clip.max() <= 1 and clip.std() > 0.1
    np.testing.assert_array_equal(clip[1][:, 4:], clip[0][:, :-4])


def test_another_presets_checkpoint_is_recognised(tmp_path, target, recorded):
    source = write(tmp_path / "mtu2.pytorch", recorded.tensors)
    message = refused(source, target, "no mtu1 but a mtu2", preset="mtu1")
    assert "unexpected HGs.1.enc1.0.weight [26, 52, 5, 5]" in message


def test_an_unknown_preset_is_answered_with_the_list(tmp_path, target):
    with pytest.raises(UnknownWeightsError, match="'mtu3'; one of mtu1, mtu2, mtu4"):
        convert_checkpoint(tmp_path / "any.pytorch", target, preset="mtu3")


def test_every_tensor_of_a_partial_checkpoint_is_listed(tmp_path, target, recorded):
    tensors = dict(recorded.tensors)
    tensors["HGs.0.RB_end.0.bias"] = np.zeros(9, np.float32)
    tensors["epoch"] = np.zeros((), np.float32)
    del tensors["out.weight"]
    source = write(tmp_path / "part.pytorch", tensors)
    message = refused(source, target, "3 tensors", "the nearest is mtu2")
    assert "missing out.weight [3, 26, 3, 3]" in message
    assert "unexpected epoch []" in message
    assert "mis-shaped HGs.0.RB_end.0.bias [9], expected [52]" in message


def test_a_deblur_layer_of_the_wrong_shape_is_refused(tmp_path, target, recorded):
    tensors = recorded.tensors | {"deblur_layer.0.bias": np.zeros(4, np.float32)}
    message = refused(write(tmp_path / "a.pytorch", tensors), target)
    assert "mis-shaped deblur_layer.0.bias [4], expected [3]" in message


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def bombs(path, bomb):
    yield lambda: torch.save({"out.bias": bomb}, path)
    yield lambda: torch.save(bomb, path)
    yield lambda: torch.save(bomb, path, _use_new_zipfile_serialization=False)
    for protocol in (0, 2, 4):
        yield lambda protocol=protocol: path.write_bytes(pickle.dumps(bomb, protocol))


def test_a_checkpoint_that_holds_code_is_refused_and_never_runs_it(tmp_path, target):
    path, crater = tmp_path / "bomb.pytorch", tmp_path / "crater"
    for make in bombs(path, Bomb(crater)):
        make()
        message = refused(path, target)
        assert "\n" not in message
        assert not crater.exists()
    pickle.loads(pickle.dumps(Bomb(crater)))
    assert crater.exists()  # so the bomb was live


def test_objects_instead_of_tensors_are_named(tmp_path, target):
    path = tmp_path / "model.pytorch"
    torch.save(torch.nn.Linear(2, 2), path)
    message = refused(path, target, "torch.nn.modules.linear.Linear", "state dict")
    assert "\n" not in message


@pytest.mark.parametrize("content", [[1, 2], 3, {}, "text"])
def test_content_that_is_no_state_dict_is_one_clear_line(tmp_path, target, content):
    path = tmp_path / "odd.pytorch"
    torch.save(content, path)
    assert "\n" not in refused(path, target, "expected a state dict")


def test_entries_that_are_no_plain_floats_are_listed(tmp_path, target):
    path = tmp_path / "odd.pytorch"
    content = {
        "epoch": 3,
        "out.bias": torch.zeros(3, dtype=torch.int64),
        "out.weight": torch.eye(3).to_sparse(),
        "state": {"a": torch.zeros(1)},
    }
    torch.save(content, path)
    message = refused(path, target, "4 tensors cannot be used")
    assert "epoch is a int, expected a tensor" in message
    assert "out.bias is torch.int64, expected floating point" in message
    assert "out.weight is a torch.sparse_coo tensor" in message
    assert "state is a dict, expected a tensor" in message


@pytest.mark.parametrize("name", ["state_dict", "model"])
def test_a_state_dict_inside_a_training_s_file_is_found(tmp_path, target, name):
    path = tmp_path / "epoch.pytorch"
    torch.save({"epoch": 3, name: {"out.bias": torch.zeros(3)}}, path)
    message = refused(path, target, f"under '{name}'", "save them alone")
    assert "\n" not in message


def test_weights_that_need_no_converting_are_told_from_damage(
    tmp_path, target, recorded
):
    done = convert_checkpoint(
        write(tmp_path / "mtu2.pytorch", recorded.tensors), target
    )
    again = target.with_name("again.safetensors")
    message = refused(done.output, again, "loads as it is")
    assert "\n" not in message


def test_the_command_names_an_output_by_the_name_it_was_given(
    tmp_path, recorded, capsys
):
    path = write(tmp_path / "mtu2.pytorch", recorded.tensors)
    output = tmp_path / "mtu2.pth"
    with pytest.raises(SystemExit) as stop:
        main(["convert", str(path), str(output)])
    said = f"mtujax: error: {output}: the name of such a file ends in .safetensors\n"
    assert (stop.value.code, capsys.readouterr().err) == (2, said)
    assert os.listdir(tmp_path) == ["mtu2.pytorch"]


def test_a_name_with_and_without_prefix_is_refused(tmp_path, target):
    path = tmp_path / "twice.pytorch"
    torch.save({"out.bias": torch.zeros(3), PREFIX + "out.bias": torch.ones(3)}, path)
    assert "is there twice" in refused(path, target)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, target, recorded, value):
    bias = recorded.tensors["out.bias"].copy()
    bias[1] = value
    tensors = recorded.tensors | {"out.bias": bias}
    message = refused(write(tmp_path / "a.pytorch", tensors), target)
    assert "out.bias holds values that are not finite" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path, dtype):
    value = torch.tensor([0.5, -2.0], dtype=dtype)
    tensors, _ = read_checkpoint(write(tmp_path / "half.pytorch", {"a": value}))
    assert tensors["a"].dtype == np.float32
    np.testing.assert_array_equal(tensors["a"], [0.5, -2.0])


def test_a_damaged_file_is_one_clear_line(tmp_path, target, recorded):
    path = write(
        tmp_path / "damaged.pytorch", {"out.bias": recorded.tensors["out.bias"]}
    )
    # What is wrong may be said, but not as which error of Python it came up.
    whole, said = path.read_bytes(), r"checkpoint( \([a-z0-9 ./]+\))?; get it again$"
    for data in (
        b"",
        b"plain text\nof two lines\n",
        b"\x80\x02",
        whole[:100],
        whole[:-30],
    ):
        path.write_bytes(data)
        assert re.search(said, refused(path, target, ": damaged or not a PyTorch "))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no checkpoint")
    assert re.search(said, refused(path, target, ": damaged or not a PyTorch "))


def test_a_missing_file_is_one_clear_line(tmp_path, target):
    refused(tmp_path / "none.pytorch", target, "cannot be read (No such file")


def test_a_conversion_needs_no_pytorch_and_its_check_says_so(
    tmp_path, target, recorded, monkeypatch, capsys
):
    path = write(tmp_path / "mtu2.pytorch", recorded.tensors)
    # Of a kind of array that it has not seen einops asks all that is in sys.modules.
    convert_checkpoint(path, tmp_path / "before.safetensors")
    for name in [name for name in sys.modules if name.startswith("mtujax.torch_port")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as stop:
        main(["convert", str(path), str(target), "--check"])
    assert stop.value.code == 1 and not target.exists()
    assert "in a clone, pip install '.[torch]'" in capsys.readouterr().err
    assert convert_checkpoint(path, target).preset == "mtu2"


def test_a_conversion_that_was_killed_is_swept_by_the_next(tmp_path, target, recorded):
    path = write(tmp_path / "mtu2.pytorch", recorded.tensors)
    code = (
        "import os, sys, mtujax.__main__ as m\n"
        "os.replace = lambda *_: os._exit(9)\n"
        "m.main(['convert', *sys.argv[1:]])"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path), str(target)])
    assert killed.returncode == 9 and len(os.listdir(tmp_path)) == 2
    with pytest.raises(SystemExit) as stop:
        main(["convert", str(path), str(target)])
    assert stop.value.code == 0
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, target.name])


def test_matching_units_are_numbered_as_in_the_checkpoint():
    config = ModelConfig(num_units=3, matching_units=(0, 2))
    names = torch_names(config)
    assert names["motion_layer.1.0.bias"] == ("unit_2/motion/layer/conv/bias", (0,))
    assert names["out.weight"][0] == "unit_2/deblur/layer/conv/kernel"
