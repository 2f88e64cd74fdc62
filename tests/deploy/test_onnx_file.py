"""The step as ONNX: other runtimes compute what the network does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from moving import panned
from networks import SMALLEST, STEERED, TINY, apply, lively_params, slow

from mtujax.cli.app import main
from mtujax.config import PAPER_TEXT
from mtujax.errors import UserError
from mtujax.model.network import MTUNet, inference_params, initial_state
from mtujax.model.optimized_form import inference_form
from mtujax.weights.files import load

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from mtujax.deploy import onnx_file  # noqa: E402

LARGER = dataclasses.replace(TINY, search_radius=10)
SAMPLES = dataclasses.replace(
    SMALLEST,
    **STEERED,
    exposure_spectrum=True,
    blend_previous=True,
    last_unit_reads_warped=True,
)
NETWORKS = {
    "as released": LARGER,
    "samples along the motion": SAMPLES,
    "of the paper": dataclasses.replace(PAPER_TEXT, channels=4, num_blocks=1),
    "every unit matches": dataclasses.replace(
        TINY, matching_units=(0, 1), last_unit_reads_warped=True
    ),
    "no motion layer": dataclasses.replace(
        TINY, motion_layer=False, structure_injection=False, search_radius=20
    ),
    "no matching": dataclasses.replace(
        SMALLEST, motion_compensation=False, patch=4, residual_learning=False
    ),
    "causal, wide patches": dataclasses.replace(
        SAMPLES, patch=8, lookback=1, lookahead=0, exposure_spectrum=False
    ),
    "samples without patches": dataclasses.replace(SAMPLES, patch=1),
    "samples of neighbours": dataclasses.replace(SAMPLES, neighbour_samples=2),
    "samples of one neighbour": dataclasses.replace(
        SAMPLES, neighbour_samples=1, patch=4, lookback=1, lookahead=0
    ),
}
QUICK = "as released", "samples along the motion", "samples of neighbours"


def network(config):
    model = MTUNet(config)
    return model, inference_params(lively_params(model))


def windows(config, frames):
    """The window [K, H, W, 3] of each frame, the outermost ones repeated."""
    reach = np.arange(-config.lookback, config.lookahead + 1)
    for t in range(len(frames)):
        yield frames[np.clip(t + reach, 0, len(frames) - 1)]


def expected(model, params, frames):
    """Restored frames in [0, 1] and displacements of the network itself."""
    model, params = inference_form(model, params, multiple=1)
    state = initial_state(model, 1, *frames.shape[1:3])
    for window in windows(model.config, frames):
        window = jnp.asarray(window[None] / np.float32(255))
        with jax.default_matmul_precision("highest"):
            state, found = apply(model, params, state, window)
        motion = found.get("displacement")
        yield np.clip(found["restored"][0], 0, 1), None if motion is None else motion[0]


def in_onnxruntime(step):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        step.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


def in_openvino(step):
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    found = core.compile_model(
        core.read_model(step.SerializeToString()),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32"},
    )

    def run(inputs):
        outputs = found(inputs)
        return {name: outputs[v] for v in found.outputs for name in v.names}

    return run


def restored(step, run, frames):
    """What a runtime makes of each frame, from the file alone."""
    told = {entry.key: entry.value for entry in step.metadata_props}
    cell = int(told["multiple"])
    sizes = {
        f"{k}*{n}": k * frames.shape[a] // cell for k in (4, cell) for n, a in AXES
    }
    sizes |= {n: frames.shape[a] // cell for n, a in AXES}
    state = {}
    for value in step.graph.input[1:]:
        kind = value.type.tensor_type
        shape = [d.dim_value or sizes[d.dim_param] for d in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        state[value.name] = np.full(shape, value.name == "state_is_first", dtype)
    places = [int(told[name]) for name in ("lookback", "lookahead")]
    reach = np.arange(-places[0], places[1] + 1)
    for t in range(len(frames)):
        window = frames[np.clip(t + reach, 0, len(frames) - 1)]
        outputs = run({"window": window, **state})
        yield outputs
        state = {n: outputs[n.replace("state_", "next_")] for n in state}


AXES = ("h", 1), ("w", 2)


def check(step, run, model, params, frames, ties=0.0):
    """`ties`: share of displacements that may differ, with the images around them."""
    steps = zip(
        restored(step, run, frames), expected(model, params, frames), strict=True
    )
    moved = 0
    for found, (image, displacement) in steps:
        error = np.abs(found["next_restored"][0].transpose(1, 2, 0) - image)
        assert (error > 1e-3).mean() <= ties and error.max() < (0.02 if ties else 1e-3)
        levels = np.abs(found["restored"] - np.round(image * 255))
        assert (levels > 1).mean() <= ties and found["restored"].dtype == np.uint8
        assert ("displacement" in found) == (displacement is not None)
        if displacement is not None:
            unequal = (found["displacement"] != displacement).any(axis=-1)
            assert unequal.mean() <= ties
            moved += np.abs(displacement).max()
    # A wide cell is more than the frames move by.
    assert moved or displacement is None or model.config.cell > 16


@pytest.mark.parametrize("name", [n if n in QUICK else slow(n) for n in NETWORKS])
def test_onnxruntime_does_what_the_network_does(name):
    model, params = network(NETWORKS[name])
    frames = panned(4, *((48, 80) if name == "as released" else (64, 64)))
    frames[3] = frames[2]  # its neighbour is the frame itself, as at the ends
    step = onnx_file.make_onnx(model, params)
    onnx.checker.check_model(step, full_check=True)
    assert {node.domain for node in step.graph.node} == {""}
    # Motion is found to some 1e-5 pixels, which drawn weights magnify to a near tie.
    ties = 0.02 if model.config.motion_samples else 0.0
    check(step, in_onnxruntime(step), model, params, frames, ties)


@pytest.mark.parametrize("name", ["fast", slow("fast_live")])
@pytest.mark.parametrize("run", [in_onnxruntime, slow(in_openvino)])
def test_twenty_frames_of_bundled_weights_are_the_same(name, run):
    model, params = load(name)
    step = onnx_file.make_onnx(model, params)
    check(step, run(step), model, params, panned(20, 64, 96))


def test_openvino_does_what_the_network_does():
    model, params = network(LARGER)
    step = onnx_file.make_onnx(model, params)
    check(step, in_openvino(step), model, params, panned(3, 32, 64))


def test_one_size_of_frames_is_a_choice():
    model, params = network(LARGER)
    frames = panned(2, 32, 48)
    steps = [onnx_file.make_onnx(model, params, size=size) for size in (None, (48, 32))]
    assert len(steps[1].graph.node) < len(steps[0].graph.node)
    kinds = [value.type.tensor_type for value in steps[1].graph.input]
    assert not any(d.dim_param for kind in kinds for d in kind.shape.dim)
    both = [list(restored(step, in_onnxruntime(step), frames)) for step in steps]
    for one, other in zip(*both, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_half_precision_stays_close():
    model, params = network(LARGER)
    half = MTUNet(dataclasses.replace(LARGER, dtype="float16"))
    frames = panned(3, 32, 48)
    step = onnx_file.make_onnx(half, params)
    kinds = {value.name: value.type.tensor_type.elem_type for value in step.graph.input}
    assert kinds["state_detail"] == onnx.TensorProto.FLOAT16
    assert kinds["state_restored"] == onnx.TensorProto.FLOAT
    found = restored(step, in_onnxruntime(step), frames)
    for outputs, (image, _) in zip(found, expected(model, params, frames), strict=True):
        assert np.abs(outputs["restored"] / 255.0 - image).mean() < 0.01


def test_a_state_that_is_not_finite_starts_the_video_again(tiny):
    step = onnx_file.make_onnx(*tiny)
    run, frames = in_onnxruntime(step), panned(5, 16, 16)
    first = next(restored(step, run, frames))
    states = [value.name for value in step.graph.input[1:]]
    bad = {n: np.full_like(first[n.replace("state_", "next_")], np.nan) for n in states}
    bad["state_is_first"][:] = False
    assert run({"window": frames, **bad})["next_is_first"].all()
    assert not first["next_is_first"].any()


@pytest.fixture(scope="module")
def exported(weights_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "step.onnx"
    words = ["export", str(weights_file), str(path), "--about", "license=CC0"]
    with pytest.raises(SystemExit) as done:
        main([*words, "--opset", "20", "--size", "64x48"])
    assert done.value.code == 0
    return path


def test_the_file_says_how_to_call_it(exported):
    step = onnx.load(exported)
    told = {entry.key: entry.value for entry in step.metadata_props}
    assert (told["lookback"], told["lookahead"], told["patch"]) == ("2", "2", "1")
    assert (told["multiple"], told["least"], told["license"]) == ("4", "16", "CC0")
    assert len(told["sha256"]) == 64 and told["name"] == "tiny"
    assert step.opset_import[0].version == 20
    assert [value.name for value in step.graph.input] == [
        "window",
        "state_detail",
        "state_restored",
        "state_is_first",
    ]
    outputs = [value.name for value in step.graph.output]
    assert outputs == ["restored", "next_detail", "next_restored", "next_is_first"]


def test_bad_use_of_the_command_is_one_line(exported, tmp_path, capsys):
    new = tmp_path / "new.onnx"
    (tmp_path / "folder.onnx").mkdir()
    for words, status, message in (
        (["fast", exported], 1, "exists already; --overwrite"),
        (["fast", tmp_path / "folder.onnx"], 1, "is a folder, but a file would be"),
        (["fast", tmp_path / "no" / "step.onnx"], 1, "no such folder; create it"),
        (["mtu9", new], 2, "unknown weights 'mtu9'"),
        (["fast", new, "--stablehlo"], 2, "--stablehlo: writes a folder, and"),
        (["fast", new, "--raw"], 2, "not with --state, --raw"),
        (["fast", tmp_path / "step", "--size", "8x8"], 2, "--size 8x8: is for a .on"),
        (["fast", tmp_path / "step", "--opset", "20"], 2, "--opset 20: is for a .on"),
        (["fast", new, "--opset", "12"], 2, "opset 12: must be 18 to "),
        (["fast", new, "--opset", "99"], 2, "opset 99: must be 18 to "),
        (["fast", new, "--dtype", "bfloat16"], 2, "computes in float32 or float16"),
        (["fast", new, "--dtype", "int8"], 2, "int8"),
        (["fast", new, "--size", "big"], 2, "give width x height in pixels"),
        (
            ["fast", new, "--size", "641x360"],
            2,
            "multiples of 8, at least 32; take 648",
        ),
        (["fast", new, "--size", "24x24"], 2, "multiples of 8, at least 32; take 32x3"),
    ):
        with pytest.raises(SystemExit) as done:
            main(["export", *map(str, words)])
        error = capsys.readouterr().err
        assert done.value.code == status and message in error, error
        assert "\n" not in error[:-1]
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_weights_beyond_half_precision_are_refused(tmp_path):
    model = MTUNet(dataclasses.replace(SMALLEST, dtype="float16"))
    _, params = network(SMALLEST)
    params = jax.tree.map(np.array, params)
    params["structure"]["conv"]["kernel"][0, 0, 0, 0] = 1e6
    with pytest.raises(UserError, match="structure/conv/kernel: has values beyond fl"):
        onnx_file.write_onnx(model, params, tmp_path / "step.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_one_line(monkeypatch, capsys, tmp_path):
    for name in ("onnx_file", "onnx_ops"):
        monkeypatch.delitem(__import__("sys").modules, f"mtujax.deploy.{name}")
    monkeypatch.delattr("mtujax.deploy.onnx_file")
    monkeypatch.delattr("mtujax.deploy.write_onnx", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(SystemExit) as done:
        main(["export", "fast", str(tmp_path / "step.onnx")])
    error = capsys.readouterr().err
    assert (
        done.value.code == 1
        and "onnx is not installed; in a clone, pip install" in error
    )
    assert not list(tmp_path.iterdir())
