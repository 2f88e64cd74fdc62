"""Which floor each folder stands on, and who alone may import a library."""

FLOORS = [
    "errors config",
    "common",
    "ops video",
    "model metrics data parallel",
    "weights synthesis",
    "liteflownet deploy",
    "fetch deblur training torch_port",
    "evaluation",
    "bench",
    "report",
    "cli",
    "__main__",
]
"""Folders and top modules, from the ground up: each imports lower ones only."""

ONLY = {
    "absl": "data.pipeline",
    "array_record": "data.builders",
    "av": "video synthesis.host.sensor",
    "fsspec": "deblur.remote",
    "etils": "training.checkpoints",
    "grain": "data.pipeline",
    "matplotlib": "report data.contact_sheet",
    "ml_collections": "cli.configs training.config_dict",
    "onnx": "deploy",
    "openvino": "deploy",
    "optax": "training",
    "orbax": "training.checkpoints",
    "platformdirs": "weights.files",
    "ray": "deblur.cluster",
    "requests": "fetch.download",
    "rich": "common.progress training.logbook",
    "tensorboardX": "training.log_files",
    "tensorflow_datasets": "data.builders",
    "torch": "torch_port",
    "typer": "cli",
}
"""Libraries, and the folders or modules that alone may import them."""

NO_JAX = "data video synthesis.host ops.labels"
"""Where no JAX is imported."""

MOST = 18
"""Modules of a folder, at most."""
