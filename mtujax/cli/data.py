"""The commands `mtujax data`: check, prepare, synthesize and show datasets."""

import functools
from pathlib import Path
from typing import Annotated

import typer

from mtujax import data, liteflownet, synthesis, video
from mtujax.common.progress import FrameProgress
from mtujax.common.text import counted
from mtujax.errors import UsageError, UserError

NAMES = "gopro, dvd, reds, bsd, or pairs (your own frames)."
Name = Annotated[str, typer.Argument(help=NAMES)]
Root = Annotated[Path, typer.Argument(help="Folder of the data set.")]
Config = Annotated[
    str | None,
    typer.Option(
        help="gopro: blur_gamma or blur; bsd: 1ms8ms, 2ms16ms or 3ms24ms; pairs: any "
        "name for your set."
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="Decoding threads; default: one for each core.")
]

Speed = Annotated[str, typer.Option(help="Camera's motion in pixels a frame, from:to.")]
Duty = Annotated[
    str, typer.Option(help="Exposure as a share of the frame interval, from:to.")
]
SPEED, DUTY, COMPRESSED = "8:32", "0.5:1", 0.3  # as `synthesis.Filming`

_TEACHER_PAIRS = 2  # at once: one is written while the other is computed

app = typer.Typer(
    help="Check and prepare datasets.", add_completion=False, rich_markup_mode=None
)


@app.command()
def check(
    name: Name,
    path: Root,
    config: Config = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Names and counts only; decode nothing.")
    ] = False,
    threads: Threads = None,
):
    """Compare a dataset with the published one.

    Every image is read. What is wrong is listed, and the exit status is then 1: videos
    and frames that are missing, extra, unreadable or without a partner. A decoded copy
    (what prepare --raw wrote) is compared with its checksums.
    """
    if data.is_cache(path):
        if damaged := data.verify_cache(path):
            _print_findings(damaged)
            raise UserError(f"{path}: {counted(len(damaged), 'array')} damaged")
        print(f"{path}: all arrays are intact")
        return
    with FrameProgress("checking") as progress:
        report = data.check_dataset(
            name, path, config=config, quick=quick, threads=threads, progress=progress
        )
    _print_report(report)
    if findings := report.findings:
        _print_findings(findings)
        count = counted(len(findings), "finding")
        raise UserError(f"{path}: {count} in {report.found.label}")
    print("whole" if report.found.dataset.known else "all frames are paired")


@app.command()
def prepare(
    name: Name,
    path: Root,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for sets; default: TFDS_DATA_DIR, ~/tensorflow_datasets"
        ),
    ] = None,
    config: Config = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Decoded arrays for fast training, instead of TFDS records."
        ),
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept an incomplete set.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing set.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not decode every image to check it.")
    ] = False,
    threads: Threads = None,
):
    """Write a dataset for training.

    It is checked, then written as TFDS records or decoded arrays; it appears only once
    it is complete. Not needed for a first try: plain folders can be trained on.
    """
    done = data.prepare_dataset(
        name,
        path,
        output,
        config=config,
        raw=raw,
        partial=partial,
        overwrite=overwrite,
        quick=quick,
        threads=threads,
        progress=FrameProgress,
    )
    _print_report(done.report)
    for line in done.report.missing:
        print(f"note: {line}")
    print(f"{done.folder}: {done.bytes / 1e6:,.1f} MB")


@app.command()
def flow(
    name: Name,
    path: Annotated[
        Path, typer.Argument(help="Folder of the data set, as unpacked or prepared.")
    ],
    split: Annotated[str, typer.Option(help="Split.")] = "train",
    method: Annotated[
        str | None,
        typer.Option(
            help="dis: OpenCV's dense inverse search; teacher: LiteFlowNet. Default: "
            "teacher with --teacher, else dis."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="LiteFlowNet's weights: liteflownet if fetched, or a converted file."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for sets; default: that of a prepared set, else "
            "TFDS_DATA_DIR, ~/tensorflow_datasets"
        ),
    ] = None,
    config: Config = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Recompute outdated motion.")
    ] = False,
    threads: Threads = None,
):
    """Compute the motion between sharp frames, for the motion loss.

    Done once and kept: 5 bytes for each pixel. A stopped run resumes with the
    video where it was.
    """
    method, estimate = _estimator(method, teacher)
    folder = data.flow_folder(name, path, config=config, output=output) / split
    source = data.open_frames(name, path, split=split, config=config, threads=threads)
    with FrameProgress("motion") as progress:
        there = data.compute_motion(
            source,
            folder,
            method=method,
            estimate=estimate,
            overwrite=overwrite,
            threads=threads or (_TEACHER_PAIRS if estimate else None),
            progress=progress,
        )
    note = f", {there} of them kept" if there else ""
    print(f"{folder}: motion of {len(source.videos)} videos{note}")


def _estimator(method, teacher):
    """The method's name as stored, and its function; None for the package's own."""
    if teacher is None:
        return method or "dis", None
    if method not in (None, "teacher"):
        raise UsageError(f"--teacher {teacher}: --method {method} reads no weights")
    return liteflownet.teacher_estimator(teacher)


@app.command()
def synthesize(
    source: Annotated[
        Path, typer.Argument(help="Folder of photographs, or a high-speed video.")
    ],
    output: Annotated[
        Path, typer.Argument(help="Folder of the set, new or with other splits.")
    ],
    clips: Annotated[int, typer.Option(help="Number of clips, from photographs.")] = 20,
    frames: Annotated[
        int | None,
        typer.Option(
            help="Frames a clip; default: 13 from photographs, at most 100 from video."
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(help="Frame size, from photographs.")
    ] = "640x360",
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    speed: Speed = SPEED,
    duty: Duty = DUTY,
    compressed: Annotated[
        float, typer.Option(help="Share of clips compressed with H.264.")
    ] = COMPRESSED,
    cutouts: Annotated[
        Path | None, typer.Option(help="Folder of PNG objects with opacity.")
    ] = None,
    flow: Annotated[
        bool, typer.Option("--flow", help="Also write the exact motion (photographs).")
    ] = False,
    average: Annotated[int, typer.Option(help="Video: frames averaged; odd.")] = 11,
    every: Annotated[
        int | None,
        typer.Option(
            help="Video: frames from one exposure to the next; default: no gap."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split to write.")] = "train",
    validation: Annotated[
        bool,
        typer.Option("--validation", help="Make the fixed validation set instead."),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace this split, if made by this command."
        ),
    ] = False,
):
    """Make a set of blurry and sharp frames.

    From photographs: filmed by a shaking camera, with things moving in front. From a
    video of 240 frames per second or so: by averaging real frames. The set is in the
    layout `pairs`, whole or not there at all.
    """
    from mtujax.synthesis import sets

    options = dict(split=split, flow=flow, overwrite=overwrite)
    if validation:
        options |= dict(split="test", flow=True)
        write = sets.write_validation
    elif source.is_file():
        most = 100 if frames is None else frames
        settings = dict(average=average, every=every, frames=most)
        write = functools.partial(sets.write_video, **settings)
    else:
        width, height = video.parse_size(size)
        filming = synthesis.Filming(
            clips=clips,
            frames=13 if frames is None else frames,
            width=width,
            height=height,
            seed=seed,
            blur=_blur(speed, duty, compressed),
        )
        write = functools.partial(sets.write_photos, filming=filming, cutouts=cutouts)
    with FrameProgress("filming") as progress:
        count, notes = write(source, output, **options, progress=progress)
    for note in notes:
        print(f"note: {note}")
    print(f"{output}: {count} clips; `mtujax data check pairs {output}` checks them")


def _blur(speed, duty, compressed=COMPRESSED):
    return synthesis.BlurSettings(
        synthesis.Shake(speed=_span("--speed", speed)),
        synthesis.Objects(),
        synthesis.Exposure(duty=_span("--duty", duty), compressed=compressed),
    )


def _span(option: str, text: str) -> tuple[float, float]:
    """Reads a range such as 2:16, or one number for both ends; not negative."""
    try:
        ends = [float(part) for part in text.split(":")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2) or not 0 <= ends[0] <= ends[-1]:
        raise UsageError(f"{option} {text}: give a range, 2:16, or a number")
    return ends[0], ends[-1]


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(help=f"photos (blur as `data synthesize` makes it), {NAMES}"),
    ],
    path: Root,
    output: Annotated[Path, typer.Argument(help=".png, .jpg, .pdf or .svg.")],
    split: Annotated[str, typer.Option(help="Split of a data set.")] = "train",
    config: Config = None,
    clips: Annotated[int, typer.Option(help="Number of random clips.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of that choice.")] = 0,
    size: Annotated[str, typer.Option(help="Frame size, with photos.")] = "640x360",
    speed: Speed = SPEED,
    duty: Duty = DUTY,
    cutouts: Annotated[
        Path | None,
        typer.Option(help="With photos: folder of PNG objects with opacity."),
    ] = None,
):
    """Draw a contact sheet: blurry, sharp, motion, and what motion does not explain.

    Beside it stand histograms of the blur's length (where only frames are given, of the
    motion from frame to frame) and of the blurry frames' PSNR. Needs matplotlib, the
    extra `plots`.
    """
    from mtujax.data.contact_sheet import check_picture

    check_picture(output)
    drawn = dict(count=clips, seed=seed)
    if name == "photos":
        drawn |= dict(size=video.parse_size(size), cutouts=cutouts)
        drawn |= dict(blur=_blur(speed, duty))
        from mtujax.synthesis import sets

        looks, origin = sets.clips_of_photos(path, **drawn)
    else:
        looks, origin = data.clips_of_set(
            name, path, split=split, config=config, **drawn
        )
    for line in data.write_sheet(looks, output).lines:
        print(line)
    print(f"{output}: {len(looks)} clips, motion: {origin}")


def _print_findings(findings):
    for line in findings:
        print(f"finding: {line}")


def _print_report(report):
    found = report.found
    print(f"{found.label} in {found.root}, {found.layout}")
    print(f"{'split':<8}{'videos':>8}{'pairs':>8}  size")
    for row in report.rows:
        sizes = [f"{text} ({n})" for text, n in row.sizes.items()]
        text = next(iter(row.sizes), "") if len(sizes) < 2 else ", ".join(sizes)
        print(f"{row.split:<8}{row.videos:>8}{row.pairs:>8}  {text}")
    for note in report.notes:
        print(f"note: {note}")
