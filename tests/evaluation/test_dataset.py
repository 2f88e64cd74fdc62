import numpy as np
import pytest
import sets

from mtujax.data.frames import VideoInfo
from mtujax.evaluation.dataset import ResultFrames


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_results_of_16_bits_keep_all_of_them_next_to_those_of_8(tmp_path, channels):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 2**16, (5, 7, channels), np.uint16)
    plain = rng.integers(0, 2**8, (5, 7, channels), np.uint8)
    (tmp_path / "v").mkdir()
    sets.write(tmp_path / "v/1.png", deep)
    sets.write(tmp_path / "v/2.png", plain)
    found = ResultFrames(tmp_path, [VideoInfo("v", 2, 5, 7)], [None])
    for frame, (image, most) in enumerate(((deep, 2**16 - 1), (plain, 2**8 - 1))):
        colours = np.broadcast_to(image[..., :3], (5, 7, 3))[..., ::-1]
        wanted = colours.astype(np.float32) / np.float32(most)
        np.testing.assert_array_equal(found.read(0, frame), wanted)
    assert found.deep == [True]
