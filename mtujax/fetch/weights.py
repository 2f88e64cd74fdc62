"""The authors' weights: out of their archive, converted, and kept in the cache."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from mtujax.common.files import (
    check_there,
    digest,
    file_digest,
    make_folder,
    staged,
    sweep,
)
from mtujax.common.text import nearest
from mtujax.errors import (
    UnknownWeightsError,
    UsageError,
    UserError,
    WeightsError,
)
from mtujax.fetch.archive import find_member, opened, unpack, unusable_deleted
from mtujax.fetch.download import Note, Progress, download, is_url
from mtujax.fetch.records import Ask, fetching
from mtujax.fetch.sources import WEIGHTS
from mtujax.liteflownet.convert import convert_teacher
from mtujax.weights.convert import convert_checkpoint
from mtujax.weights.files import CACHE, RELEASED, place_of
from mtujax.weights.safetensors_io import read_header


@dataclasses.dataclass(frozen=True)
class FetchedWeights:
    """Weights that have been fetched.

    Attributes:
        name: the released name.
        path: of the weights file.
        sha256: digest of the checkpoint it was made of; "" if it was there already.
        archive_sha256: digest of the archive; "" if there was none.
    """

    name: str
    path: Path
    sha256: str = ""
    archive_sha256: str = ""


def fetch_weights(
    names: Sequence[str],
    *,
    source: str | os.PathLike | None = None,
    to: str | os.PathLike | None = None,
    accept_licence: bool = False,
    accept_changed: bool = False,
    overwrite: bool = False,
    ask: Ask = lambda text: False,
    progress: Progress = lambda done, total: None,
    on_note: Note = lambda note: None,
) -> list[FetchedWeights]:
    """Downloads and converts released weights, so that their names can be used.

    Args:
        names: released names, as "mtu2-gopro"; empty for all.
        source: an archive, a folder or a checkpoint that is there already, or the URL
            of an archive or a checkpoint; None for the authors' archive.
        to: folder for the files in place of the cache; names then stay unknown.
        accept_licence: accept the licence that the weights are under.
        accept_changed: take what differs from the first download.
        overwrite: fetch again what is there.
        ask: asks whether the licence, given as text, is accepted.
        progress: called with the bytes downloaded and their total, or None.
        on_note: called with a line about what is tried, and what failed of it.

    Returns:
        What is there now, in the order of the names.

    Raises:
        UnknownWeightsError: for a name that the authors did not release.
        UsageError: if the licence is not accepted, the scheme of the URL is unknown,
            or one checkpoint is given for several names.
        UserError: if it cannot be had, is damaged, unsafe or another than before.
    """
    for name in names:
        if name not in RELEASED:
            raise UnknownWeightsError(
                f"{name!r}: not released by the authors; {nearest(name, RELEASED)}"
            )
    places = {name: place_of(name) for name in names or RELEASED}
    if to is not None:
        make_folder(Path(to), "name another folder by --to")
        places = {name: Path(to) / place.name for name, place in places.items()}
    done = {name: FetchedWeights(name, place) for name, place in places.items()}
    with fetching() as (cache, records):
        missing = [n for n, place in places.items() if overwrite or not place.is_file()]
        for name in places.keys() - missing:
            _finish(name, places[name], records)
        if not missing:
            return list(done.values())
        kept = source is not None and not is_url(source)
        if kept:
            path = Path(source)
            remedy = "a file, a folder, or a URL that begins with http:// or https://"
            check_there(path, f"; --from takes {remedy}")
            origin = path.name
        else:
            origin = url = str(source or WEIGHTS.url)
            path = cache / "downloads" / f"{digest(url.encode())[:16]}.zip"
            if overwrite or not path.is_file():
                records.accept(WEIGHTS, url, accept_licence, ask, on_note)
                download(url, path, progress=progress, on_note=on_note, option=CACHE)
        tidied = contextlib.nullcontext() if kept else unusable_deleted(path)
        with tidied, _origin(path, missing) as (take, archive):
            about = {"archive": origin, "archive_sha256": archive} if archive else {}
            for name in missing:
                with take(RELEASED[name]) as (checkpoint, shown):
                    sha256 = file_digest(checkpoint)
                    records.check(name, sha256, accept_changed=accept_changed)
                    with _explained(checkpoint, shown):
                        _convert(RELEASED[name], checkpoint, places[name], about)
                    records.note(name, sha256)
                done[name] = FetchedWeights(name, places[name], sha256, archive)
    return list(done.values())


def _finish(name, path, records):
    """Completes what a process left undone that was killed after writing the file."""
    sweep(path)
    sweep(_place_of_member(RELEASED[name]))
    if not records.knows(name):
        with contextlib.suppress(WeightsError, KeyError):
            records.note(name, read_header(path)[0]["provenance"]["source_sha256"])


@contextlib.contextmanager
def _origin(path, names):
    """A function from a released file to a context, and the archive's digest or ""."""
    # The context has the checkpoint, and its name for messages.
    if path.is_dir():
        yield functools.partial(_in_folder, path), ""
    elif _is_checkpoint(path):
        if len(names) > 1:
            raise UsageError(
                f"{path}: is a single checkpoint, but {len(names)} names are to be "
                "fetched; give the one that it is"
            )
        yield lambda one: contextlib.nullcontext((path, path)), ""
    else:
        with opened(path) as archive:
            yield functools.partial(_unpacked, path, archive), file_digest(path)


def _is_checkpoint(path):
    with open(path, "rb") as file:
        if file.read(1) == b"\x80":  # of an older PyTorch
            return True
    try:
        with opened(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except UserError:  # which is raised again when it is taken for an archive
        return False


def _in_folder(folder, one):
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.lower() == one.member.lower() and path.is_file()
    ]
    if len(found) != 1:
        count = "is not in it" if not found else f"is in it {len(found)} times"
        raise UserError(f"{folder}: {one.member}, which {one.name} is, {count}")
    return contextlib.nullcontext((found[0], found[0]))


def _place_of_member(one):
    return place_of(one.name).with_name(one.member)


@contextlib.contextmanager
def _unpacked(path, archive, one):
    info = find_member(path, archive, one.member)
    if info is None:
        raise UserError(
            f"{path}: {one.member}, which {one.name} is, is not in it; give another "
            "archive, folder or checkpoint by --from"
        )
    # It is deleted when it is converted.
    with staged(_place_of_member(one), folder=False) as made:
        unpack(archive, info, made.path)
        yield made.path, f"{path}: {one.member}"


@contextlib.contextmanager
def _explained(checkpoint, shown):
    """Makes what is wrong with a checkpoint short, with its name for messages."""
    try:
        yield
    except WeightsError as error:
        line = str(error)
        if error.findings:
            line = line.removesuffix(f": {'; '.join(error.findings)}")
            more = ", ..." if error.findings[1:] else ""
            line = line.partition("; use preset")[0]
            line += f" ({error.findings[0]}{more}); give another file by --from"
        error.args = (line.replace(str(checkpoint), str(shown)),)
        raise


def _convert(one, checkpoint, output, about):
    about = {"license": WEIGHTS.licence, "source": one.member, **about}
    if one.preset is None:
        about["license"] += "; LiteFlowNet's own authors published it for research only"
        convert_teacher(checkpoint, output, about=about)
        return
    about["description"] = f"{one.preset} of the paper, trained on {one.dataset}"
    convert_checkpoint(checkpoint, output, preset=one.preset, about=about)
