"""The configurations that come with the program, and what their headers promise."""

import ast
import dataclasses
import math
import re

import pytest
from networks import slow
from places import ROOT

import mtujax
from mtujax.cli.configs import config_titles, read_config
from mtujax.config import PAPER_TEXT
from mtujax.errors import UsageError
from mtujax.model.network import expected_shapes
from mtujax.training.config import RELEASE, DataConfig, RunConfig, state_fields
from mtujax.weights.files import bundled

NAMES = list(config_titles())
PRESETS = ("mtu1", "mtu2", "mtu4", "mtu10", "mtu10_l")

# PSNR and SSIM of the paper: Tables 3 (DVD) and 4 (GoPro), ...
DVD = {
    "mtu1": ("30.21", "0.921"),
    "mtu2": ("31.00", "0.933"),
    "mtu4": ("31.41", "0.937"),
    "mtu10": ("31.90", "0.943"),
    "mtu10_l": ("32.27", "0.947"),
    "mtu2_fp16": ("30.99", "0.932"),
}
GOPRO = {
    "mtu1": ("29.00", "0.915"),
    "mtu2": ("29.91", "0.928"),
    "mtu4": ("30.34", "0.933"),
    "mtu10": ("31.14", "0.942"),
    "mtu10_l": ("31.92", "0.950"),
    "mtu2_fp16": ("29.90", "0.928"),
}
MILLIONS = dict(zip(PRESETS, ("0.54", "1.04", "2.04", "5.03", "13.80"), strict=True))
# ... and 1 and 2: of deblurring, and of motion compensation.
ABLATIONS = {
    "table1_row1": ("29.42", "0.909", "26.21", "0.842"),
    "table1_row2": ("29.97", "0.917", "25.09", "0.804"),
    "table1_row3": ("30.07", "0.920", "27.26", "0.863"),
    "table1_row4": ("29.84", "0.915", "27.24", "0.862"),
    "table2_row2": ("30.18", "0.921", "25.73", "0.831"),
    "table2_row4": ("30.30", "0.923", "27.25", "0.864"),
}


pytestmark = pytest.mark.usefixtures("in_the_clone")


def loaded(name, form=""):
    return read_config([f"configs/{name}.py{form}"], [])


def header(name):
    return ast.get_docstring(ast.parse((ROOT / f"configs/{name}.py").read_text()))


def switches(name):
    """What the two tables say of a configuration."""
    config = loaded(name)
    model = config.model
    compensated = model.motion_compensation
    return {
        "residual": model.residual_learning,
        "compensation": compensated,
        "motion loss": compensated and config.train.motion_weight > 0,
        "injection": compensated and model.structure_injection,
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_is_valid_and_has_a_folder_of_its_own(name):
    config = loaded(name)
    assert isinstance(config, RunConfig)
    assert name == "default" or config.run == f"runs/{name}"


@pytest.mark.parametrize("name", NAMES)
def test_a_header_has_command_hours_and_the_papers_score(name):
    text = header(name)
    assert f"python train.py --config=configs/{name}.py" in text
    assert re.search(r"^Expected: \S", text, re.M) or "Expected: as configs/" in text
    assert re.search(r"^Paper: \S", text, re.M) or "Expected: as configs/" in text
    assert all(re.match(r"[A-Z]", line) for line in text.split("\n")[:1])


@pytest.mark.parametrize("weights", bundled(), ids=lambda weights: weights.name)
def test_a_recipe_expects_what_its_bundled_weights_reach(weights):
    text = header(f"bundled_{weights.name}")
    expected = text.split("Expected:")[1].split("Paper:")[0]
    psnr = re.search(r"\S+ dB", expected)[0]
    assert f"PSNR {psnr}," in weights.metadata["scores"]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_a_header_is_understood(name):
    words = re.search(r"    python (train\.py(?:.*\\\n)*.*)", header(name))[1]
    argv = words.replace("\\\n", " ").split()
    given = dict(word.split("=", 1) for word in argv[1:])
    config = read_config([given["--config"]], argv[2:])
    assert config.data.path == given.get("--config.data.path", config.data.path) != ""
    assert config.data.teacher == given.get("--config.data.teacher")
    # Labels are asked for where they are needed, and nowhere else.
    labels = config.model.motion_compensation and config.train.motion_weight > 0
    filmed = config.data.name == "synthetic"  # whose motion is known
    assert (config.data.teacher is not None) == (labels and not filmed)


@pytest.mark.parametrize("name", [*DVD, *ABLATIONS])
def test_a_header_has_the_numbers_of_the_papers_tables(name):
    if name in DVD:
        (psnr, ssim), (psnr_gopro, ssim_gopro) = DVD[name], GOPRO[name]
        wanted = (
            f"Paper: {psnr} dB, SSIM {ssim} on DVD (Table 3); {psnr_gopro} dB, "
            f"{ssim_gopro} on GoPro (Table 4)."
        )
    else:
        psnr, ssim, moved, moved_ssim = ABLATIONS[name]
        wanted = (
            f"Paper: {psnr} dB, SSIM {ssim}; motion compensation {moved} dB, "
            f"{moved_ssim} ("
        )
    assert wanted in header(name)


def test_other_headers_quote_the_same_tables():
    for name, quoted in (("mtu2_bf16", "mtu2_fp16"), ("paper_text", "mtu2")):
        psnr, ssim = DVD[quoted]
        assert f"{psnr} dB, SSIM {ssim} on DVD" in header(name)


@pytest.mark.parametrize("name", [*PRESETS[:3], *map(slow, PRESETS[3:])])
def test_a_header_counts_the_parameters_that_there_are(name):
    count = sum(math.prod(s) for s in expected_shapes(loaded(name).model).values())
    assert f"{count / 1e6:.2f}" == MILLIONS[name]
    wanted = f"Parameters: {count:,} ({MILLIONS[name]} M in the paper)."
    assert wanted in header(name)


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_are_those_of_the_package_trained_as_the_release_was(name):
    config = loaded(name)
    assert config.model == mtujax.PRESETS[name]
    assert config.train == RELEASE
    assert dataclasses.replace(config, run="runs/mtu") == RunConfig(
        mtujax.PRESETS[name], RELEASE, DataConfig("dvd", label_all_cells=True)
    )


def test_the_other_networks_differ_from_mtu2_in_what_they_are_named_for():
    mtu2 = loaded("mtu2")
    assert loaded("paper_text").model == PAPER_TEXT
    assert loaded("paper_text").train == dataclasses.replace(RELEASE, scheme="paper")
    for name, dtype in (("mtu2_bf16", "bfloat16"), ("mtu2_fp16", "float16")):
        config = loaded(name)
        assert config.model == dataclasses.replace(mtu2.model, dtype=dtype)
        assert config.data == mtu2.data


def test_the_rows_of_tables_1_and_2_are_six_networks_that_differ_in_its_switches():
    rows = {name: tuple(switches(name).values()) for name in ABLATIONS}
    assert rows == {
        # residual learning, motion compensation, motion loss, structure injection
        "table1_row1": (False, False, False, False),
        "table1_row2": (True, False, False, False),  # Table 2, row 1
        "table1_row3": (False, True, True, False),
        "table1_row4": (True, True, True, False),  # Table 2, row 3
        "table2_row2": (True, True, False, False),
        "table2_row4": (True, True, True, True),
    }
    assert len({(loaded(name).model, loaded(name).train) for name in rows}) == 6


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_row_differs_in_nothing_else(name):
    """Sec. 4.1: two units, 300 k updates at a fixed rate of 1e-4."""
    config, whole = loaded(name), loaded("table2_row4")
    assert whole.model == mtujax.PRESETS["mtu2"]
    assert dataclasses.replace(whole.train, steps=1, schedule="drops") == (
        dataclasses.replace(RELEASE, steps=1)
    )
    train = dataclasses.replace(config.train, motion_weight=whole.train.motion_weight)
    model = dataclasses.replace(
        whole.model,
        residual_learning=config.model.residual_learning,
        motion_compensation=config.model.motion_compensation,
        structure_injection=config.model.structure_injection,
        # Without injection the paper matches the features themselves.
        motion_layer=config.model.structure_injection,
    )
    assert (config.train.steps, config.train.schedule) == (300_000, "constant")
    assert (config.train.learning_rate, config.train.warmup) == (1e-4, 0)
    rest = dataclasses.replace(config, model=model, train=train, run=whole.run)
    assert config.model == model
    assert rest == dataclasses.replace(whole, model=model)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("bundled")])
def test_bundled_networks_go_on_from_one_device_to_another(name):
    on_gpu, on_cpu = loaded(name), loaded(name, ":cpu")
    assert state_fields(on_gpu) == state_fields(on_cpu)
    assert on_gpu == loaded(name, ":gpu")
    pressed = 0.3 if "fast" in name else 0.33
    assert on_gpu.data.exposure.compressed == on_cpu.data.exposure.compressed == pressed
    sharp = 0.2 if name == "mtu2_photos" else 0.1  # docs/lab-notes/training-log.md
    assert on_gpu.data.exposure.sharp == on_cpu.data.exposure.sharp == sharp
    assert on_cpu.data.crop < on_gpu.data.crop and on_cpu.model.dtype == "float32"
    with pytest.raises(UsageError, match="FILE:tpu: must be gpu or cpu"):
        loaded(name, ":tpu")
