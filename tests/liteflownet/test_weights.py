"""Teacher files: written, read, refused, made of checkpoints, used by `data flow`."""

import collections
import hashlib
import json

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import pytest
import recordings
import safetensors.numpy
import sets

from mtujax import __main__ as command
from mtujax.data.locate import flow_folder
from mtujax.errors import WeightsError
from mtujax.liteflownet import network as teacher
from mtujax.liteflownet.convert import convert_teacher, teacher_findings, teacher_params
from mtujax.liteflownet.weights import load_teacher, save_teacher
from mtujax.weights.files import load


@pytest.fixture(scope="module")
def tensors():
    return recordings.read_teacher().tensors


@pytest.fixture(scope="module")
def file(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "flow.safetensors"
    save_teacher(path, teacher_params(tensors), license="CC0-1.0")
    return path


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def run(capsys, *args):
    """Exit status, output and errors of the command line."""
    with pytest.raises(SystemExit) as stop:
        command.main([str(a) for a in args])
    return stop.value.code, *capsys.readouterr()


def one_line(action, *parts):
    with pytest.raises(WeightsError) as caught:
        action()
    (line,) = str(caught.value).splitlines()
    for part in parts:
        assert str(part) in line
    return line


def test_a_teacher_comes_back_as_it_was(file, tensors):
    network, params = load_teacher(file)
    assert network == teacher.LiteFlowNet()
    found = flax.traverse_util.flatten_dict(params)
    expected = flax.traverse_util.flatten_dict(teacher_params(tensors))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == jnp.float32


def test_teachers_and_other_weights_are_not_mistaken(file, weights_file, capsys):
    one_line(lambda: load(file), file, "a flow teacher (LiteFlowNet), not of")
    one_line(lambda: load_teacher(weights_file), weights_file, "of a deblurring netw")
    status, _, told = run(capsys, "deblur", "any.mp4", "out.mp4", "--weights", file)
    assert status == 1 and told.count("\n") == 1


def rewritten(file, path, **header):
    tensors = safetensors.numpy.load_file(file)
    told = {"format": 1, "teacher": "LiteFlowNet", "provenance": {}} | header
    path.write_bytes(safetensors.numpy.save(tensors, {"mtujax": json.dumps(told)}))
    return path


def test_what_is_no_teacher_file_is_refused(file, tmp_path):
    other = tmp_path / "other.safetensors"
    one_line(lambda: load_teacher(other), other, "no such file")
    one_line(lambda: load_teacher(tmp_path), tmp_path, "is a folder")
    checkpoint = tmp_path / "network.pytorch"
    advice = f"`mtujax convert --teacher {checkpoint} network.safetensors`"
    one_line(lambda: load_teacher(checkpoint), advice)
    other.write_bytes(file.read_bytes()[:99_999])
    one_line(lambda: load_teacher(other), other, "damaged or not a safetensors")
    rewritten(file, other, teacher="FlowNet9")
    one_line(lambda: load_teacher(other), other, "teacher 'FlowNet9'", "newer mtujax")
    rewritten(file, other, format=2)
    one_line(lambda: load_teacher(other), other, "format 2", "newer mtujax")
    rewritten(file, other, provenance=3)
    one_line(lambda: load_teacher(other), other, "header is damaged")
    other.write_bytes(safetensors.numpy.save({"a": np.zeros(1)}))
    one_line(lambda: load_teacher(other), other, "not written by mtujax")


def test_a_teacher_with_other_tensors_is_refused_with_a_list(tensors, tmp_path):
    params = flax.traverse_util.flatten_dict(teacher_params(tensors), sep="/")
    path = tmp_path / "a.safetensors"

    def save(changed):
        tree = flax.traverse_util.unflatten_dict(changed, sep="/")
        return one_line(lambda: save_teacher(path, tree), path)

    less = {n: v for n, v in params.items() if n != "features/conv_1_0/bias"}
    assert save(less).endswith("used: missing features/conv_1_0/bias [32]")
    nan = params | {"features/conv_1_0/bias": np.full(32, np.nan)}
    assert "features/conv_1_0/bias holds values that are not finite" in save(nan)
    assert not path.exists()


def write(torch, path, tensors):
    content = collections.OrderedDict(
        (name, torch.as_tensor(value)) for name, value in tensors.items()
    )
    torch.save(content, path)
    return path


def test_a_checkpoint_is_converted_and_told(torch, tensors, tmp_path, capsys):
    source = write(torch, tmp_path / "network.pytorch", tensors)
    output = tmp_path / "flow.safetensors"
    status, said, _ = run(capsys, "convert", source, output, "--teacher")
    assert status == 0
    assert f"{output}: LiteFlowNet, 5,381,969 parameters" in said
    assert hashlib.sha256(source.read_bytes()).hexdigest() in said
    _, params = load_teacher(output)
    np.testing.assert_array_equal(
        params["matching_2"]["up_scores"]["kernel"][:, :, 0, 7],
        tensors["moduleMatching.0.moduleUpcorr.weight"][7, 0],
    )
    status, _, told = run(capsys, "convert", source, tmp_path / "b.safetensors")
    assert status == 1 and "LiteFlowNet, the flow teacher; add --teacher" in told
    args = ("--teacher", "--preset", "mtu2")
    status, _, told = run(capsys, "convert", source, output, *args)
    assert status == 2 and "--preset mtu2: a --teacher has none" in told


def test_every_tensor_of_another_checkpoint_is_listed(torch, tensors, tmp_path):
    changed = dict(tensors)
    name = "moduleRegularization.3.moduleDist.0"
    changed[f"{name}.weight"] = changed[f"{name}.weight"][:, :9]
    changed["epoch"] = np.zeros(1, np.float32)
    del changed[f"{name}.bias"]
    source = write(torch, tmp_path / "a.pytorch", changed)
    output = tmp_path / "a.safetensors"
    told = one_line(
        lambda: convert_teacher(source, output), source, "3 tensors", "no LiteFlowNet"
    )
    assert told.endswith(
        f": missing {name}.bias [9]; unexpected epoch [1]; "
        f"mis-shaped {name}.weight [9, 9, 3, 3], expected [9, 32, 3, 3]"
    )
    assert not output.exists()


def test_no_other_network_passes_for_the_teacher():
    recorded = recordings.read("MTU1")
    findings = teacher_findings(recorded.tensors)
    assert len(findings) == 212 + len(recorded.tensors)


@pytest.mark.slow
@pytest.mark.usefixtures("one_torch_thread")
def test_the_check_compares_with_the_checkpoint(torch, tensors, tmp_path, capsys):
    from mtujax.torch_port.verify import check_teacher

    source = write(torch, tmp_path / "network.pytorch", tensors)
    output = tmp_path / "flow.safetensors"
    status, said, _ = run(capsys, "convert", source, output, "--teacher", "--check")
    assert status == 0 and "against PyTorch: flow differs by" in said
    bias = "moduleFeatures.moduleOne.0.bias"
    other = write(torch, tmp_path / "b.pytorch", tensors | {bias: tensors[bias] + 0.1})
    assert not check_teacher(other, output).agree


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "home"))
    return sets.make(tmp_path / "set", sets.FORMS["pairs"])


def test_motion_is_computed_by_the_teacher_and_kept(own, file, capsys, monkeypatch):
    given = []

    def flow(params, current, previous):
        given.append((params, current.shape, current.dtype))
        return jnp.full((*current.shape[:3], 2), 0.25)

    monkeypatch.setattr("mtujax.liteflownet.weights.flow", flow)
    args = ("data", "flow", "pairs", own)
    assert run(capsys, *args, "--method", "teacher", "--teacher", file)[0] == 0
    assert given[0][1:] == ((1, 24, 32, 3), np.uint8)
    np.testing.assert_array_equal(
        given[0][0]["features"]["conv_1_0"]["bias"],
        load_teacher(file)[1]["features"]["conv_1_0"]["bias"],
    )
    place = flow_folder("pairs", own) / "train"
    made = json.loads((place / "manifest.json").read_text())
    assert (
        made["method"]
        == f"teacher {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    )
    assert (np.load(place / "kitchen/000001.npz")["flow"] == 0.25).all()
    count = len(given)
    status, said, _ = run(capsys, *args, "--teacher", file)
    assert status == 0 and "2 of them kept" in said and len(given) == count
    status, _, told = run(capsys, *args)
    assert status == 1 and 'method: "teacher' in told and "--overwrite" in told


def test_a_teacher_that_is_missing_or_not_wanted_is_told(own, file, tmp_path, capsys):
    args = ("data", "flow", "pairs", own)
    status, _, told = run(capsys, *args, "--method", "teacher")
    assert status == 2 and "--teacher FILE" in told and told.count("\n") == 1
    status, _, told = run(capsys, *args, "--method", "dis", "--teacher", file)
    assert status == 2 and "--method dis reads no weights" in told
    status, _, told = run(capsys, *args, "--teacher", tmp_path / "no.safetensors")
    assert status == 1 and "no such file" in told
    assert not flow_folder("pairs", own).exists()


@pytest.mark.slow
def test_the_teacher_itself_computes_motion(own, file, capsys):
    assert run(capsys, "data", "flow", "pairs", own, "--teacher", file)[0] == 0
    kept = np.load(flow_folder("pairs", own) / "train/kitchen/000001.npz")
    from mtujax.data.locate import open_frames

    frames = open_frames("pairs", own, split="train")
    video = [v.name for v in frames.videos].index("kitchen")
    pair = frames.read(video, {"sharp": [1, 0]})["sharp"]
    found = teacher.flow(load_teacher(file)[1], pair[0][None], pair[1][None])[0]
    np.testing.assert_allclose(kept["flow"], found, rtol=2**-10, atol=1e-3)
