"""One file over HTTP: retried, resumed where it was cut, and refused if it is a page.

The partial file, `NAME.part`, is next to the output, with a note that identifies the
whole: the same command resumes it.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import requests

from mtujax.common import interrupts
from mtujax.common.dataclass_json import read_json, write_json
from mtujax.common.files import (
    WEB_PAGE,
    check_space,
    is_web_page,
    named_after,
    naming,
    to_disk,
)
from mtujax.errors import UsageError, UserError

WAITS = (1, 2, 4, 8)
"""Seconds before each further attempt, from the last that brought something."""

TIMEOUT = (6, 30)
"""Seconds to connect, and without a byte."""

_SIZE_TIMEOUT = (4, 4)  # of a question that the download can do without
_CHUNK = 1 << 18
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # states that may be over soon
_PLAIN = {"Accept-Encoding": "identity"}  # so that sizes and ranges are of the file

Progress = Callable[[int, int | None], None]
"""Takes the bytes there are, and their total or None."""

Note = Callable[[str], None]
"""Takes a line about what is tried."""


class _Passing(Exception):
    """A temporary failure, worth another attempt."""


def download(
    url: str,
    output: Path,
    *,
    progress: Progress = lambda done, total: None,
    on_note: Note = lambda note: None,
    option: str = "--to",
) -> None:
    """Downloads a file; UserError with the remedy if it fails."""
    # `option` is the one that chose the folder of the output, for a message.
    on_note(f"downloading {url}")
    part = _Part(url, output, progress, option)
    with naming(output, part.path):
        _until_whole(url, part, on_note)
        part.check_kind()
        part.publish()


def _until_whole(url, part, on_note):
    waits, most = iter(WAITS), part.size
    while not part.whole:
        try:
            _attempt(url, part)
        except _Passing as error:
            if part.size > most:
                waits, most = iter(WAITS), part.size
            if (wait := next(waits, None)) is None:
                raise _failed(url, error, part.size) from None
            on_note(f"{url}: {error}; tried again in {wait} s")
            interrupts.check()
            time.sleep(wait)


def is_url(source: str | os.PathLike) -> bool:
    """Whether it is downloaded, and no file or folder; UsageError if it cannot be."""
    scheme, found, _ = str(source).partition("://")
    if found and scheme.lower() not in ("http", "https"):
        raise UsageError(
            f"{source}: only http:// and https:// can be downloaded; download it by "
            "other means and give the file by --from FILE"
        )
    return bool(found)


def size_of(url: str) -> int | None:
    """The size in bytes that a server states, or None if it states none."""
    try:
        answer = requests.head(
            url, timeout=_SIZE_TIMEOUT, allow_redirects=True, headers=_PLAIN
        )
    except (requests.RequestException, ValueError):
        return None  # the download says why
    return _length(answer) if answer.ok else None


def _length(answer):
    stated = answer.headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else None


def _attempt(url, part):
    headers = _PLAIN | part.range_headers()
    try:
        with requests.get(url, headers=headers, timeout=TIMEOUT, stream=True) as answer:
            part.take(answer)
    except requests.exceptions.SSLError as error:
        said = re.search(r"\[SSL[^]]*] ([^('\"]*)", str(error))
        why = f"no secure connection: {said[1].strip() if said else error}"
        raise _failed(url, why, part.size) from None
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise _Passing(_reason(error)) from None
    except (requests.RequestException, ValueError) as error:
        raise _failed(url, error, part.size) from None


def _reason(error):
    text = str(error)
    if isinstance(error, requests.exceptions.ProxyError):
        said = re.search(r"Tunnel connection failed: ([^')]*)", text)
        why = f"answers {said[1]}" if said else "cannot be reached"
        return f"the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY {why}"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "no answer in time"
    if "NameResolution" in text or "getaddrinfo" in text:
        return "the name of the server cannot be resolved: is there a network?"
    if "refused" in text:
        return "the connection was refused"
    if "unreachable" in text:
        return "the server cannot be reached: is there a network?"
    return "the connection was cut"


def _failed(url, error, size):
    again = "the same command resumes it, or " if size else ""
    text = " ".join(str(error).split())[:200]
    return UserError(
        f"{url}: cannot be downloaded ({text}); {again}download it elsewhere, as in a "
        "browser, and give the file by --from FILE"
    )


class _Part:
    """A file that is being downloaded."""

    def __init__(self, url, output, progress, option):
        self._url, self._output, self._progress = url, output, progress
        self._option = option
        self.path = named_after(output, ".part")
        self._note = named_after(output, ".part.json")
        self.size, self._total, self._mark = 0, None, None
        with contextlib.suppress(OSError, UserError, KeyError, TypeError):
            note = read_json(self._note)  # of an earlier process
            if note["url"] == url:
                self._total, self._mark = note["total"], note["mark"]
                self.size = self.path.stat().st_size

    @property
    def whole(self):
        """Whether everything is there that the server said there is."""
        return self.size == self._total

    def range_headers(self):
        """Requests the missing bytes, if the server can identify the file."""
        if not (self.size and self._mark):
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._mark}

    def take(self, answer):
        """Adds the content of a response: the whole file, or its missing end."""
        status, place = answer.status_code, answer.headers.get("Content-Range")
        if status == 416 and place == f"bytes */{self.size}":
            self._total = self.size  # everything is there
            return
        self._check(answer)
        kept = self.size if status == 206 else 0
        length = _length(answer)
        self._total = None if length is None else kept + length
        check_space(self.path.parent, length or 0, self._option)
        etag = answer.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else None
        self._mark = strong or answer.headers.get("Last-Modified")
        with open(self.path, "r+b" if kept else "wb") as file:
            file.seek(kept)
            self.size = kept
            note = {"url": self._url, "mark": self._mark, "total": self._total}
            write_json(self._note, note)  # once nothing of another file is left
            for data in answer.iter_content(_CHUNK):
                interrupts.check()
                file.write(data)
                self.size += len(data)
                self._progress(self.size, self._total)
        if self._total is None:
            self._total = self.size
        if not self.whole:
            raise _Passing("the connection was cut")

    def _check(self, answer):
        """Refuses a response without the requested content."""
        status, headers = answer.status_code, answer.headers
        part = headers.get("Content-Range", "")
        another = status == 206 and not part.startswith(f"bytes {self.size}-")
        if another or status == 416:
            self.forget()
            raise _Passing("the server has another file now")
        if status in _PASSING:
            raise _Passing(f"status {status} {answer.reason}")
        if status not in (200, 206):
            raise _failed(self._url, f"status {status} {answer.reason}", self.size)
        if headers.get("Content-Type", "").startswith("text/html"):
            raise self._page()

    def check_kind(self):
        """Refuses a page in place of the file, whatever the server calls it."""
        if is_web_page(self.path):
            self.forget()
            raise self._page()
        if not self.size:
            self.forget()
            raise UserError(f"{self._url}: the server sent an empty file; try later")

    def _page(self):
        return UserError(
            f"{self._url}: {WEB_PAGE}, not the file; try later, or download it in a "
            "browser and give the file by --from FILE"
        )

    def forget(self):
        """Deletes the partial download."""
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)
        self.size, self._total, self._mark = 0, None, None

    def publish(self):
        """Gives the complete file its name."""
        to_disk(self.path)
        self._note.unlink(missing_ok=True)  # first: afterwards, nothing would do it
        os.replace(self.path, self._output)
