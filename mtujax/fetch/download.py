"""One file over HTTP: retried, resumed where it was cut, and refused if it is a page.

The transfer itself is pooch's. What has come so far is next to the output, `NAME.part`,
with a note of what it is a part of: the same command continues it.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from mtujax.common import interrupts
from mtujax.common.dataclass_json import read_json, write_json
from mtujax.common.files import check_space, named_after, naming, to_disk
from mtujax.errors import UserError

WAITS = (1, 2, 4, 8)
"""Seconds before each further attempt, from the last that brought something."""

TIMEOUT = (15, 60)
"""Seconds to connect, and without a byte."""

_CHUNK = 1 << 18
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # states that may be over soon

Progress = Callable[[int, int | None], None]


class _Passing(Exception):
    """A failure that another attempt may not meet."""


def download(
    url: str, output: Path, *, progress: Progress | None = None, option: str = "--to"
) -> None:
    """Downloads a file; UserError if it cannot be had, with what to do.

    `progress` takes the bytes there are and their total; `option` is the one that chose
    the folder of the output, for a message.
    """
    part = _Part(url, output, progress or (lambda done, total: None), option)
    with naming(output, part.path):
        _until_whole(url, part)
        part.check_kind()
        part.publish()


def _until_whole(url, part):
    failures = 0
    while True:
        before = part.size
        try:
            _attempt(url, part)
            break
        except _Passing as error:
            failures = 0 if part.size > before else failures
            if failures == len(WAITS):
                raise _failed(url, error, part.size) from None
            interrupts.check()
            time.sleep(WAITS[failures])
            failures += 1


def is_url(source: str | os.PathLike) -> bool:
    """Whether it is downloaded, and not a file or folder."""
    return str(source).lower().startswith(("http://", "https://"))


def size_of(url: str) -> int | None:
    """The size in bytes that a server states, or None if it states none."""
    import requests

    try:
        answer = requests.head(
            url, timeout=TIMEOUT, allow_redirects=True, headers=_PLAIN
        )
    except (requests.RequestException, ValueError):
        return None  # the download says why
    return _length(answer) if answer.ok else None


def _length(answer):
    stated = answer.headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else None


_PLAIN = {"Accept-Encoding": "identity"}  # so that sizes and ranges are of the file


def _attempt(url, part):
    import pooch
    import requests

    ask = pooch.HTTPDownloader(
        chunk_size=_CHUNK,
        timeout=TIMEOUT,
        headers=_PLAIN | part.range_headers(),
        hooks={"response": part.accept},
    )
    try:
        with part:
            ask(url, part, None)
    except requests.exceptions.SSLError as error:
        raise _failed(url, error, part.size) from None
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise _Passing(_reason(error)) from None
    except (requests.RequestException, ValueError) as error:
        raise _failed(url, error, part.size) from None
    if part.total is not None and part.size < part.total:
        raise _Passing("the connection was cut")


def _reason(error):
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if "NameResolution" in str(error) or "getaddrinfo" in str(error):
        return "the name of the server cannot be resolved: is there a network?"
    if "refused" in str(error):
        return "the connection was refused"
    return "the connection was cut"


def _failed(url, error, size):
    again = "; the same command resumes the download" if size else ""
    text = " ".join(str(error).split())[:200]
    return UserError(
        f"{url}: cannot be downloaded ({text}){again}; or bring the file that is there "
        "by other means and give it by --from FILE"
    )


class _Part:
    """A file that is being downloaded, as pooch writes to it."""

    def __init__(self, url, output, progress, option):
        self._url, self._output, self._progress = url, output, progress
        self._option = option
        self.path = named_after(output, ".part")
        self._note = named_after(output, ".part.json")
        self.size, self.total, self._mark = 0, None, None
        self._resume()

    def _resume(self):
        """Finds what an earlier process left of the same file, if it can be resumed."""
        with contextlib.suppress(OSError, UserError, KeyError, TypeError):
            note = read_json(self._note)
            if note["url"] == self._url and note["mark"]:
                self.size, self._mark = self.path.stat().st_size, note["mark"]

    def range_headers(self):
        if not (self.size and self._mark):
            self.size = 0
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._mark}

    def __enter__(self):
        self._opened = contextlib.ExitStack()
        return self

    def __exit__(self, *_):
        self._opened.close()

    def accept(self, response, **_):
        """Looks at an answer before its content is read."""
        self._opened.callback(response.close)
        status, headers = response.status_code, response.headers
        if response.is_redirect:
            return
        if status == 416 and self.size:  # the file is shorter, so another one
            self.size, self._mark = 0, None
            raise _Passing("the file has changed")
        if status in _PASSING:
            raise _Passing(f"status {status} {response.reason}")
        if status not in (200, 206):
            raise _failed(self._url, f"status {status} {response.reason}", self.size)
        if headers.get("Content-Type", "").startswith("text/html"):
            raise self._page()
        begin = f"bytes {self.size}-"
        if status == 206 and not headers.get("Content-Range", "").startswith(begin):
            self.size, self._mark = 0, None
            raise _Passing("the server sent another part than asked for")
        self.size = self.size if status == 206 else 0
        length = _length(response)
        self.total = None if length is None else self.size + length
        check_space(self.path.parent, (self.total or 0) - self.size, self._option)
        etag = headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else None
        self._mark = strong or headers.get("Last-Modified")
        write_json(self._note, {"url": self._url, "mark": self._mark})
        mode = "r+b" if status == 206 else "wb"
        self._file = self._opened.enter_context(open(self.path, mode))
        self._file.truncate(self.size)
        self._file.seek(self.size)

    def write(self, data):
        """Takes a part of the content."""
        interrupts.check()
        self._file.write(data)
        self.size += len(data)
        self._progress(self.size, self.total)

    def flush(self):
        """Hands everything to the system, so that a killed process loses nothing."""
        self._file.flush()

    def check_kind(self):
        """Refuses a page in place of the file, whatever the server calls it."""
        with open(self.path, "rb") as file:
            start = file.read(512).lstrip()[:15].lower()
        if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
            raise self._page()
        if not self.size:
            self.forget()
            raise UserError(f"{self._url}: the server sent an empty file; try later")

    def _page(self):
        self.forget()
        return UserError(
            f"{self._url}: the server sent a web page in place of the file (a quota or "
            "a login, perhaps); try later, or download it in a browser and give it by "
            "--from FILE"
        )

    def forget(self):
        """Deletes what has come so far."""
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)
        self.size = 0

    def publish(self):
        """Gives the complete file its name."""
        to_disk(self.path)
        os.replace(self.path, self._output)
        self._note.unlink(missing_ok=True)
