"""Outputs of two runs, which may differ by the rounding of the device."""

import cv2
import numpy as np


def _pictures(tree):
    return {n: x for n, x in tree.items() if n.endswith(".png")}


def assert_same_pictures(found, expected):
    found, expected = _pictures(found), _pictures(expected)
    assert found.keys() == expected.keys()
    for name, content in found.items():
        a, b = (
            cv2.imdecode(np.frombuffer(x, np.uint8), cv2.IMREAD_UNCHANGED).astype(int)
            for x in (content, expected[name])
        )
        assert np.abs(a - b).max() <= 1, name
