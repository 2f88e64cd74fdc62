"""The house: who may import whom, and how public names are documented."""

import ast
import dataclasses
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import mtujax

PACKAGE = pathlib.Path(mtujax.__file__).parent
ROOT = PACKAGE.parent

# A file imports from lower floors, and inside its own only what is drawn here.
FLOORS = {
    0: {"config", "errors", "findings", "published", "table_text", "wheel"},
    1: {
        "compile_cache",
        "launch",
        "lanes",
        "machine",
        "data.photo_samples",
        "report_methods",
        "tables",
        "loss_scale",
        "stopping",
        "schemes",
        "motion_labels",
        "mappings",
        "ops.conv",
        "ops.correlation",
        "ops.resample",
        "ops.unit_range",
        "ops.warp",
        "alignment",
        "metrics",
        "losses",
        "data.augment",
        "data.builders.base",
        "data.builders.bsd",
        "data.builders.dvd",
        "data.builders.gopro",
        "data.builders.load",
        "data.builders.pairs",
        "data.builders.reds",
        "data.cache",
        "data.camera",
        "data.check",
        "data.clips",
        "data.flowcache",
        "data.flowfiles",
        "data.flowsets",
        "data.folders",
        "data.images",
        "data.known",
        "data.labels",
        "data.layouts",
        "data.locking",
        "data.looks",
        "data.motion",
        "data.pipeline",
        "data.prepare",
        "data.records",
        "data.sheet",
        "data.show",
        "data.samples",
        "data.sources",
        "data.synthetic",
        "data.averaging",
        "data.exposure",
        "data.h264",
        "data.layers",
        "data.objects",
        "data.photos",
        "data.requests",
        "data.scenes",
        "data.synthesize",
        "data.textures",
        "data.validation",
        "cuts",
        "outputs",
        "frames",
        "jobs",
        "log_lines",
        "log_tables",
        "pipeline",
        "views",
        "video.codecs",
        "video.decoding",
        "video.deinterlace",
        "video.extras",
        "video.hdr",
        "video.info",
        "video.joining",
        "video.orientation",
        "video.packets",
        "video.pixels",
        "video.raw",
        "video.reader",
        "video.tags",
        "video.writer",
        "progress",
        "state_bytes",
        "torch_checkpoint",
        "torch_ops",
        "torch_teacher",
        "tensor_files",
    },
    2: {
        "stablehlo",
        "consistency",
        "motion_accuracy",
        "report",
        "report_style",
        "protocols",
        "totals",
        "teacher",
        "teacher_layers",
        "blocks",
        "mtu",
        "log_events",
        "network",
        "orbax_store",
        "synthesis.clips",
        "synthesis.exposures",
        "synthesis.film",
        "synthesis.homographies",
        "synthesis.motion",
        "synthesis.resident",
        "synthesis.scenes",
        "synthesis.sensor",
        "synthesis.textures",
        "training_progress",
    },
    3: {
        "optimized",
        "evaluation_data",
        "results",
        "video_sums",
        "operations",
        "report_crops",
        "report_figures",
        "report_inputs",
        "objectives",
        "batches",
        "convert",
        "convert_teacher",
        "logbook",
        "memory",
        "recurrent",
        "restorer",
        "snapshots",
        "stream",
        "teacher_weights",
        "tiles",
        "torch_twin",
        "weights",
    },
    4: {
        "convert_command",
        "evaluation_folder",
        "evaluation_tally",
        "evaluation_text",
        "subjects",
        "timing",
        "torch_timing",
        "feature_maps",
        "parallel",
        "settings",
        "agreement",
        "archive",
        "checkpoints",
        "config_files",
        "deblur",
        "endpoints",
        "export",
        "options",
        "restoration",
        "runfolder",
        "sinks",
        "targets",
        "train_flags",
        "training",
    },
    5: {
        "eval_command",
        "eval_flags",
        "evaluation",
        "evaluation_run",
        "lane_steps",
        "scripts",
        "bench",
        "bench_command",
        "bench_text",
        "report_command",
        "report_motion",
        "report_pictures",
        "loop",
        "starting",
        "runs",
        "judging",
        "feeds",
        "arguments",
        "data_arguments",
        "data_command",
        "flow_command",
        "demo",
        "explain",
        "export_command",
        "train_command",
        "__main__",
    },
}
INSIDE = {
    ("optimized", "weights"),
    ("weights", "optimized"),
    ("stablehlo", "network"),
    ("convert_command", "agreement"),
    ("eval_command", "eval_flags"),
    ("eval_command", "evaluation"),
    ("eval_command", "scripts"),
    ("evaluation", "evaluation_run"),
    ("evaluation", "lane_steps"),
    ("evaluation_folder", "evaluation_tally"),
    ("evaluation_run", "lane_steps"),
    ("results", "report_inputs"),
    ("results", "video_sums"),
    ("scripts", "explain"),
    ("subjects", "export"),
    ("train_command", "scripts"),
    ("__main__", "report_command"),
    ("bench_command", "bench"),
    ("bench_command", "bench_text"),
    ("__main__", "bench_command"),
    ("report_command", "report_pictures"),
    ("report_pictures", "report_motion"),
    ("loop", "feeds"),
    ("loop", "judging"),
    ("runs", "loop"),
    ("batches", "recurrent"),
    ("data.photo_samples", "data.camera"),
    ("data.photo_samples", "data.clips"),
    ("data.photo_samples", "data.exposure"),
    ("data.photo_samples", "data.images"),
    ("data.photo_samples", "data.objects"),
    ("data.photo_samples", "data.photos"),
    ("data.photo_samples", "data.samples"),
    ("data.photo_samples", "data.synthetic"),
    ("data.photos", "data.exposure"),
    ("objectives", "batches"),
    ("objectives", "recurrent"),
    ("parallel", "training"),
    ("runs", "feeds"),
    ("runs", "judging"),
    ("runs", "starting"),
    ("train_command", "runs"),
    ("config_files", "settings"),
    ("log_tables", "outputs"),
    ("train_flags", "config_files"),
    ("train_flags", "settings"),
    ("data.averaging", "cuts"),
    ("data.averaging", "data.exposure"),
    ("data.averaging", "data.synthetic"),
    ("data.averaging", "video.reader"),
    ("data.layers", "data.camera"),
    ("data.layers", "data.objects"),
    ("data.looks", "data.photos"),
    ("data.objects", "data.camera"),
    ("data.photos", "data.images"),
    ("data.photos", "data.textures"),
    ("data.photos", "outputs"),
    ("data.requests", "data.averaging"),
    ("data.requests", "data.camera"),
    ("data.requests", "data.exposure"),
    ("data.requests", "data.photos"),
    ("data.requests", "data.synthesize"),
    ("data.requests", "data.validation"),
    ("data.scenes", "data.camera"),
    ("data.scenes", "data.exposure"),
    ("data.scenes", "data.layers"),
    ("data.scenes", "data.objects"),
    ("data.scenes", "data.textures"),
    ("data.synthesize", "data.camera"),
    ("data.synthesize", "data.exposure"),
    ("data.synthesize", "data.flowfiles"),
    ("data.synthesize", "data.objects"),
    ("data.synthesize", "data.synthetic"),
    ("data.synthesize", "outputs"),
    ("data.synthetic", "data.exposure"),
    ("data.synthetic", "data.h264"),
    ("data.synthetic", "data.layers"),
    ("data.synthetic", "data.objects"),
    ("data.synthetic", "data.scenes"),
    ("data.synthetic", "data.textures"),
    ("data.textures", "data.exposure"),
    ("data.validation", "data.camera"),
    ("data.validation", "data.exposure"),
    ("data.validation", "data.images"),
    ("data.validation", "data.objects"),
    ("data.validation", "data.photos"),
    ("data.validation", "data.synthetic"),
    ("data_command", "arguments"),
    ("data_command", "data_arguments"),
    ("data_command", "flow_command"),
    ("flow_command", "data_arguments"),
    ("tensor_files", "outputs"),
    ("teacher", "teacher_layers"),
    ("convert_teacher", "convert"),
    ("convert_teacher", "teacher_weights"),
    ("synthesis.clips", "synthesis.exposures"),
    ("synthesis.clips", "synthesis.film"),
    ("synthesis.clips", "synthesis.resident"),
    ("synthesis.clips", "synthesis.scenes"),
    ("synthesis.clips", "synthesis.sensor"),
    ("synthesis.exposures", "synthesis.homographies"),
    ("synthesis.exposures", "synthesis.motion"),
    ("synthesis.exposures", "synthesis.scenes"),
    ("synthesis.film", "synthesis.homographies"),
    ("synthesis.motion", "synthesis.homographies"),
    ("synthesis.scenes", "synthesis.homographies"),
    ("synthesis.scenes", "synthesis.motion"),
    ("synthesis.scenes", "synthesis.resident"),
    ("synthesis.scenes", "synthesis.sensor"),
    ("synthesis.scenes", "synthesis.textures"),
    ("synthesis.sensor", "synthesis.motion"),
    ("synthesis.textures", "synthesis.film"),
    ("synthesis.textures", "synthesis.homographies"),
    ("synthesis.textures", "synthesis.motion"),
    ("synthesis.textures", "synthesis.resident"),
    ("losses", "ops.resample"),
    ("data.synthetic", "data.camera"),
    ("frames", "outputs"),
    ("video.codecs", "video.info"),
    ("video.extras", "video"),
    ("video.extras", "video.tags"),
    ("video.joining", "video.tags"),
    ("video.info", "video.orientation"),
    ("video.joining", "video.codecs"),
    ("video.joining", "video.extras"),
    ("video.joining", "video.info"),
    ("video.joining", "video.writer"),
    ("video.pixels", "video.hdr"),
    ("video.pixels", "video.info"),
    ("video.raw", "video.info"),
    ("video.raw", "video.writer"),
    ("video.reader", "video.decoding"),
    ("video.reader", "video.deinterlace"),
    ("video.reader", "video"),
    ("video.reader", "video.info"),
    ("video.reader", "video.orientation"),
    ("video.reader", "video.pixels"),
    ("video.writer", "video.codecs"),
    ("video.writer", "video.info"),
    ("memory", "operations"),
    ("memory", "stream"),
    ("memory", "tiles"),
    ("restorer", "memory"),
    ("restorer", "snapshots"),
    ("restorer", "stream"),
    ("restorer", "tiles"),
    ("stream", "snapshots"),
    ("tiles", "stream"),
    ("deblur", "endpoints"),
    ("deblur", "options"),
    ("deblur", "restoration"),
    ("options", "endpoints"),
    ("restoration", "endpoints"),
    ("restoration", "options"),
    ("restoration", "targets"),
    ("targets", "endpoints"),
    ("targets", "options"),
    ("targets", "sinks"),
    ("mtu", "blocks"),
    ("network", "blocks"),
    ("network", "mtu"),
    ("findings", "errors"),
    ("archive", "training"),
    ("checkpoints", "parallel"),
    ("checkpoints", "training"),
    ("export", "archive"),
    ("export", "checkpoints"),
    ("export", "runfolder"),
    ("export", "settings"),
    ("export", "training"),
    ("runfolder", "parallel"),
    ("__main__", "export_command"),
    ("convert", "weights"),
    ("__main__", "demo"),
    ("__main__", "arguments"),
    ("__main__", "data_command"),
    ("__main__", "explain"),
    ("data.builders.base", "data.folders"),
    ("data.builders.base", "data.images"),
    ("data.builders.base", "data.layouts"),
    ("data.builders.base", "data.sources"),
    ("data.builders.bsd", "data.builders.base"),
    ("data.builders.bsd", "data.layouts"),
    ("data.builders.dvd", "data.builders.base"),
    ("data.builders.dvd", "data.layouts"),
    ("data.builders.gopro", "data.builders.base"),
    ("data.builders.gopro", "data.layouts"),
    ("data.builders.load", "data.builders.bsd"),
    ("data.builders.load", "data.builders.dvd"),
    ("data.builders.load", "data.builders.gopro"),
    ("data.builders.load", "data.builders.pairs"),
    ("data.builders.load", "data.builders.reds"),
    ("data.builders.load", "data.layouts"),
    ("data.builders.pairs", "data.builders.base"),
    ("data.builders.pairs", "data.layouts"),
    ("data.builders.reds", "data.builders.base"),
    ("data.builders.reds", "data.layouts"),
    ("data.cache", "data.folders"),
    ("data.cache", "data.images"),
    ("data.cache", "data.sources"),
    ("data.check", "data.folders"),
    ("data.check", "data.images"),
    ("data.clips", "data.cache"),
    ("data.clips", "data.layouts"),
    ("data.clips", "data.records"),
    ("data.clips", "data.sources"),
    ("data.flowcache", "data.flowfiles"),
    ("data.flowcache", "data.images"),
    ("data.flowcache", "data.locking"),
    ("data.flowcache", "data.motion"),
    ("data.flowcache", "data.sources"),
    ("data.flowcache", "outputs"),
    ("data.flowfiles", "data.motion"),
    ("data.flowfiles", "data.sources"),
    ("data.flowfiles", "frames"),
    ("data.flowsets", "data.cache"),
    ("data.flowsets", "data.flowcache"),
    ("data.flowsets", "data.flowfiles"),
    ("data.flowsets", "data.folders"),
    ("data.flowsets", "data.layouts"),
    ("data.flowsets", "data.prepare"),
    ("data.flowsets", "data.sources"),
    ("data.motion", "data.sources"),
    ("data.pipeline", "data.augment"),
    ("data.pipeline", "data.clips"),
    ("data.pipeline", "data.labels"),
    ("data.pipeline", "data.motion"),
    ("data.pipeline", "data.samples"),
    ("data.pipeline", "data.sources"),
    ("data.samples", "data.camera"),
    ("data.samples", "data.clips"),
    ("data.samples", "data.exposure"),
    ("data.samples", "data.images"),
    ("data.samples", "data.motion"),
    ("data.samples", "data.objects"),
    ("data.samples", "data.sources"),
    ("data.samples", "data.synthetic"),
    ("data.folders", "data.layouts"),
    ("data.folders", "frames"),
    ("data.folders", "outputs"),
    ("data.layouts", "data.known"),
    ("data.prepare", "data.builders.load"),
    ("data.prepare", "data.cache"),
    ("data.prepare", "data.check"),
    ("data.prepare", "data.folders"),
    ("data.prepare", "outputs"),
    ("data.looks", "data.clips"),
    ("data.looks", "data.exposure"),
    ("data.looks", "data.flowsets"),
    ("data.looks", "data.images"),
    ("data.looks", "data.motion"),
    ("data.looks", "data.objects"),
    ("data.looks", "data.show"),
    ("data.looks", "data.synthetic"),
    ("data.looks", "outputs"),
    ("data.prepare", "data.locking"),
    ("data.show", "data.sheet"),
    ("data.show", "outputs"),
    ("data.records", "data.builders.load"),
    ("data.records", "data.sources"),
    ("data.sources", "data.folders"),
    ("data.sources", "data.images"),
}
# Who may import what is heavy or optional.
ONLY = {
    "torch": {
        "torch_checkpoint",
        "torch_ops",
        "torch_teacher",
        "torch_timing",
        "torch_twin",
    },
    "av": {
        "data.h264",
        "video.decoding",
        "video.deinterlace",
        "video.extras",
        "video.hdr",
        "video.joining",
        "video.packets",
        "video.reader",
        "video.tags",
        "video.writer",
    },
    "matplotlib": {"data.show", "report_crops", "report_figures", "report_style"},
    "optax": {"objectives", "schemes", "training"},
    "typer": {
        "__main__",
        "bench_command",
        "convert_command",
        "data_arguments",
        "data_command",
        "explain",
        "export_command",
        "flow_command",
        "report_command",
    },
    "orbax": {"orbax_store"},
    "etils": {"orbax_store", "runfolder"},
    "tensorflow_datasets": {
        "data.builders.base",
        "data.builders.pairs",
        "data.prepare",
    },
    "array_record": {"data.builders.base"},
    "grain": {"data.pipeline"},
    "rich": {"progress", "training_progress"},
    "tensorboardX": {"log_events"},
    "ml_collections": {"config_files", "train_flags"},
    "absl": {"data.pipeline", "train_flags"},
}


def modules():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if not name.endswith("__init__"):
            found.append((name, path))
    return found


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def floor(name):
    if name == "video":  # the folder, from which a module is imported by its name
        return 1
    return next((n for n, names in FLOORS.items() if name in names), None)


def test_every_module_stands_on_a_floor():
    assert {name for name, _ in modules()} == set().union(*FLOORS.values())


@pytest.mark.parametrize("name, path", modules())
def test_a_module_imports_from_lower_floors_only(name, path):
    for target in imports(path):
        if not target.startswith("mtujax."):
            continue
        other = target.removeprefix("mtujax.")
        drawn = (name, other) in INSIDE
        assert floor(other) < floor(name) or drawn, f"{name} imports {other}"


@pytest.mark.parametrize("name, path", modules())
def test_walls_stand(name, path):
    roots = {target.split(".")[0] for target in imports(path)}
    for library, allowed in ONLY.items():
        assert library not in roots or name in allowed, f"{name} imports {library}"
    if name.startswith(("data.", "video.")):
        assert not roots & {"jax", "flax", "optax"}
    if name.startswith("ops."):
        assert not roots & {"flax", "optax"}


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(ROOT) for p in PACKAGE.rglob("*.py")), ids=str
)
def test_no_file_is_over_300_lines(path):
    assert len((ROOT / path).read_text().splitlines()) <= 300


def test_inference_needs_no_training_stack():
    code = (
        "import sys, mtujax; [getattr(mtujax, n) for n in mtujax.__all__]; "
        "print({'optax', 'torch', 'grain', 'ml_collections', 'tensorflow_datasets', "
        "'array_record', 'orbax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


CONTRACT = (
    "ModelConfig PRESETS MTUNet initial_state restore_clip Stream load deblur_video "
    "match backward_warp cost_volume psnr ssim restoration_loss motion_loss"
).split()


def test_the_promised_names_are_public():
    assert set(CONTRACT) <= set(mtujax.__all__) <= set(dir(mtujax))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mtujax.nonsense


def public():
    """(name, object) of every public function, class and method of the package."""
    for name, _ in modules():
        # Docstrings of commands are help texts.
        if name == "__main__" or (name in ONLY["typer"] and "_command" in name):
            continue
        if name.startswith("torch"):
            pytest.importorskip("torch")
        module = __import__(f"mtujax.{name}", fromlist=["_"])
        for key, value in vars(module).items():
            if (
                key.startswith("_")
                or getattr(value, "__module__", "") != module.__name__
            ):
                continue
            if inspect.isclass(value) or callable(value):
                yield f"{name}.{key}", value


def test_every_public_name_says_what_it_takes_and_gives():
    """Arguments, results, shapes of arrays, and errors that it raises itself."""
    missing = []
    for name, value in public():
        text = inspect.getdoc(value) or ""
        function = inspect.unwrap(value)
        if inspect.isclass(value):
            fields = dataclasses.is_dataclass(value) and dataclasses.fields(value)
            wanted = [f.name for f in fields or [] if f.name not in ("parent", "name")]
        else:
            wanted = [
                p for p in inspect.signature(function).parameters if p not in ("args",)
            ]
            if text.count("\n") > 2 and wanted:
                missing += [f"{name}: no Args"] * ("Args:" not in text)
            source = inspect.getsource(function)
            raising = re.search(r"^\s+raise \w+\(", source, re.M)
            missing += [f"{name}: no Raises"] * bool(raising and "Raises:" not in text)
            arrays = "Array" in str(inspect.signature(function))
            missing += [f"{name}: no shapes"] * bool(arrays and "[" not in text)
        if not text:
            missing.append(f"{name}: no docstring")
        elif "\n\n" in text:
            missing += [f"{name}: {w} not named" for w in wanted if f"{w}" not in text]
    assert not missing, "\n".join(missing)


def test_the_text_speaks_of_the_product_alone():
    pattern = re.compile(r"/(home|root|work)/[a-z]")
    for path in [*ROOT.glob("*.md"), *PACKAGE.rglob("*.py")]:
        assert not pattern.search(path.read_text()), path
