import os
import signal
from importlib.metadata import version

# XLA's own passes as ever, LLVM's left out: the tests compile a thousand small programs
# and run each a few times. `make gpu`, and those parts of `make test-slow` that run for
# long or guard exact values, compile as users do: with XLA_FLAGS set to nothing. jaxlib
# 0.10 has two ways to compile fusions, of which this is the quick one to compile.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)

# What commands compile is kept for their next start, but not what tests compile.
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")

import flax.traverse_util
import jax
import numpy as np
import pytest
from networks import SMALLEST, TINY, lively_params
from places import ROOT

from mtujax.model.network import MTUNet, expected_shapes, inference_params
from mtujax.weights.files import save_weights

# Two devices, so that a test can tell a replicated computation from a single one.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# A shell ignores it for what it starts in the background; children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def model():
    return MTUNet(TINY)


@pytest.fixture(scope="session")
def params(model):
    return inference_params(lively_params(model))


@pytest.fixture
def in_the_clone(monkeypatch):
    """As scripts find things: their folder is the first where Python looks."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(ROOT)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def clip():
    """[1, 7, 24, 32, 3]: a texture that pans by whole pixels, softly blurred."""
    rng = np.random.default_rng(5)
    texture = rng.random((40, 64, 3))
    for axis in (0, 1):
        texture = (texture + np.roll(texture, 1, axis)) / 2
    frames = [texture[t : t + 24, 2 * t : 2 * t + 32] for t in range(7)]
    return np.stack(frames)[None].astype(np.float32)


@pytest.fixture(scope="module")
def one_torch_thread():
    """On busy cores torch's threads wait for each other longer than they work."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny():
    """The smallest network, as `deblur_video` takes it."""
    rng = np.random.default_rng(0)  # drawing with `init_params` compiles for seconds
    flat = {
        name: rng.normal(0, 0.03, shape).astype(np.float32)
        for name, shape in expected_shapes(SMALLEST).items()
    }
    return MTUNet(SMALLEST), flax.traverse_util.unflatten_dict(flat, sep="/")


@pytest.fixture(scope="session")
def weights_file(tiny, tmp_path_factory):
    """The same as a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, SMALLEST, tiny[1])
    return path
