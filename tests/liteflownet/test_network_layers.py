"""LiteFlowNet against its recording, layer by layer against the twin, and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recordings

from mtujax.liteflownet.convert import teacher_findings, teacher_names, teacher_params
from mtujax.liteflownet.network import LiteFlowNet, UpDepthwise, correlation
from mtujax.ops.resampling import area_resize

TOLERANCE = 1e-4  # of a layer's largest value; 5e-6 of the flow's range was reached


@jax.jit
def layers(params, current, previous):
    """The flow, and what every layer gave: {path: [B, h, w, C]}, calls in a row."""
    found, kept = LiteFlowNet().apply(
        {"params": params},
        current,
        previous,
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    leaves = jax.tree_util.tree_leaves_with_path(
        kept["intermediates"], is_leaf=lambda x: isinstance(x, tuple)
    )
    named = {
        "/".join(key.key for key in path[:-1]): values
        for path, values in leaves
        if isinstance(values, tuple) and isinstance(values[0], jax.Array)
    }
    return found, {path: jnp.concatenate(calls) for path, calls in named.items()}


@pytest.fixture(scope="module")
def recorded():
    return recordings.read_teacher()


@pytest.fixture(scope="module")
def opposed(recorded):
    """Weights with one live feature a level, whose sign differs from place to place."""
    tensors = {name: value.copy() for name, value in recorded.tensors.items()}
    last = ("Two.4", "Thr.2", "Fou.2", "Fiv.0", "Six.0")
    names = [f"moduleFeatures.module{name}" for name in last]
    names += ["moduleMatching.0.moduleFeat.0"]
    for name in names:
        weight = tensors[f"{name}.weight"]
        weight -= weight.mean((1, 2, 3), keepdims=True)
        weight[1:], tensors[f"{name}.bias"][:] = 0, 0
        weight *= 8
    return tensors


def run(tensors, frames):
    return layers(teacher_params(tensors), frames[1:], frames[:1])


@pytest.mark.slow
def test_the_flow_is_the_recorded_one(recorded):
    assert teacher_findings(recorded.tensors) == []
    assert sum(v.size for v in recorded.tensors.values()) == 5_381_969
    found, _ = run(recorded.tensors, recorded.frames)
    error = np.abs(found[0] - recorded.flow).max()
    assert error < TOLERANCE * np.ptp(recorded.flow)


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("case", ["recorded", "opposed"])
def test_every_layer_equals_the_twin_s(case, recorded, opposed, monkeypatch):
    torch = pytest.importorskip("torch")
    from mtujax.torch_port import liteflownet as torch_teacher

    scores = []

    def raw_scores(*args, original=torch_teacher.raw_scores):
        scores.append(original(*args))
        return scores[-1]

    monkeypatch.setattr(torch_teacher, "raw_scores", raw_scores)
    tensors = recorded.tensors if case == "recorded" else opposed
    twin = torch_teacher.TorchLiteFlowNet()
    twin.load_state_dict({n: torch.from_numpy(v) for n, v in tensors.items()})
    calls = {}
    for name, module in twin.named_modules():
        module.register_forward_hook(
            lambda _, inputs, out, name=name: calls.setdefault(name, []).append(out)
        )
    frames = torch.from_numpy(recorded.frames)
    theirs = twin(frames[1:], frames[:1]).numpy()
    ours, found = run(tensors, recorded.frames)
    assert np.abs(ours - theirs).max() < TOLERANCE * np.ptp(theirs)
    paths = {n.rpartition(".")[0]: path for n, (path, _) in teacher_names().items()}
    paths = {name: path.rpartition("/")[0] for name, path in paths.items()}
    for word in ("Matching", "Subpixel", "Regularization"):
        paths |= {f"module{word}.{k}": f"{word.lower()}_{k + 2}" for k in range(5)}
    assert len(paths) == 109 + 15  # each with weights, and the steps
    for name, path in paths.items():
        expected = torch.cat(calls[name]).movedim(1, -1).numpy()
        error = np.abs(found[path] - expected).max()
        assert error < TOLERANCE * np.abs(expected).max(), name
    negative = [bool((plane < 0).any()) for plane in scores]
    assert negative == [case == "opposed"] * 5  # LeakyReLU there has a case of its own


def test_scores_equal_a_naive_loop(rng):
    first, second = rng.normal(size=(2, 1, 5, 6, 3))
    expected = np.zeros((1, 5, 6, 49))
    for y, x, dy, dx in np.ndindex(5, 6, 7, 7):
        at = y + dy - 3, x + dx - 3
        if 0 <= at[0] < 5 and 0 <= at[1] < 6:
            product = first[0, y, x] * second[0, at[0], at[1]]
            expected[0, y, x, 7 * dy + dx] = product.mean()
    scores = correlation(*map(jnp.float32, (first, second)))
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_each_channel_is_doubled_by_a_kernel_of_its_own(rng):
    x, kernel = rng.normal(size=(1, 3, 4, 2)), rng.normal(size=(4, 4, 1, 2))
    wide = np.zeros((1, 8, 10, 2))  # one more on every side, cut off in the end
    for y, x_, i, j in np.ndindex(3, 4, 4, 4):
        wide[0, 2 * y + i, 2 * x_ + j] += x[0, y, x_] * kernel[i, j, 0]
    params = {"params": {"kernel": jnp.float32(kernel)}}
    doubled = UpDepthwise().apply(params, jnp.float32(x))
    np.testing.assert_allclose(doubled, wide[:, 1:-1, 1:-1], atol=1e-5)


@pytest.mark.parametrize("old, new", [(4, 8), (8, 2), (16, 13), (16, 24), (5, 5)])
def test_area_resize_averages_what_is_touched(old, new, rng):
    x = rng.random((2, old, 3, 2)).astype(np.float32)
    for axis in (1, 2):
        size = (new, 3) if axis == 1 else (3, new)
        given = x if axis == 1 else x.swapaxes(1, 2)
        found = np.moveaxis(np.asarray(area_resize(jnp.asarray(given), *size)), axis, 0)
        for n in range(new):
            touched = [k for k in range(old) if k < (n + 1) * old / new]
            touched = [k for k in touched if k + 1 > n * old / new]
            expected = x[:, touched].mean(axis=1)
            np.testing.assert_allclose(found[n], expected, atol=1e-6)
