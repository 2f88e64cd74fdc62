"""The options of `train`: what they mean, and one line for every mistake."""

import dataclasses
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from mtujax.cli.app import app, main
from mtujax.cli.configs import read_config
from mtujax.errors import UsageError

SMOKE = "--config=configs/smoke.py"


pytestmark = pytest.mark.usefixtures("in_the_clone")


def read(line):
    """The configuration of a command line."""
    command = typer.main.get_command(app).commands["train"]
    context = command.make_context("train.py", shlex.split(line))
    return read_config(context.params["config"], context.args, command.params)


@pytest.fixture
def refusal(monkeypatch, capsys):
    """Gives the one line that a command line is refused with."""

    def refusal(line):
        monkeypatch.setattr("mtujax.train", None)
        with pytest.raises(SystemExit) as caught:
            main(shlex.split(line), script="train")
        out, error = capsys.readouterr()
        assert (caught.value.code, out, error.count("\n")) == (2, "", 1)
        assert error.startswith("train.py: error: ")
        return error

    return refusal


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
    expected = read(SMOKE).model
    assert read("--config=smoke --config.seed=3").seed == 3
    monkeypatch.chdir(tmp_path)
    for words in ("--config=smoke", "--config smoke"):
        assert read(words).model == expected
    on_cpu = read("--config=bundled_fast:cpu")
    assert on_cpu.model.dtype == "float32"
    (tmp_path / "smoke").mkdir()  # what is no file does not hide it
    assert read("--config=smoke").model == expected
    with pytest.raises(
        UsageError, match="--config=smok: no such file; did you mean smoke"
    ):
        read("--config=smok")


def test_overrides_change_fields_and_nothing_else():
    plain = read(SMOKE)
    changed = read(
        f"{SMOKE} --config.train.steps 7 --config.data.name=pairs --config.batch=2 "
        "--config.validation.size='(32, 48)' --config.max_minutes=5 "
        "--noconfig.rescale_init --config.train.learning_rate=1 "
        "--config.data.objects=None --config.data.shake.speed=1,2.5 "
        "--config.model.matching_units=0,"
    )
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
            assert read(line + text).train.frames_per_update == value


def test_the_file_may_follow_as_a_word_of_its_own():
    assert read("--config configs/mtu2.py") == read("--config=configs/mtu2.py")


def test_a_file_of_ones_own_starts_from_another(file):
    flag = file(
        "from configs import mtu2",
        "def get_config():",
        "    config = mtu2.get_config()",
        "    config.train.steps = 5",
        "    config.keep_every = 3",
        "    return config",
    )
    plain, mine = read("--config=configs/mtu2.py"), read(flag)
    train = dataclasses.replace(plain.train, steps=5)
    assert mine == dataclasses.replace(plain, train=train, keep_every=3)


def test_what_refers_to_a_field_follows_it(file):
    flag = file(
        "from configs import mtu2",
        "def get_config():",
        "    config = mtu2.get_config()",
        "    config.save_every = config.get_ref('log_every') * 10",
        "    return config",
    )
    assert read(f"{flag} --config.log_every=7").save_every == 70


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
        ("--config.train.steps=many", "train.steps 'many': must be int"),
        ("--config.train.steps=1e5", "train.steps 100000.0: must be int"),
        ("--config.train.learning_rate=x", "learning_rate 'x': must be float"),
        ("--config.max_minutes=soon", "max_minutes 'soon': must be float or None"),
        ("--config.rescale_init=maybe", "rescale_init 'maybe': must be bool"),
        ("--config.validation.size=160", "validation.size 160: must be (int, int)"),
        ("--config.data.objects=3", "data.objects 3: must be a mapping or None"),
        ("--config.batch=None", "batch None: must be int"),
        ("--config.batch", "--config.batch: needs a value"),
        ("--config.data.name=gopr", "data.name 'gopr': did you mean gopro?"),
        ("--config.model.num_units=0", "num_units=0: must be >= 1"),
        ("--config.train.steps=0", "steps 0: must be above 0"),
        ("--confg=x.py", "--confg=x.py: no such flag; did you mean --config?"),
        ("--coordinater=auto", "no such flag; did you mean --coordinator?"),
        ("--steps=3", "no such flag; there are --config.FIELD=VALUE, --config, "),
        ("--batch=3", "--batch=3: no such flag; did you mean --config.batch?"),
        ("-v", "-v: no such flag"),
        ("train.steps=3", "train.steps=3: unexpected; .* --config.train.steps=3"),
        ("train", "train: unexpected; a setting is --config.FIELD=VALUE"),
        ("--config=configs/mtu2.py", "--config: give it once"),
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
        (
            "--coordinator=h:1 --processes=0 --process=0",
            "Invalid value for '--processes'",
        ),
        (
            "--coordinator=h:1 --processes=2 --process=x",
            "Invalid value for '--process'",
        ),
        (
            "--config.data.objects=None --config.data.objects.spin=1",
            "--config.data.objects.spin: cannot be set, as objects is None",
        ),
    ],
)
def test_a_wrong_flag_is_named_with_the_way_out(refusal, line, message):
    pattern = re.escape(message).replace(r"\.\*", ".*")
    assert re.search(pattern, refusal(f"{SMOKE} {line}"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "give the configuration as --config=NAME|FILE; see --help"),
        ("--config", "Option '--config' requires an argument; see --help"),
        ("--config=", "give the configuration as --config=NAME|FILE; see --help"),
        ("--config.batch=3", "give the configuration as --config=NAME|FILE; see"),
        ("configs/mtu2.py", "configs/mtu2.py: unexpected; "),
        ("--config=configs/mtu3.py", "no such file; did you mean mtu"),
        ("--config=smok", "--config=smok: no such file; did you mean smoke?"),
        ("--config=qqq", "--config=qqq: no such file; there are bundled_"),
        ("--config=configs", "--config=configs: is a folder, give a file"),
        ("--config=configs/mtu2.py:big", "nothing after a colon"),
    ],
)
def test_a_file_that_is_not_there_is_named_with_those_that_are(refusal, line, message):
    assert message in refusal(line)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x = 1", "def get_config(:"], "mine.py, line 2: SyntaxError: "),
        (["\0"], "mine.py: is not a Python file (SyntaxError: "),
        (["import nothing_here"], "line 1: ModuleNotFoundError: No module named"),
        (["def get_config():", "    return 1 / 0"], "line 2: ZeroDivisionError: div"),
        (["x = 1"], "mine.py: has no get_config()"),
        (
            ["def get_config(big):", "    pass"],
            "mine.py: get_config(): missing a required",
        ),
        (["def get_config():", "    pass"], "returns no ConfigDict but NoneType"),
    ],
)
def test_a_broken_file_is_named_with_the_line(refusal, file, lines, message):
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
def test_a_mistake_in_a_file_is_named(refusal, file, change, message):
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
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert read("--config=configs/mtu2.py").model.num_units == 2
