"""Digests of what was fetched before, to detect that it has changed since."""

import contextlib
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

from mtujax.common.dataclass_json import read_json, write_json
from mtujax.common.files import FULL, make_folder, one_at_a_time, sweep
from mtujax.common.text import readable
from mtujax.errors import UnwritableError, UsageError, UserError
from mtujax.fetch.download import Note, size_of
from mtujax.fetch.sources import Source
from mtujax.weights.files import CACHE, cache_folder

Ask = Callable[[str], bool]
"""Asks a question that is answered by yes or no."""


class Records:
    """The digest that each name had when first fetched, and accepted licences."""

    def __init__(self, folder: Path):
        """Reads them; UserError if the file is damaged."""
        self._path = folder / "fetched.json"
        sweep(self._path)
        try:
            remedy = "delete it; every digest is then recorded again"
            self._values = read_json(self._path, remedy)
            known = self._values["digests"], self._values["accepted"]
            if not all(isinstance(part, dict) for part in known):
                raise TypeError
        except FileNotFoundError:
            self._values = {"digests": {}, "accepted": {}}
        except (KeyError, TypeError):
            raise UserError(f"{self._path}: damaged; {remedy}") from None

    def accept(
        self, source: Source, url: str, accepted: bool, ask: Ask, on_note: Note
    ) -> None:
        """Has a licence accepted before anything is downloaded; UsageError if not."""
        if source.name in self._values["accepted"]:
            return
        size = size_of(url)
        amount = readable(size) if size else "of unknown size"
        text = f"{source.name}: {url}, {amount}; licence: {source.licence}"
        if accepted:
            on_note(text)
        elif not ask(text):
            raise UsageError(
                f"{text}; not downloaded, as the licence is not accepted: "
                "--accept-licence"
            )
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        self._values["accepted"][source.name] = f"{today}: {source.licence}"
        self._write()

    def knows(self, name: str) -> bool:
        """Whether a digest is recorded under a name."""
        return name in self._values["digests"]

    def check(self, name: str, sha256: str, *, accept_changed: bool) -> None:
        """Refuses what differs from the first download under a name."""
        before = self._values["digests"].get(name, sha256)
        if before != sha256 and not accept_changed:
            raise UserError(
                f"{name}: differs from the first download (sha256 {sha256}, before "
                f"{before}); --accept-changed accepts it"
            )

    def note(self, name: str, sha256: str) -> None:
        """Records the digest of what is there now under a name."""
        if self._values["digests"].get(name) != sha256:
            self._values["digests"][name] = sha256
            self._write()

    def _write(self):
        write_json(self._path, self._values)


@contextlib.contextmanager
def fetching() -> Iterator[tuple[Path, Records]]:
    """Has the cache, its folder and records, for this process alone; else UserError."""
    folder = cache_folder()
    lock = one_at_a_time(
        folder / "fetch.lock",
        folder,
        busy="another process is fetching; wait until it is done",
    )
    with contextlib.ExitStack() as held:
        try:
            make_folder(folder / "weights", f"name another one in {CACHE}")
            make_folder(folder / "downloads", f"name another one in {CACHE}")
            held.enter_context(lock)
            records = Records(folder)
        except OSError as error:
            raise UserError(
                f"{error.filename or folder}: cannot be written ({error.strerror}); "
                f"name another folder in the environment variable {CACHE}"
            ) from None
        try:
            yield folder, records
        except (OSError, UnwritableError) as error:
            if isinstance(error, UnwritableError) or error.errno in FULL:
                error.add_note(f"make room, or choose another folder: --to or {CACHE}")
            raise
