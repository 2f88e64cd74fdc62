"""Laws of memory: what is foretold grows with the work, and tiles make it fit."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from needs import step_bytes
from networks import TINY

from mtujax.errors import UserError
from mtujax.model.stream import Stream
from mtujax.model.tiling import TiledStream, compiled_memory, plan

SIZE = (240, 480)


@pytest.fixture(scope="module")
def need(model, params):
    def measured(height, width, dtype=np.uint8, tile=None):
        return step_bytes(model, params, height, width, dtype, tile)

    return measured


def test_memory_is_what_comes_in_and_goes_out_and_lies_between():
    x = jnp.zeros((256, 256), jnp.float32)
    plain = jax.jit(lambda x: x + 1).lower(x).compile()
    assert compiled_memory(plain).total == 2 * x.nbytes
    donated = jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile()
    assert compiled_memory(donated).total == x.nbytes
    between = jax.jit(lambda x: (x @ x) @ x).lower(x).compile()
    assert compiled_memory(between).total >= 3 * x.nbytes

    class Silent:
        def memory_analysis(self):
            return None

    assert compiled_memory(Silent()) is None


@pytest.mark.slow
def test_the_estimate_grows_with_the_frame_and_shrinks_with_the_tile(need):
    small, large = need(128, 160), need(*SIZE)
    assert 0.8 < large / small / (SIZE[0] * SIZE[1] / (128 * 160)) < 1.2
    assert small < need(*SIZE, tile=(148, 164)) < 0.8 * large
    floats = need(*SIZE, np.float32) - large
    assert floats > 6 * 9 * SIZE[0] * SIZE[1]  # six frames of three more bytes a value


def test_it_is_no_less_than_what_the_step_must_hold(need):
    pixels = SIZE[0] * SIZE[1]
    # Two feature maps of C channels in float32, six frames of bytes.
    assert need(*SIZE) > pixels * (2 * 4 * TINY.channels + 6 * 3)


# Of sizes that no other test has, in whatever order they come.
@pytest.mark.parametrize("width, tile", [(136, None), (168, (64, 104))])
def test_the_step_is_compiled_once_for_estimate_and_run(
    model, params, width, tile, caplog
):
    step_bytes(model, params, 64, width, np.uint8, tile)
    stream = TiledStream(model, params, tile) if tile else Stream(model, params)
    with jax.log_compiles(), caplog.at_level(logging.DEBUG, logger="jax"):
        stream.push(np.zeros((64, width, 3), np.uint8))
        stream.flush()
    compiled = [r.getMessage() for r in caplog.records if "Compiling" in r.getMessage()]
    assert compiled  # the log works: making the first state is compiled here
    assert not any("_step" in message for message in compiled)


@pytest.mark.parametrize("free", [1.0, 0.75])
def test_the_plan_is_whole_frames_or_the_largest_tiles_that_fit(
    model, params, need, free
):
    available = int(need(*SIZE) * free / 0.75) + 1
    found = plan(model, params, *SIZE, np.uint8, available)
    assert found.needed == int(need(*SIZE) / 0.75)
    if free == 1.0:
        assert found.tile is None
    else:
        assert need(*SIZE, tile=found.tile) <= 0.75 * available
        assert found.tile[0] * found.tile[1] < SIZE[0] * SIZE[1]


def test_less_memory_makes_smaller_tiles(model, params, need):
    free = [int(need(*SIZE) * share / 0.75) for share in (0.95, 0.75)]
    large, small = (plan(model, params, *SIZE, np.uint8, n).tile for n in free)
    assert large[0] * large[1] > small[0] * small[1]


@pytest.mark.parametrize(
    "size, even", [(SIZE, "memory even in tiles of"), ((40, 48), "memory, and")]
)
def test_memory_too_small_for_any_tile_is_named(model, params, size, even):
    with pytest.raises(UserError) as raised:
        plan(model, params, *size, np.uint8, 100_000)
    said = str(raised.value)
    assert f"frames of {size[1]}x{size[0]} need" in said and even in said
    assert "0 MB are free" in said and "\n" not in said


def test_where_nothing_is_known_a_frame_is_taken_to_fit(model, params, monkeypatch):
    assert plan(model, params, *SIZE, np.uint8, None) == (None, None)
    for analysis in (lambda self: None, lambda self: object()):
        monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", analysis)
        assert step_bytes(model, params, 40, 48, np.uint8) is None
        assert plan(model, params, 40, 48, np.uint8, 10) == (None, None)


def test_a_compiler_that_runs_out_of_memory_means_tiles(model, params, monkeypatch):
    def lowered(self, shape, dtype):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(Stream, "lowered", lowered)
    tile = plan(model, params, *SIZE, np.uint8, 10**9).tile
    assert tile[0] * tile[1] < 0.5 * SIZE[0] * SIZE[1]
