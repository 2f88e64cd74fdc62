"""Where `examples/live.py` takes its frames from: cameras, sizes, colours."""

import threading

import camera
import numpy as np
import pytest
from camera import Camera, frame

from mtujax.errors import UserError

source = camera.source


def test_a_camera_gives_its_latest_frame_and_counts_the_others(source):
    camera = Camera(source)
    shots = iter(camera.shots)
    camera._frames.put(frame(0))
    assert next(shots).frame[0, 0, 0] == 0
    # The reader now waits for the next frame, or is about to.
    with camera._waiting:
        assert camera._waiting.wait_for(lambda: len(camera.asked) >= 2, 30)
    camera.give(frame(1), frame(2), frame(3))
    third = next(shots)
    assert third.frame[0, 0, 0] == 3 and camera.shots.dropped == 2
    camera.give(frame(4))
    fourth = next(shots)
    assert fourth.frame[0, 0, 0] == 4 and camera.shots.dropped == 2
    assert fourth.captured > third.captured and fourth.at > third.at > 0
    camera.end()
    assert not list(shots) and camera.shots.failure == "the source has ended"
    camera.shots.close()
    assert camera.released


def test_a_camera_that_hangs_is_given_up_and_not_waited_for(source, monkeypatch):
    monkeypatch.setattr(source, "STALLED", 0.0)
    monkeypatch.setattr(threading.Thread, "join", lambda *_, **__: None)
    camera = Camera(source)
    assert not list(camera.shots)
    assert "no frame for" in camera.shots.failure
    camera.shots.close()
    assert not camera.released  # its thread still reads
    camera.end()


def test_frames_that_change_their_size_are_refused_or_resized(source):
    def shots():
        return (source.Shot(frame(9, size), 0.0, 0.0) for size in ((8, 6), (16, 12)))

    with pytest.raises(UserError, match="16x12 among those of 8x6; --size 8x6"):
        list(source.prepared(shots(), (8, 6), resize=False))
    alike = source.prepared(shots(), (8, 6), resize=True)
    assert [shot.frame.shape for shot in alike] == [(6, 8, 3)] * 2


def test_what_opencv_calls_blue_is_red_for_the_network(source):
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 200  # BGR
    (shot,) = source.prepared([source.Shot(red, 0.0, 0.0)], (4, 4), resize=False)
    assert shot.frame[0, 0].tolist() == [200, 0, 0]
