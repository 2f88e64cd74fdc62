"""The arrays recorded from the published network, and weights made by their rule.

They lie in `golden/`, or in the folder that the environment names.
"""

import dataclasses
import functools
import json
import os
import zlib
from pathlib import Path

import numpy as np
from places import TESTS

FOLDER = Path(os.environ.get("MTUJAX_PARITY_DIR") or TESTS / "golden")
PRESET_NAMES = ("MTU1", "MTU2", "MTU4", "MTU10", "MTU10_L")


@dataclasses.dataclass(frozen=True)
class Recording:
    """frames [T, H, W, 3] in [0, 1], and what the published network made of them."""

    tensors: dict[str, np.ndarray]
    training_tensors: dict[str, np.ndarray]
    parameters: int
    frames: np.ndarray
    restored: np.ndarray
    displacement: np.ndarray


def rebuild(shapes, *, seed, scale):
    """Tensors by the manifest's rule: normal, seeded by their names.

    `scale` is the deviation of all weights, or a function of a weight's shape.
    """

    def deviation(name, shape):
        if not name.endswith(".weight"):
            return 0.01
        return scale(shape) if callable(scale) else scale

    return {
        name: np.random.default_rng([seed, zlib.crc32(name.encode())])
        .normal(0, deviation(name, shape), shape)
        .astype(np.float32)
        for name, shape in shapes.items()
    }


def read(name):
    entry = json.loads((FOLDER / "manifest.json").read_text())["presets"][name]
    rule = {"seed": entry["seed"], "scale": entry["scale"]}
    arrays = np.load(FOLDER / f"{name}.npz")
    return Recording(
        tensors=rebuild(entry["shapes_inference"], **rule),
        training_tensors=rebuild(entry["extra_shapes_training"], **rule),
        parameters=entry["params_inference"],
        frames=arrays["frames"] / np.float32(255),
        restored=arrays["result"],
        displacement=arrays["displacement"],
    )


@dataclasses.dataclass(frozen=True)
class TrainingRecording:
    """Three updates from frames, sharp uint8 [B, 7, H, W, 3] and labels [B, 3, h, w].

    `steps` has the losses and norms of each, `outputs` what the first two computed,
    `changes` of each tensor the norm and the first 8 values of its change.
    """

    tensors: dict[str, np.ndarray]
    training_tensors: dict[str, np.ndarray]
    frames: np.ndarray
    sharp: np.ndarray
    labels: np.ndarray
    steps: list[dict[str, float]]
    outputs: list[dict[str, np.ndarray]]
    changes: dict[str, tuple[float, np.ndarray]]


def read_training():
    rule = json.loads((FOLDER / "training_MTU2.json").read_text())
    entry = json.loads((FOLDER / "manifest.json").read_text())["presets"]["MTU2"]
    seeded = {"seed": rule["seed"], "scale": rule["scale"]}
    arrays = np.load(FOLDER / "training_MTU2.npz")
    names = ("image", "aux", "motion", "gnorm_deblur", "gnorm_motion")
    kinds = {"restored": "result", "intermediate": "intermediate"}
    kinds["cost_volume"] = "cost_volume"
    told = zip(arrays["delta_norm"], arrays["delta_head"], strict=True)
    return TrainingRecording(
        tensors=rebuild(entry["shapes_inference"], **seeded),
        training_tensors=rebuild(entry["extra_shapes_training"], **seeded),
        frames=arrays["frames"],
        sharp=arrays["sharp"],
        labels=arrays["labels"],
        steps=[{n: float(arrays[n][k]) for n in names} for k in range(3)],
        outputs=[
            {ours: arrays[f"{theirs}_{k}"] for ours, theirs in kinds.items()}
            for k in range(2)
        ],
        changes=dict(zip(arrays["param_names"].tolist(), told, strict=True)),
    )


@dataclasses.dataclass(frozen=True)
class TeacherRecording:
    """LiteFlowNet's flow [H/2, W/2, 2] from frames[1] to frames[0], [2, H, W, 3]."""

    tensors: dict[str, np.ndarray]
    frames: np.ndarray
    flow: np.ndarray


@functools.cache  # drawing five million weights takes its time
def read_teacher():
    entry = json.loads((FOLDER / "liteflownet.json").read_text())
    arrays = np.load(FOLDER / "liteflownet.npz")
    return TeacherRecording(
        tensors=rebuild(
            entry["shapes"],
            seed=entry["seed"],
            scale=lambda shape: 1.5 / np.sqrt(np.prod(shape[1:])),
        ),
        frames=arrays["frames"] / np.float32(255),
        flow=arrays["flow"],
    )
