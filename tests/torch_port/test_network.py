"""The PyTorch twin against the recordings, and the Flax network against the twin."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recordings
from networks import slow

from mtujax.config import PAPER_TEXT, PRESETS, ModelConfig
from mtujax.model.clip import clip_windows, window_at
from mtujax.model.network import MTUNet, initial_state
from mtujax.ops.matching import cost_volume as flax_volume
from mtujax.weights.convert import from_params, to_params, torch_names

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from twins import random_twin  # noqa: E402

from mtujax.torch_port import layers as torch_ops  # noqa: E402
from mtujax.torch_port.network import TorchMTUNet  # noqa: E402

SMALL = ModelConfig(channels=8, num_blocks=1, search_radius=3)
SWITCHES = {
    "as released": {},
    "one unit": {"num_units": 1},
    "every unit matches": {"matching_units": (0, 1)},
    "units share a displacement": {"num_units": 3, "matching_units": (0, 2)},
    "without search": {"search_radius": 0},
    "one frame of look-ahead": {"lookahead": 1},
    "causal, one frame back": {"lookback": 1, "lookahead": 0},
    "image instead of residual": {"residual_learning": False},
    "without motion compensation": {"motion_compensation": False, "matching_units": ()},
    "without structure injection": {"structure_injection": False},
    "without motion layer": {"motion_layer": False, "structure_injection": False},
    "last unit reads the warped": {"last_unit_reads_warped": True},
    "zero initial features": {"initial_features": "zero"},
    "slope below zero": {"activation": "leaky"},
    "patches of 2": {"patch": 2, "activation": "leaky"},
    "patches of 3": {"patch": 3, "last_unit_reads_warped": True},
    "paper": {
        name: getattr(PAPER_TEXT, name)
        for name in (
            "lookback",
            "lookahead",
            "last_unit_reads_warped",
            "initial_features",
        )
    },
}


def random_clip(batch, time, height, width, channels=3, cell=4):
    """Noise that moves by one and by two cells of the motion grid each frame."""
    shape = (batch, height, width, channels)
    noise = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    frames = [
        np.roll(noise, (cell * t, -2 * cell * t), axis=(1, 2)) for t in range(time)
    ]
    return np.stack(frames, axis=1)


def flax_steps(model, params, clip, *, train=False, **options):
    """What the Flax network returns for each frame of `clip` [B, T, H, W, 3]."""
    windows, index = clip_windows(model.config, jnp.asarray(clip))
    state = initial_state(model, len(clip), *clip.shape[2:4])

    @jax.jit
    def apply(params, state, index):
        window = window_at(windows, index)
        return model.apply({"params": params}, state, window, train, **options)

    for t in range(clip.shape[1]):
        result = apply(params, state, index[:, t])
        state, outputs = result[0] if options else result
        yield result if options else outputs


def test_the_twin_restores_the_recorded_frames():
    recorded = recordings.read("MTU2")
    twin = TorchMTUNet(PRESETS["mtu2"])
    tensors = {n: torch.from_numpy(v) for n, v in recorded.tensors.items()}
    twin.load_state_dict(tensors, strict=True)
    restored, displacement = twin.restore_clip(torch.from_numpy(recorded.frames)[None])
    np.testing.assert_array_equal(displacement[0], recorded.displacement)
    np.testing.assert_allclose(restored[0], recorded.restored, rtol=0, atol=1e-4)


def test_the_twin_takes_a_training_checkpoint_strictly():
    recorded = recordings.read("MTU4")
    twin = TorchMTUNet(PRESETS["mtu4"], training_layers=True)
    tensors = recorded.tensors | recorded.training_tensors
    tensors = {n: torch.from_numpy(v) for n, v in tensors.items()}
    twin.load_state_dict(tensors, strict=True)


def test_every_layer_of_both_networks_computes_the_same():
    config = dataclasses.replace(SMALL, matching_units=(0, 1))
    twin, tensors = random_twin(config)
    activations = {}

    def record(name):
        def hook(module, inputs, output):
            activations[name] = output

        return hook

    for name, module in twin.named_modules():
        module.register_forward_hook(record(name))
    model, params = MTUNet(config), to_params(tensors, config)
    clip = random_clip(1, 2, 32, 28)
    *_, ((_, _), flax_side) = flax_steps(
        model, params, clip, capture_intermediates=True, mutable=["intermediates"]
    )
    twin.restore_clip(torch.from_numpy(clip))
    layers = {}  # in the order of the forward pass, so the first to fail is at fault
    for name, (path, _) in torch_names(config).items():
        layers[name.rpartition(".")[0]] = path.rpartition("/")[0]
    for torch_name, path in layers.items():
        if "decode" in path:  # here the Flax layer includes its ReLU
            torch_name = torch_name.removesuffix(".0")
        found = flax_side["intermediates"]
        for part in path.split("/"):
            found = found[part]
        (found,) = found["__call__"]
        wanted = activations[torch_name].permute(0, 2, 3, 1)
        message = f"{path} ({torch_name})"
        np.testing.assert_allclose(found, wanted, atol=1e-5, err_msg=message)


# Those that share their code with another are for the slow tests.
QUICK = (
    "as released",
    "without motion layer",
    "without motion compensation",
    "paper",
    "patches of 2",
)


@pytest.mark.parametrize(
    "switch", [name if name in QUICK else slow(name) for name in SWITCHES]
)
def test_both_networks_agree_with_every_switch(switch):
    config = dataclasses.replace(SMALL, **SWITCHES[switch])
    twin, tensors = random_twin(config)
    patch = config.patch
    clip = random_clip(2, 3, 30 * patch, 25 * patch, cell=config.cell)
    restored, displacement = twin.restore_clip(torch.from_numpy(clip))
    model, params = MTUNet(config), to_params(tensors, config)
    for t, outputs in enumerate(flax_steps(model, params, clip)):
        if config.motion_compensation:
            found = np.asarray(outputs["displacement"])
            np.testing.assert_array_equal(found, displacement[:, t])
            assert config.search_radius == 0 or displacement.any()
        else:
            assert displacement is None
            assert "displacement" not in outputs
        np.testing.assert_allclose(outputs["restored"], restored[:, t], atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 9)])
def test_both_networks_reflect_frames_smaller_than_a_cell_alike(size):
    config = dataclasses.replace(SMALL, num_units=1, patch=4)
    twin, tensors = random_twin(config)
    clip = random_clip(1, 2, *size)
    restored, _ = twin.restore_clip(torch.from_numpy(clip))
    steps = flax_steps(MTUNet(config), to_params(tensors, config), clip)
    for t, outputs in enumerate(steps):
        np.testing.assert_allclose(outputs["restored"], restored[:, t], atol=1e-5)


@pytest.mark.parametrize("form", [{}, slow({"patch": 2, "activation": "leaky"})])
def test_both_networks_agree_on_what_training_reads(form):
    config = dataclasses.replace(SMALL, matching_units=(0, 1), **form)
    twin, tensors = random_twin(config, training_layers=True)
    params = to_params(tensors, config)
    for layer, name in (("kernel", "weight"), ("bias", "bias")):
        value = tensors[f"deblur_layer.0.{name}"]
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        conv = params["unit_0"].setdefault("deblur", {"layer": {"conv": {}}})
        conv["layer"]["conv"][layer] = value
    clip = random_clip(2, 3, 30, 25)
    windows, index = clip_windows(config, jnp.asarray(clip))
    state = twin.initial_state(2, 30, 25)
    steps = flax_steps(MTUNet(config), params, clip, train=True)
    for t, outputs in enumerate(steps):
        window = np.array(window_at(windows, index[:, t]))
        with torch.no_grad():
            state, wanted = twin(state, torch.from_numpy(window), train=True)
        assert outputs.keys() == wanted.keys()
        for name, value in outputs.items():
            np.testing.assert_allclose(value, wanted[name], atol=1e-5, err_msg=name)


def test_a_state_dict_survives_the_way_there_and_back():
    _, tensors = random_twin(SMALL)
    back = from_params(to_params(tensors, SMALL), SMALL)
    assert list(back) == list(torch_names(SMALL))
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize(
    "shape, radius", [((1, 6, 9, 13), 3), ((2, 6, 20, 70), 10), ((1, 6, 3, 3), 0)]
)
def test_both_torch_matchers_find_the_arg_max_of_the_volume(shape, radius):
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(shape, generator=generator) for _ in range(2))
    looped = torch_ops.match_loop(query, key, radius=radius)
    banded = torch_ops.match_banded(query, key, radius=radius)
    np.testing.assert_array_equal(banded, looped)
    volume = torch_ops.cost_volume(query, key, radius=radius)
    best = torch_ops.displacement_from_class(volume.argmax(-1), radius=radius)
    np.testing.assert_array_equal(best, looped)
    query, key = (x.permute(0, 2, 3, 1).numpy() for x in (query, key))
    found = jax.jit(flax_volume, static_argnames="radius")(query, key, radius=radius)
    np.testing.assert_allclose(found, volume, atol=1e-6)


@pytest.mark.parametrize("matcher", [torch_ops.match_loop, torch_ops.match_banded])
def test_the_first_displacement_wins_a_tie(matcher):
    nothing = torch.zeros((1, 4, 6, 7))
    assert (matcher(nothing, nothing, radius=2) == -2).all()


def test_both_matchers_give_the_twin_the_same_clip():
    looped, _ = random_twin(SMALL, implementation="loop")
    banded, _ = random_twin(SMALL, implementation="banded")
    clip = torch.from_numpy(random_clip(1, 3, 32, 32))
    clips = (looped.restore_clip(clip), banded.restore_clip(clip))
    for one, other in zip(*clips, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_half_precision_stays_close_and_returns_float32_images():
    twin, _ = random_twin(SMALL)
    clip = torch.from_numpy(random_clip(1, 2, 32, 32))
    whole, _ = twin.restore_clip(clip)
    half, displacement = twin.to(torch.bfloat16).restore_clip(clip)
    assert half.dtype == torch.float32
    assert displacement.dtype == torch.int64
    assert (half - whole).abs().mean() < 0.02


def test_an_unknown_matcher_is_refused():
    with pytest.raises(ValueError, match="implementation='fast': must be"):
        TorchMTUNet(SMALL, implementation="fast")
