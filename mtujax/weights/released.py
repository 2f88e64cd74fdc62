"""The authors' weights by name: what there is, and where `mtujax fetch` keeps it.

They are not in the package, as their licence is another one. A name stands for one
checkpoint of the authors' archive, and for the file that was made of it.
"""

import dataclasses
import os
from pathlib import Path

import platformdirs

from mtujax.errors import UnknownWeightsError

CACHE = "MTUJAX_CACHE"
"""Environment variable that names another folder for all that is fetched."""

TEACHER = "liteflownet"
"""Name of the flow teacher, which training reads."""


@dataclasses.dataclass(frozen=True)
class Released:
    """One of the authors' checkpoints.

    Attributes:
        name: under which it is fetched and used.
        member: name of its file in the authors' archive.
        preset: name of its network; None for the flow teacher.
        dataset: that it was trained on, as "gopro"; None for the flow teacher.
        row: key of its row in the paper's tables; None for the flow teacher.
    """

    name: str
    member: str
    preset: str | None = None
    dataset: str | None = None
    row: str | None = None


def _released():
    networks = {"MTU1": "mtu1", "MTU2": "mtu2", "MTU4": "mtu4", "MTU10": "mtu10"}
    networks |= {"MTU10_L": "mtu10_l", "MTU2_amp": "mtu2"}
    for network, preset in networks.items():
        row = "mtu2_hp" if network == "MTU2_amp" else preset
        for data in ("GoPro", "DVD", "REDS"):
            name = f"{network}-{data}".lower()
            member = f"{network}_{data}.pytorch"
            yield Released(name, member, preset, data.lower(), row)
    yield Released(TEACHER, "liteFlowNet.pytorch")


RELEASED = {one.name: one for one in _released()}
"""All of them by name."""


def cache_folder() -> Path:
    """The folder for all that is fetched: `MTUJAX_CACHE`, or the user's own."""
    return Path(os.environ.get(CACHE) or platformdirs.user_cache_path("mtujax"))


def place_of(name: str) -> Path:
    """The weights file that a released name stands for, fetched or not."""
    return cache_folder() / "weights" / f"{name}.safetensors"


def is_fetched(name: str) -> bool:
    """Whether it is a released name whose weights are there."""
    return name in RELEASED and place_of(name).is_file()


def find(name: str) -> Path | None:
    """The file of a released name; None for other names.

    An UnknownWeightsError, with the command that brings it, if it is not fetched yet.
    """
    if name not in RELEASED:
        return None
    if not is_fetched(name):
        raise UnknownWeightsError(
            f"{name!r} is not fetched yet; `mtujax fetch {name}` brings it from where "
            "its authors put it"
        )
    return place_of(name)
