"""What the words on the command line mean."""

from mtujax.errors import UsageError


def seconds(option: str, text: str | None) -> float | None:
    """Reads a time.

    Args:
        option: its name, for the message.
        text: as 12.5, 1:02 or 00:01:02.5, or None.

    Returns:
        Seconds, or None.

    Raises:
        UsageError: for anything else.
    """
    if text is None:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or any(not 0 <= p < 60 for p in parts[1:]):
        raise UsageError(f"{option} {text}: give seconds, 12.5, or a time, 00:01:02")
    return sum(part * 60**i for i, part in enumerate(reversed(parts)))


def span(option: str, text: str) -> tuple[float, float]:
    """Reads a range.

    Args:
        option: its name, for the message.
        text: as 2:16, or one number for both ends.

    Returns:
        Both ends, not negative.

    Raises:
        UsageError: for anything else.
    """
    try:
        ends = [float(part) for part in text.split(":")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2) or not 0 <= ends[0] <= ends[-1]:
        raise UsageError(f"{option} {text}: give a range, 2:16, or a number")
    return ends[0], ends[-1]


def tile_size(text: str) -> str | tuple[int, int] | None:
    """Reads the size of tiles.

    Args:
        text: "auto", "none", or a size as 960x540.

    Returns:
        What `deblur_video` takes: "auto", None, or (rows, columns) in pixels.

    Raises:
        UsageError: for anything else.
    """
    if text in ("auto", "none"):
        return None if text == "none" else text
    from mtujax.video.raw import parse_size

    return parse_size(text)[::-1]
