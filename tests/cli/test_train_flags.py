"""The flags of `train.py`: what they mean, and one line for every mistake."""

import dataclasses
import re
import shlex
import sys
from pathlib import Path

import pytest
from places import ROOT

from mtujax.cli.script import Flags
from mtujax.cli.train import read_flags
from mtujax.errors import UsageError

CONFIGS = ROOT / "configs"
SMOKE = "--config=configs/smoke.py"


pytestmark = pytest.mark.usefixtures("in_the_clone")


def read(line):
    return read_flags(["train.py", *shlex.split(line)], CONFIGS)


def refusal(line):
    """The one line that a command line is refused with."""
    with pytest.raises(UsageError) as caught:
        read(line)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def file(tmp_path):
    """Writes a configuration file of the user's own; gives its flag."""

    def write(*lines):
        path = tmp_path / "mine.py"
        path.write_text("\n".join(lines))
        return f"--config={path}"

    return write


# What is understood.


def test_a_configuration_goes_by_its_name_anywhere(tmp_path, monkeypatch, in_the_clone):
    expected = read(SMOKE).config.model
    assert read("--config=smoke --config.seed=3").config.seed == 3
    monkeypatch.chdir(tmp_path)
    for words in ("--config=smoke", "--config smoke"):
        assert read(words).config.model == expected
    on_cpu = read("--config=bundled_fast:cpu").config
    assert on_cpu.model.dtype == "float32"
    (tmp_path / "smoke").mkdir()  # what is no file does not hide it
    assert read("--config=smoke").config.model == expected
    with pytest.raises(
        UsageError, match="--config=smok: no such file; did you mean sm"
    ):
        read("--config=smok")


def test_overrides_change_fields_and_nothing_else():
    plain = read(SMOKE).config
    changed = read(
        f"{SMOKE} --config.train.steps 7 --config.data.name=pairs --config.batch=2 "
        "--config.validation.size='(32, 48)' --config.max_minutes=5 "
        "--noconfig.rescale_init --config.train.learning_rate=1 "
        "--config.data.objects=None --config.data.shake.speed=1,2.5 "
        "--config.model.matching_units=0,"
    ).config
    data = dataclasses.replace(
        plain.data,
        name="pairs",
        objects=None,
        shake=dataclasses.replace(plain.data.shake, speed=(1, 2.5)),
    )
    assert changed == dataclasses.replace(
        plain,
        train=dataclasses.replace(plain.train, steps=7, learning_rate=1.0),
        validation=dataclasses.replace(plain.validation, size=(32, 48)),
        data=data,
        batch=2,
        max_minutes=5.0,
        rescale_init=False,
    )


def test_a_field_that_may_be_none_takes_none_and_numbers_wherever_it_began():
    """`frames_per_update` is 1 in one file and None in the other."""
    for config in ("mtu2", "smoke"):
        for text, value in (("None", None), ("4", 4)):
            line = f"--config=configs/{config}.py --config.train.frames_per_update="
            assert read(line + text).config.train.frames_per_update == value


def test_the_file_may_follow_as_a_word_of_its_own():
    assert read("--config configs/mtu2.py") == read("-config=configs/mtu2.py")


def test_a_file_of_ones_own_starts_from_another(file):
    flag = file(
        "from configs import mtu2",
        "def get_config():",
        "    config = mtu2.get_config()",
        "    config.train.steps = 5",
        "    config.keep_every = 3",
        "    return config",
    )
    plain, mine = read("--config=configs/mtu2.py").config, read(flag).config
    train = dataclasses.replace(plain.train, steps=5)
    assert mine == dataclasses.replace(plain, train=train, keep_every=3)


def test_flags_besides_the_configuration():
    line = "--coordinator=host:1234 --processes=2 --process=1 --cache=''"
    flags = read(f"{SMOKE} {line}")
    assert flags == Flags(read(SMOKE).config, "host:1234", 2, 1, "")
    assert read(SMOKE) == Flags(read(SMOKE).config)


# What is not.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--config.trian.steps=3", "config.trian.steps: .*mean --config.train.steps?"),
        ("--config.steps=3", "no such field; did you mean --config.train.steps?"),
        ("--config.data.shake.sped=3", "did you mean --config.data.shake.speed?"),
        ("--config.qqq=3", "no such field; there are model, train, data, "),
        ("--config.data.qqq=3", "there are data.name, data.path, "),
        ("--config.spread=True", "config.spread: is called --config.rescale_init now"),
        ("--config.norescale_init", "did you mean --config.rescale_init?"),
        ("--config.train.steps=many", "steps=many: must be a whole number"),
        ("--config.train.steps=1e5", "steps=1e5: must be a whole number"),
        ("--config.train.learning_rate=x", "learning_rate=x: must be a number"),
        ("--config.max_minutes=soon", "max_minutes=soon: must be a number"),
        ("--config.rescale_init=maybe", "rescale_init=maybe: must be true or false"),
        ("--config.validation.size=160", "size=160: must be several values, as (1, 2)"),
        ("--config.data.objects=3", "objects=3: must be None where it may be; else"),
        ("--config.batch=None", "batch None: must be int"),
        ("--config.batch", "Missing value for flag --config.batch"),
        ("--config.data.name=gopr", "data.name 'gopr': did you mean gopro?"),
        ("--config.model.num_units=0", "num_units=0: must be >= 1"),
        ("--config.train.steps=0", "steps 0: must be above 0"),
        ("--confg=x.py", "--confg=x.py: no such flag; did you mean --config?"),
        ("--coordinater=auto", "no such flag; did you mean --coordinator?"),
        ("--steps=3", "no such flag; settings are --config.FIELD=VALUE"),
        ("-v", "-v: no such flag"),
        ("train.steps=3", "train.steps=3: unexpected; .* --config.train.steps=3"),
        ("train", "train: unexpected; a setting is --config.FIELD=VALUE"),
        ("--config=configs/mtu2.py", "must come once, before all --config.FIELD"),
        ("--coordinator=host", "--coordinator=host: must be HOST:PORT, auto or none"),
        ("--coordinator=host:1", "--coordinator needs --processes and --process"),
        ("--config.model.patch=0", "model: patch=0: must be >= 1"),
        ("--config.model.activation=elu", "model.activation 'elu': must be 'relu' or"),
        (
            "--config.model.patch=3",
            "data.crop .* must be a multiple of 12",
        ),
        ("--coordinator=h:1 --processes=2", "--coordinator needs --processes and"),
        ("--processes=2", "--processes and --process need --coordinator"),
        ("--coordinator=none --process=0", "--processes and --process need --coordin"),
        ("--coordinator=auto --processes=2", "--processes and --process need --coor"),
        (
            "--coordinator=h:1 --processes=2 --process=2",
            "--process=2: must be below --processes=2",
        ),
        ("--coordinator=h:1 --processes=0 --process=0", "=0: must be a number from 1"),
        ("--coordinator=h:1 --processes=2 --process=x", "=x: must be a number from 0"),
        (
            "--config.data.objects=None --config.data.objects.spin=1",
            "--config.data.objects.spin: cannot be set, as another flag takes it away",
        ),
    ],
)
def test_a_wrong_flag_is_named_with_the_way_out(line, message):
    pattern = re.escape(message).replace(r"\.\*", ".*")
    assert re.search(pattern, refusal(f"{SMOKE} {line}"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "give the configuration as --config=FILE; see --help"),
        ("--config", "give the configuration as --config=FILE; see --help"),
        ("--config=", "give the configuration as --config=FILE; see --help"),
        ("configs/mtu2.py", "give the configuration as --config=configs/mtu2.py; "),
        ("--config=configs/mtu3.py", "no such file; did you mean configs/mtu"),
        ("--config=smok", "--config=smok: no such file; did you mean configs/smoke"),
        ("--config=qqq", "--config=qqq: no such file; there are configs/bundled_"),
        ("--config=configs", "--config=configs: is a folder, give a file"),
        ("--config.batch=3 --config=configs/mtu2.py", "before all --config.FIELD"),
        ("--config=configs/mtu2.py:big", "nothing after a colon"),
    ],
)
def test_a_file_that_is_not_there_is_named_with_those_that_are(line, message):
    assert message in refusal(line)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x = 1", "def get_config(:"], "mine.py, line 2: SyntaxError: "),
        (["\0"], "mine.py: is no Python file (SyntaxError: "),
        (["import nothing_here"], "line 1: ModuleNotFoundError: No module named"),
        (["def get_config():", "    return 1 / 0"], "line 2: ZeroDivisionError: div"),
        (["x = 1"], "mine.py: has no get_config()"),
        (["def get_config(big):", "    pass"], "mine.py: get_config() missing 1 req"),
        (["def get_config():", "    pass"], "gives no ConfigDict but NoneType"),
    ],
)
def test_a_broken_file_is_named_with_the_line(file, lines, message):
    assert message in refusal(file(*lines))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("config.data.nam = 'x'", "line 4: nam: no such field; did you mean name?"),
        ("config.data.turn = 0", "data.turn: is called data.augment_probability now"),
        ("config.qqq = 1", "line 4: qqq: no such field"),
        ("config.batch = 'x'", "line 4: TypeError: .*'batch'"),
        ("config.data.name = 'gopr'", "data.name 'gopr': did you mean gopro?"),
    ],
)
def test_a_mistake_in_a_file_is_named(file, change, message):
    lines = "from configs import mtu2", "def get_config():"
    flag = file(*lines, "    config = mtu2.get_config()", f"    {change}")
    text = Path(flag.removeprefix("--config=")).read_text()
    flag = file(text, "    return config")
    assert re.search(message, refusal(flag))


def test_another_package_of_that_name_is_not_taken_for_the_configurations(
    monkeypatch, tmp_path
):
    """Several packages on PyPI install a folder `configs`."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("")
    for name in [name for name in sys.modules if name.split(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(ROOT), str(tmp_path), *sys.path])
    assert read("--config=configs/mtu2.py").config.model.num_units == 2
