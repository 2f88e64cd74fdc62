"""A picture in tiles, as phones write HEIC and AVIF (ISO/IEC 23008-12, grid)."""

from pathlib import Path

import cv2
from media_clip import scene

TILES = 4


def _box(kind, *parts):
    data = b"".join(parts)
    return (8 + len(data)).to_bytes(4) + kind + data


def _full(kind, *parts, version=0):
    return _box(kind, bytes([version, 0, 0, 0]), *parts)


def _words(*numbers):
    return b"".join(n.to_bytes(2) for n in numbers)


def _longs(*numbers):
    return b"".join(n.to_bytes(4) for n in numbers)


def tiled(path):
    """Two by two tiles of 64x64, all of them the same."""
    cv2.imwrite(str(path), scene(1, 64, 64)[0][..., ::-1])
    whole = Path(path).read_bytes()
    start = whole.index(b"av1C") - 4
    coding = whole[start : start + int.from_bytes(whole[start : start + 4])]
    tile = whole[whole.index(b"mdat") + 4 :]
    size = len(_head(coding, tile, 0))
    Path(path).write_bytes(_head(coding, tile, size + 8) + _box(b"mdat", tile))
    return path


def _head(coding, tile, place):
    tiles, grid = range(2, 2 + TILES), b"\0\0\1\1" + _words(128, 128)
    items = [(1, b"grid"), *((n, b"av01") for n in tiles)]
    about = [_full(b"infe", _words(n, 0), k, b"\0", version=2) for n, k in items]
    places = [_words(1, 1, 0, 1) + _longs(0, len(grid))]  # in `idat`
    places += [_words(n, 0, 0, 1) + _longs(place, len(tile)) for n in tiles]
    sizes = [_full(b"ispe", _longs(side, side)) for side in (128, 64)]
    chosen = [_words(1) + b"\1\1", *(_words(n) + b"\2\2\x83" for n in tiles)]
    properties = _box(b"ipco", *sizes, coding)
    properties += _full(b"ipma", _longs(len(items)), *chosen)
    meta = _full(
        b"meta",
        _full(b"hdlr", bytes(4), b"pict", bytes(13)),
        _full(b"pitm", _words(1)),
        _full(b"iloc", b"\x44\0", _words(len(items)), *places, version=1),
        _full(b"iinf", _words(len(items)), *about),
        _full(b"iref", _box(b"dimg", _words(1, TILES, *tiles))),
        _box(b"iprp", properties),
        _box(b"idat", grid),
    )
    return _box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf") + meta
