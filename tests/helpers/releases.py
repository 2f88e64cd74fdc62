"""Archives in the layout of the paper's authors, of the recorded weights."""

import collections
import io
import zipfile

import recordings


def checkpoint(name="MTU1", change=0.0):
    """Bytes of a checkpoint as the authors saved them; `change` is added to a bias."""
    import torch

    recorded = recordings.read(name)
    tensors = recorded.tensors | recorded.training_tensors
    tensors["out.bias"] = tensors["out.bias"] + change
    return _saved(torch, tensors, "module.Network.")


def teacher():
    """Bytes of LiteFlowNet's checkpoint."""
    import torch

    return _saved(torch, recordings.read_teacher().tensors, "")


def _saved(torch, tensors, prefix):
    file = io.BytesIO()
    content = ((prefix + n, torch.as_tensor(v)) for n, v in tensors.items())
    torch.save(collections.OrderedDict(content), file)
    return file.getvalue()


def packed(members):
    """Bytes of an archive of {name: bytes}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()
