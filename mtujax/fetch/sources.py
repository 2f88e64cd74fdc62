"""Where the authors' weights and data are, and under which licence."""

import dataclasses

from mtujax.data.datasets import dataset

_REPOSITORY = "https://github.com/codeslake/RealTime_VDBLR"
_AGPL = (
    "AGPL-3.0, as the authors' code that they came with; exemptions from it are "
    f"POSTECH's to give ({_REPOSITORY})"
)


@dataclasses.dataclass(frozen=True)
class Source:
    """An archive that the paper's authors offer.

    Examples:
        >>> Source("weights", "https://example.org/weights.zip", "CC-BY-4.0").folders
        {}

    Attributes:
        name: of its contents, for messages.
        url: where it is.
        licence: of its contents, in a line.
        folders: of a data set, {split: the folder that holds it in the archive}.
    """

    name: str
    url: str
    licence: str
    folders: dict[str, str] = dataclasses.field(default_factory=dict)


WEIGHTS = Source(
    "weights",
    "https://www.dropbox.com/sh/k1j7kdk7qyq04jg/AADNCY0guxTqZgL6sKAVyKcTa?dl=1",
    _AGPL,
)
"""The archive of all networks.

Examples:
    >>> WEIGHTS.licence.partition(",")[0]
    'AGPL-3.0'
"""


def _data(name, url, folders):
    homepage = dataset(name).homepage
    licence = f"as its own authors state it ({homepage}); rearranged by the paper's"
    return Source(name, url, licence, folders)


DATASETS = {
    "gopro": _data(
        "gopro",
        "https://www.dropbox.com/s/5ese6qtbwy7fsoh/nah.zip?dl=1",
        {"train": "train_nah", "test": "test_nah"},
    ),
    "dvd": _data(
        "dvd",
        "https://www.dropbox.com/s/8daduee9igqx5cw/DVD.zip?dl=1",
        {"train": "train_DVD", "test": "test_DVD"},
    ),
}
"""The archives of data sets by name.

Examples:
    >>> DATASETS["gopro"].folders
    {'train': 'train_nah', 'test': 'test_nah'}
"""
