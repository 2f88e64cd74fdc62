"""Steps of several streams in one program are those that each takes alone."""

import jax
import numpy as np

from mtujax.model.stream import LaneStream, Stream, run_together


def steps_of(stream, frames):
    return [s for frame in frames for s in stream.advance(frame)] + stream.finish()


def test_streams_at_different_frames_and_of_different_batches_step_together(tiny, clip):
    """The first, a later and a last frame of a video; of two, of one, of one."""
    frames = (clip[0] * 255).astype(np.uint8)
    videos = [np.stack([frames, 255 - frames], axis=1), frames[::-1], 255 - frames]
    taken = [[], [], []]

    def recorded(steps):
        def run(model, params, state, window):
            # Copies: a step uses up the state that it is given.
            kept = jax.tree.map(np.array, (state, window))
            (found,) = run_together(model, params, [state], [window])
            steps.append((kept, jax.tree.map(np.array, found)))
            return found

        return run

    for video, steps in zip(videos, taken, strict=True):
        found = steps_of(LaneStream(*tiny, recorded(steps)), video)
        for a, b in zip(found, steps_of(Stream(*tiny), video), strict=True):
            np.testing.assert_array_equal(a.restored, b.restored)
    chosen = [taken[0][0], taken[1][3], taken[2][-1]]
    given, expected = zip(*chosen, strict=True)
    states, windows = zip(*jax.device_put(given), strict=True)
    found = run_together(*tiny, states, windows)
    for a, b in zip(found, expected, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1.01), a, b)
        jax.tree.map(_near, a[0], b[0])


def _near(a, b):
    np.testing.assert_allclose(np.float32(a), np.float32(b), atol=1e-4)
