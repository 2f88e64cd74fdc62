"""A texture that moves, and what a small network sees in it."""

import functools

import cv2
import jax
import numpy as np
import pytest

from mtujax.config import ModelConfig
from mtujax.model.network import MTUNet, inference_params, init_params
from mtujax.report.motion import clip_features

RADIUS = 3
STEP = 8  # pixels, two cells
HEIGHT, WIDTH = 48, 62  # the width is no multiple of 4


def moving(frames=4):
    """A blurred texture that moves right by `STEP` pixels a frame."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, 160, 3), np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, 32)
    starts = [80 - t * STEP for t in range(frames)]
    return np.stack([texture[:, s : s + WIDTH] for s in starts])


# pytest sets a fixture up again in every file that takes it; these are made once.


@functools.cache
def _network():
    config = ModelConfig(num_units=1, channels=4, num_blocks=1, search_radius=RADIUS)
    model = MTUNet(config)
    return model, inference_params(init_params(model, jax.random.key(0)))


@functools.cache
def _seen():
    return clip_features(*_network(), moving(), 2)


@pytest.fixture(scope="module")
def network():
    return _network()


@pytest.fixture(scope="module")
def seen():
    """Features of the frames 1 and 2."""
    return _seen()
