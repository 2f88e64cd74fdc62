"""Which videos names, globs, folders and lists mean, and where the output of each goes.

All is refused here, before any work, that could only end in a lost or a wrong file.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtujax.common.files import is_frame_name, natural_key
from mtujax.common.text import printable
from mtujax.deblur import remote
from mtujax.errors import UsageError, UserError
from mtujax.video.codecs import CONTAINERS

_READ_ONLY = (
    ".3gp .asf .avi .divx .dv .flv .h264 .hevc .m2ts .m2v .mts .mxf .nut .ogv .rm .ts"
    " .vob .wmv .y4m"
)
_VIDEOS = {*CONTAINERS, *_READ_ONLY.split()}
_FOUND = {*_VIDEOS, ".gif"}  # among frames a picture, which their reader leaves out
_KEPT_IN = ".mkv"  # what has a suffix that is read, but not written


def find_inputs(words: Iterable[str | os.PathLike], folder: str) -> list[str]:
    """Names of videos and folders of frames; UserError for what means none."""
    # A word is a name, a glob, @LIST (a file with a word on each line), or a folder
    # without frames, which stands for the videos in it. `folder` is of the outputs.
    if not folder:
        raise UsageError("folder '': give one for the outputs")
    named = []
    for word in map(os.fspath, words):
        if word.startswith("@"):
            lines = enumerate(_lines(word[1:]), 1)
            for number, line in lines:
                where = f"{word[1:]}, line {number}: "
                named += _meant(line, folder, where) if line else []
        else:
            named += _meant(word, folder)
    found = [one for name in named for one in _within(name, folder)]
    if not found:
        raise UsageError(
            "no input: give videos, folders of frames, globs or lists, @list.txt"
        )
    return found


def _lines(path):
    """Lines of a list: any names, so any bytes."""
    with open(path, "rb") as file:
        text = os.fsdecode(file.read().removeprefix(b"\xef\xbb\xbf"))
    if "\0" in text:
        raise UserError(f"{path}: is not a list of names, one on each line")
    return [line.removesuffix("\r") for line in text.split("\n")]


def _meant(word, output, where=""):
    """Inputs that a word means; `where` names its place in a list."""
    if word == "-":
        raise UsageError(f"{where}-: a pipe has no name; give it an output of its own")
    if remote.exists(word):
        return [word]
    if any(letter in word for letter in "*?["):
        names = sorted(remote.glob(word), key=natural_key)
        if not names:
            raise UserError(f"{where}{word}: no file or folder has such a name")
        # The second time `*` also means where the outputs of the first are.
        return [name for name in names if not _is_same(name, output)]
    raise UserError(f"{where}{printable(word)}: no such file or folder")


def _within(name, output):
    """The videos in a folder that has no frames; any other input itself."""
    if not remote.isdir(name):
        return [name]
    if Path(os.path.realpath(output)).is_relative_to(os.path.realpath(name)):
        what = "is an input itself"
        if not _is_same(name, output):
            what = f"is in {name}, which is an input"
        raise UserError(f"{output}: {what}; choose another folder")
    if _is_frames(name):
        return [name]
    names = (
        os.path.join(name, n) for n in remote.listdir(name) if not n.startswith(".")
    )
    found = [
        path
        for path in sorted(names, key=natural_key)
        if (_is_frames(path) if remote.isdir(path) else _suffix(path) in _FOUND)
    ]
    return found or [name]  # its reader says what it lacks


def _is_same(name, other):
    return os.path.realpath(name) == os.path.realpath(other)


def _is_frames(folder):
    """Whether a folder holds frames; UserError if videos are next to them."""
    names = [name for name in remote.listdir(folder) if not name.startswith(".")]
    frames = [name for name in names if is_frame_name(name)]
    videos = [name for name in names if _suffix(name) in _VIDEOS]
    if frames and videos:
        several = os.path.join(folder, f"*{_suffix(videos[0])}")
        raise UserError(
            f"{folder}: holds videos ({videos[0]}) and pictures ({frames[0]}); give "
            f"'{several}', or move one of the two kinds away"
        )
    return bool(frames)


def _suffix(name):
    return os.path.splitext(name)[1].lower()


def name_outputs(inputs: Sequence[str], folder: str) -> dict[str, str]:
    """Each input's output, a path in `folder`; UserError where two would be one."""
    named, taken = {}, {}
    for name in inputs:
        output = _output(name, folder)
        key = output.rstrip("/").casefold()  # as many a disk takes names
        if key in taken:
            raise _clash(taken[key], name, output, named[taken[key]])
        taken[key], named[name] = name, output
    reals = {os.path.realpath(name) for name in named}
    for output in named.values():
        if os.path.realpath(output) in reals:
            raise UsageError(f"{output}: is an input itself; choose another folder")
    return named


def _output(name, folder):
    base = os.path.basename(name.rstrip("/"))
    if base in ("", ".", ".."):
        base = os.path.basename(os.path.realpath(name))
    if remote.isdir(name):
        return os.path.join(folder, base, "")  # by the slash, a folder
    stem, suffix = os.path.splitext(base)
    return os.path.join(
        folder, base if suffix.lower() in CONTAINERS else stem + _KEPT_IN
    )


def _clash(first, second, output, of_first):
    if _is_same(first, second):
        return UserError(f"{second}: is given twice")
    case = ", as case makes no difference on many disks" * (output != of_first)
    return UserError(
        f"{first} and {second}: both would be {output}{case}; rename one, or give them "
        "different folders"
    )


def shard_of(items: Sequence, shard: str | None) -> list:
    """Every M-th item from the N-th on, for N/M, counted from 1; all for None."""
    if shard is None:
        return list(items)
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"shard {shard!r}: give N/M, as 3/16, with N from 1 to M")
    return list(items[number - 1 :: count])
