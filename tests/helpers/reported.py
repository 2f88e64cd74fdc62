"""Files of results as evaluations and benchmarks write them, made by hand."""

import dataclasses
import json

from mtujax.common.dataclass_json import to_dict
from mtujax.config import PRESETS


def method(name="mtu2", preset="mtu2", dtype="float32", parameters=1_037_325):
    config = None
    if preset:
        config = to_dict(dataclasses.replace(PRESETS[preset], dtype=dtype))
    about = {"name": name, "sha256": "ab" * 32, "config": config}
    return about | {"parameters": parameters}


def evaluation(path, about=None, dataset="dvd", variant=None, frames=990, **changes):
    scores = {"psnr": 30.5, "ssim": 0.925, "frames": frames, "videos": 10}
    data = {
        "kind": "mtujax evaluation",
        "version": 1,
        "device": "cpu",
        "method": about or method(),
        "dataset": {"name": dataset, "split": "test", "variant": variant},
        "protocols": {"rt-paper": scores, "koehler": scores | {"psnr": 31.5}},
        "motion": {"psnr": 26.0, "ssim": 0.85},
    }
    path.write_text(json.dumps(data | changes))
    return path


def bench(path, about=None, size=(1280, 720), **changes):
    data = {
        "kind": "mtujax bench",
        "version": 1,
        "device": "NVIDIA H100",
        "method": about or method(),
        "size": size,
        "step_ms": {"p50": 4.25, "p95": 4.5},
    }
    path.write_text(json.dumps(data | changes))
    return path
