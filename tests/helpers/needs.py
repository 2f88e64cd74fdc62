"""What a step of a stream needs, as the plan of memory reckons it."""

from mtujax.model import tiling
from mtujax.model.stream import Stream
from mtujax.model.tiling import TiledStream


def step_bytes(model, params, height, width, dtype, tile=None):
    """Peak bytes of one frame's step; None where the compiler does not say."""
    stream = TiledStream(model, params, tile) if tile else Stream(model, params)
    found = tiling._analysed(stream, (1, height, width, 3), dtype)
    return found and found.total
