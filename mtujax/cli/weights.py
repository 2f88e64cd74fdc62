"""The commands `mtujax weights`, `convert` and `export`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from mtujax import deploy, evaluation, liteflownet, training, video, weights
from mtujax.cli.entry import Overwrite
from mtujax.common.files import check_output, whole_output
from mtujax.common.text import counted
from mtujax.config import PRESETS
from mtujax.errors import UsageError, UserError, extra
from mtujax.fetch.sources import WEIGHTS
from mtujax.report.paper import table_of


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pytorch file.")],
    output: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    preset: Annotated[
        str | None, typer.Option(help="Expected network, as mtu2; default: detected.")
    ] = None,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Convert LiteFlowNet, the flow teacher.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with PyTorch on a short clip.")
    ] = False,
    overwrite: Overwrite = False,
):
    """Convert a released PyTorch checkpoint to weights for mtujax."""
    from mtujax.weights.safetensors_io import check_suffix

    if teacher and preset:
        raise UsageError(f"--preset {preset}: a --teacher has none")
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such file")
    check_suffix(output)
    check_output(checkpoint, output, folder=False, overwrite=overwrite)
    with whole_output(output, folder=False, overwrite=overwrite) as part:
        if teacher:
            done = liteflownet.convert_teacher(checkpoint, part)
        else:
            done = weights.convert_checkpoint(checkpoint, part, preset=preset)
        if check:
            from mtujax.torch_port import verify

            compare = verify.check_teacher if teacher else verify.check
            found = compare(checkpoint, part)
            print(f"against PyTorch: {found}")
            if not found.agree:
                raise UserError(f"{output}: not written, as it disagrees with PyTorch")
    print(f"{output}: {done.preset}, {done.parameters:,} parameters")
    print(f"source sha256: {done.sha256}")
    if done.dropped:
        print(f"left out, as only training reads them: {', '.join(done.dropped)}")


def export(
    run: Annotated[
        str,
        typer.Argument(
            help="Folder of the run, also gs://...; for a step any weights."
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            help="A .safetensors file; for a step a .onnx file, or with --stablehlo a "
            "folder."
        ),
    ],
    which: Annotated[
        str, typer.Option(help="Checkpoint: latest, best (validation), or its number.")
    ] = "latest",
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Export the weights, not their moving average."),
    ] = False,
    state: Annotated[
        bool,
        typer.Option(
            "--state",
            help="Export the full training state, for resume_state_from=.",
        ),
    ] = False,
    stablehlo: Annotated[
        bool,
        typer.Option(
            "--stablehlo",
            help="Export the step of one frame with its weights, for frames of any "
            "size on CPU, GPU and TPU: a program that runs without mtujax.",
        ),
    ] = False,
    dtype: Annotated[
        str | None, typer.Option(help="Precision of a step, as float16.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Fixed frame size of a .onnx, as 1280x720; default: any."),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(help="Operator set of a .onnx; default: 18.")
    ] = None,
    about: Annotated[
        list[str] | None,
        typer.Option(help="KEY=TEXT to keep in the weights, as license=MIT; repeated."),
    ] = None,
    overwrite: Overwrite = False,
):
    """Export a run's weights, its full training state, or the inference step.

    The run may still be training. Weights are the moving average, without the layers
    that only training reads, as `mtujax deblur --weights` takes them. An output named
    .onnx is the step of one frame with its weights, for ONNX runtimes.
    """
    if which.isdecimal():
        which = int(which)
    elif which not in ("latest", "best"):
        raise UsageError(f"--which {which}: must be latest, best or a number")
    onnx = output.suffix == ".onnx"
    if onnx and stablehlo:
        raise UsageError(f"--stablehlo: writes a folder, and {output} is an ONNX file")
    if (onnx or stablehlo) and (state or raw or which != "latest"):
        step = output.name if onnx else "--stablehlo"
        raise UsageError(f"{step}: not with --state, --raw or --which")
    if dtype and not (onnx or stablehlo):
        raise UsageError(
            f"--dtype {dtype}: is for a .onnx and --stablehlo; weights are float32"
        )
    for option, value in (("--size", size), ("--opset", opset)):
        if value is not None and not onnx:
            raise UsageError(f"{option} {value}: is for a .onnx")
    texts = dict(_key_and_text(entry) for entry in about or ())
    if state and texts:
        raise UsageError("--about: is kept in weights, a --state has its configuration")
    if state and raw:
        raise UsageError("--raw: a --state holds the weights and their moving average")
    import jax

    # The device may be busy with this very run.
    jax.config.update("jax_platforms", "cpu")
    if onnx:
        _write_onnx(run, output, dtype, size, opset, texts, overwrite)
        return
    if stablehlo:
        _write_step(run, output, dtype, texts, overwrite)
        return
    if state:
        done = training.export_state(run, output, which=which, overwrite=overwrite)
    else:
        source = output.parent if "://" in run else Path(run)
        if source.exists():
            check_output(source, output, folder=False, overwrite=overwrite)
        done = training.export_weights(run, output, which=which, raw=raw, about=texts)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    psnr = "" if done.psnr is None else f", validation {done.psnr:.2f} dB"
    print(f"{output}: update {done.updates:,}{psnr}")


def _write_step(source, output, dtype, about, overwrite):
    subject = evaluation.open_subject(source, dtype=dtype)
    method, network = subject.method, (subject.model, subject.params)
    about = {"weights": {"name": method.name, "sha256": method.sha256}, **about}
    files = deploy.write_step(*network, output, about=about, overwrite=overwrite)
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"{output}: {', '.join(file.name for file in files)}, {size:.1f} MB")


def _write_onnx(source, output, dtype, size, opset, about, overwrite):
    from mtujax.weights import files

    with extra("onnx"):
        write = deploy.write_onnx
    options = {} if opset is None else {"opset": opset}
    options["size"] = None if size is None else video.parse_size(size)
    subject = evaluation.open_subject(source, dtype=dtype)
    method = subject.method
    kept = {"name": method.name, "sha256": method.sha256}
    if not files.is_run(source):
        metadata = files.describe(files.locate(source)).metadata
        kept |= {
            k: str(metadata[k]) for k in ("description", "license") if k in metadata
        }
    step = write(
        subject.model,
        subject.params,
        output,
        about=kept | about,
        overwrite=overwrite,
        **options,
    )
    print(
        f"{output}: {method.name}, {size or 'frames of any size'}, "
        f"{method.config.dtype}, opset {step.opset_import[0].version}, "
        f"{step.ByteSize() / 1e6:.1f} MB"
    )


def _key_and_text(entry):
    key, equals, text = entry.partition("=")
    if not equals or not key.isidentifier():
        raise UsageError(f"--about {entry}: give it as KEY=TEXT, as license=MIT")
    return key, text


def list_weights():
    """List weights by name: those in the package, fetched ones, and what there is."""
    from mtujax.model.network import expected_shapes
    from mtujax.weights import files, safetensors_io

    for file in weights.bundled():
        _print_weights(file)
    fetchable = []
    for one in files.RELEASED.values():
        path = files.place_of(one.name)
        if not path.is_file():
            fetchable.append(one)
        elif one.preset:
            _print_weights(weights.describe(path), _scores(one))
        else:
            print(f"{one.name}: flow teacher, {path.stat().st_size / 1e6:.1f} MB")
            _print_about(safetensors_io.read_header(path)[0]["provenance"])
    if not fetchable:
        return
    print("not fetched yet, by `mtujax fetch NAME`:")
    for one in fetchable:
        if one.preset is None:
            print(f"  {one.name}: flow teacher, which training reads")
            continue
        config = PRESETS[one.preset]
        count = sum(math.prod(shape) for shape in expected_shapes(config).values())
        print(
            f"  {one.name}: {count:,} parameters, {4 * count / 1e6:.1f} MB, look-ahead "
            f"{counted(config.lookahead, 'frame')}{_text_of(_scores(one))}"
        )
    print(f"  licence: {WEIGHTS.licence}")


def _print_weights(file, scores=None):
    print(
        f"{file.name}: {file.parameters:,} parameters, {file.size / 1e6:.1f} MB, "
        f"look-ahead {counted(file.config.lookahead, 'frame')}{_text_of(scores)}"
    )
    _print_about(file.metadata)


def _print_about(metadata):
    for key, value in metadata.items():
        print(f"  {key}: {value}")


def _scores(one):
    """The paper's row of a released network; None where it has none."""
    table = table_of(one.dataset)
    rows = table.rows if table else ()
    return next((row for row in rows if row.key == one.row), None)


def _text_of(row):
    return f", in the paper {row.psnr:.2f} dB, SSIM {row.ssim:.3f}" if row else ""
