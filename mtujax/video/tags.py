"""Tags of files and streams: title, place, language and whatever else."""

from pathlib import Path

import av

# Of the container itself, not of the film.
OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_STREAM_TAGS = {"encoder", "rotate", "vendor_id", "_STATISTICS_TAGS", "DURATION"}
# What libav writes as MP4's own tags; with others the general form must be used.
MP4_TAGS = (
    "title artist author album_artist album composer writer date year comment genre "
    "copyright grouping lyrics description synopsis show episode_id episode_sort "
    "network season_number encoder creation_time tmpo track disc location make model"
).split()


def file_tags(container) -> dict[str, str]:
    """The tags of a file that are to be copied.

    Args:
        container: PyAV's input container.

    Returns:
        Values by name.
    """
    tags = {k: v for k, v in container.metadata.items() if k.lower() not in OWN_TAGS}
    # MP4 may say it twice, in a form of its own and as a tag; FFmpeg 9 joins the two.
    made = tags.get("creation_time", "").split(";")
    if len(made) == 2 and made[0] == made[1]:
        tags["creation_time"] = made[0]
    return tags


def lost_tags(path: Path, source: Path) -> list[str]:
    """Compares the tags of a written file with those of its source.

    Args:
        path: the written file.
        source: the file whose tags were copied.

    Returns:
        The names of the tags that the container did not take.
    """
    with av.open(f"file:{source}") as origin, av.open(f"file:{path}") as written:
        kept = {k.lower() for k in written.metadata}
        return [k for k in file_tags(origin) if k.lower() not in kept]


def stream_tags(stream) -> dict[str, str]:
    """The tags of a stream that are to be copied.

    Args:
        stream: PyAV's stream.

    Returns:
        Values by name.
    """
    tags = stream.metadata.items()
    tags = {k: v for k, v in tags if k.split("-")[0] not in _STREAM_TAGS}
    named = next((k for k in tags if k.lower() == "name"), None)
    if named and "title" not in tags:  # as libav reads the title of an MP4's track
        tags["title"] = tags.pop(named)
    return tags
