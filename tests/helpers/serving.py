"""A server on the loopback address that serves one file, well or badly."""

import contextlib
import http.server
import threading


class Served:
    """What is served, and what was asked for.

    Attributes:
        data: the file.
        tag: its ETag; None for none, and then no part of it can be asked for.
        cuts: after how many bytes the next answers are cut.
        answers: statuses of the next answers, before any is right.
        kind: the Content-Type.
        lengths: whether the size is stated.
        asked: headers of all requests, as (method, Range or None).
    """

    def __init__(self, data):
        self.data, self.tag, self.kind = data, '"1"', "application/zip"
        self.cuts, self.answers, self.asked, self.lengths = [], [], [], True
        self.url = None

    @property
    def gets(self):
        return [part for method, part in self.asked if method == "GET"]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)

    def _answer(self, whole):
        served = self.server.served
        part = self.headers.get("Range")
        served.asked.append((self.command, part))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if served.answers and whole:
            self.send_error(served.answers.pop(0))
            self.close_connection = True
            return
        data, start = served.data, 0
        if part and served.tag and self.headers.get("If-Range") == served.tag:
            start = int(part.removeprefix("bytes=").rstrip("-"))
        if start >= len(data) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if served.tag:
            self.send_header("ETag", served.tag)
        if start:
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send_header("Content-Range", span)
        self.send_header("Content-Type", served.kind)
        if served.lengths:
            self.send_header("Content-Length", str(len(data) - start))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = not served.lengths
        if not whole:
            return
        stop = served.cuts.pop(0) if served.cuts else len(data)
        with contextlib.suppress(OSError):
            self.wfile.write(data[start : start + stop])
        if stop < len(data):
            self.close_connection = True


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Says nothing of clients that close a connection amid an answer."""


@contextlib.contextmanager
def serving(data=b""):
    """Serves a file while a block runs; yields `Served`, with its `url`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    served = server.served = Served(data)
    served.url = f"http://127.0.0.1:{server.server_port}/file"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
