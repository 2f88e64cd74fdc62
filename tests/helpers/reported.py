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


def scores(psnr, ssim, frames=990):
    """Of ten videos; the first holds all frames but nine, or there are none."""
    counts = [frames - 9, *[1] * 9] if frames else [0] * 10
    by_video = {
        f"video {n}": {
            "counted": [0, count],
            "frames": count,
            "psnr": psnr * count,
            "ssim": ssim * count,
        }
        for n, count in enumerate(counts)
    }
    return {"average": "frames", "by_video": by_video}


def pairs(psnr, ssim, undefined=0):
    of_video = {"pairs": 1 + undefined, "undefined": undefined, "psnr": psnr}
    return {"by_video": {"video 0": of_video | {"ssim": ssim}}}


def evaluation(path, about=None, dataset="dvd", variant=None, frames=990, **changes):
    about_set = {"name": dataset, "split": "test", "variant": variant, "videos": []}
    data = {
        "kind": "mtujax evaluation",
        "version": 1,
        "device": "cpu",
        "machine": {"device": "cpu"},
        "method": about or method(),
        "dataset": about_set,
        "protocols": {
            "rt-paper": scores(30.5, 0.925, frames),
            "koehler": scores(31.5, 0.925, frames),
        },
        "motion": pairs(26.0, 0.85),
        "consistency": None,
        "seconds": {},
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
