"""Image files to pixels, through OpenCV, whose libraries print what they think.

They write to the process's standard error: for a PNG, about metadata that no pixel
needs; for a JPEG, about damage that they pass over. Letters: H W pixels, C channels.
"""

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from mtujax.video.image_metadata import PNG_SIGNATURE, bare, is_whole_png

_OF_LIBRARY = re.compile(
    "Corrupt JPEG|Premature end of JPEG|Invalid SOS|libjpeg|libpng"
)
_STDERR = threading.Lock()  # the process has only one


def decode_image(data: bytes, flags: int) -> np.ndarray | None:
    """Decodes to [H, W] or [H, W, C], as `cv2.imdecode` does; None if damaged."""
    if not data or (data[:8] == PNG_SIGNATURE and not is_whole_png(data)):
        return None
    return cv2.imdecode(np.frombuffer(bare(data), np.uint8), flags)


def decode_noting(data: bytes, flags: int) -> tuple[np.ndarray | None, bool]:
    """`decode_image`, and whether damage was passed over. One thread at a time."""
    if data[:8] == PNG_SIGNATURE:
        return decode_image(data, flags), False
    with _caught() as lines:
        image = decode_image(data, flags)
    return image, any(map(_OF_LIBRARY.match, lines))


@contextlib.contextmanager
def _caught() -> Iterator[list[str]]:
    """Collects lines written to standard error; what is of no library goes there."""
    lines = []
    with _STDERR, tempfile.TemporaryFile() as file:
        try:
            kept = os.dup(2)
        except OSError:  # it is closed
            yield lines
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file.read().decode(errors="replace").splitlines(keepends=True):
                if _OF_LIBRARY.match(line):
                    lines.append(line)
                else:  # of another thread
                    os.write(2, line.encode())
