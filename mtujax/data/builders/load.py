"""A builder by name, and what is prepared in a folder."""

import os
from pathlib import Path

from mtujax.data.layouts import config_of, dataset
from mtujax.errors import UserError


def builder(
    name: str,
    *,
    config: str | None = None,
    data_dir: str | os.PathLike | None = None,
):
    """The TFDS builder of a dataset; importing it also registers it with TFDS.

    Args:
        name: of the dataset.
        config: its form; None takes the default.
        data_dir: where sets are prepared; None takes TFDS's own folder.

    Returns:
        A `PairBuilder`.

    Raises:
        UsageError: for an unknown name or config.
        UserError: if the training extra is not installed.
    """
    config = config_of(dataset(name), config)
    try:
        made = _class(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed; pip install 'mtujax[train]'"
        ) from error
    chosen = {"config": made.named(config)} if config is not None else {}
    folder = None if data_dir is None else os.path.abspath(data_dir)
    return made(data_dir=folder, file_format="array_record", **chosen)


def _class(name):
    match name:
        case "gopro":
            from mtujax.data.builders.gopro import Gopro as found
        case "dvd":
            from mtujax.data.builders.dvd import Dvd as found
        case "reds":
            from mtujax.data.builders.reds import Reds as found
        case "bsd":
            from mtujax.data.builders.bsd import Bsd as found
        case "pairs":
            from mtujax.data.builders.pairs import Pairs as found
    return found


def prepared(
    name: str, *, config: str | None = None, data_dir: str | os.PathLike | None = None
):
    """The builder of a set that is prepared, ready to be read.

    Args:
        name: of the dataset.
        config: its form; None takes the default.
        data_dir: where it was prepared.

    Returns:
        A `PairBuilder`.

    Raises:
        UsageError: for an unknown name or config.
        UserError: if it is not prepared there, or in another version.
    """
    made = builder(name, config=config, data_dir=data_dir)
    folder = Path(made.data_dir)
    if made.is_prepared():
        return made
    label = "/".join(folder.parts[len(Path(made.data_dir_root).parts) : -1])
    again = f"`mtujax data prepare {name} FOLDER --output {made.data_dir_root}`"
    if others := versions(folder.parent):
        raise UserError(
            f"{folder.parent}: {label} is prepared as version {others[-1]}, but this "
            f"mtujax reads {folder.name}; {again} --overwrite makes it anew"
        )
    raise UserError(f"{made.data_dir_root}: {label} is not prepared; {again} does it")


def versions(folder: Path) -> list[str]:
    """Versions of a set that lie in a folder.

    Args:
        folder: of the set; it need not exist.

    Returns:
        Their names, oldest first.
    """
    if not folder.is_dir():
        return []
    found = [p.name for p in folder.iterdir() if (p / "dataset_info.json").is_file()]
    numbers = [n for n in found if all(part.isdigit() for part in n.split("."))]
    return sorted(numbers, key=lambda name: [int(part) for part in name.split(".")])
