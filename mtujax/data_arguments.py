"""What several commands of `mtujax data` take."""

from pathlib import Path
from typing import Annotated

import typer

NAMES = "gopro, dvd, reds, bsd, or pairs (your own frames)."
Name = Annotated[str, typer.Argument(help=NAMES)]
Root = Annotated[Path, typer.Argument(help="Folder that holds it.")]
Config = Annotated[
    str | None,
    typer.Option(
        help="gopro: blur_gamma or blur; bsd: 1ms8ms, 2ms16ms or 3ms24ms; pairs: any "
        "name for your set."
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="Images decoded at once; else one for each core.")
]
