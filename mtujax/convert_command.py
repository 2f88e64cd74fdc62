"""The command `mtujax convert`: checkpoints of PyTorch become weights."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mtujax.errors import UsageError, UserError


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pytorch file.")],
    output: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    preset: Annotated[
        str | None, typer.Option(help="Expected network, as mtu2; found if not given.")
    ] = None,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="It is LiteFlowNet, the flow teacher.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with PyTorch on a short clip.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output.")
    ] = False,
):
    """Convert a released PyTorch checkpoint to weights for mtujax."""
    from mtujax.agreement import check as check_network
    from mtujax.agreement import check_teacher
    from mtujax.convert import convert as convert_network
    from mtujax.convert_teacher import convert_teacher
    from mtujax.outputs import check_output
    from mtujax.tensor_files import check_suffix

    if teacher and preset:
        raise UsageError(f"--preset {preset}: a --teacher has none")
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such file")
    check_suffix(output)
    check_output(checkpoint, output, folder=False, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix=".", dir=output.parent) as folder:
        part = Path(folder) / output.name
        options = {} if teacher else {"preset": preset}
        convert = convert_teacher if teacher else convert_network
        done = convert(checkpoint, part, **options)
        if check:
            found = (check_teacher if teacher else check_network)(checkpoint, part)
            print(f"against PyTorch: {found}")
            if not found.agree:
                raise UserError(f"{output}: not written, as it disagrees with PyTorch")
        os.replace(part, output)
    print(f"{output}: {done.preset}, {done.parameters:,} parameters")
    print(f"source sha256: {done.sha256}")
    if done.dropped:
        print(f"left out, as only training reads them: {', '.join(done.dropped)}")
