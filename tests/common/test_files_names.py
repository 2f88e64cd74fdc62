import os

import pytest

from mtujax.common.files import check_place, named_after, whole_output
from mtujax.errors import UserError

NAMES = {
    "short": "a.mp4",
    "longest": "x" * 251 + ".mp4",
    "longest in Cyrillic": "я" * 125 + "x.mp4",
    "not UTF-8": "caf\udce9" * 40 + ".mp4",
    "newline": "a\nb.mp4",
    "trailing dot": "a.mp4.",
    "long suffix": "a." + "y" * 253,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("folder", [True, False])
def test_every_name_that_the_system_takes_can_be_written(tmp_path, name, folder):
    output = tmp_path / name
    for content in ("1", "2"):
        with whole_output(output, folder=folder) as part:
            assert part != output and output.exists() == (content == "2")
            (part / "f" if folder else part).write_text(content)
        assert (output / "f" if folder else output).read_text() == content
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("ending", [".part", ".0123456789.part.mp4"])
def test_names_after_long_ones_fit_and_differ(tmp_path, ending):
    assert named_after(tmp_path / "a.mp4", ending).name == "a.mp4" + ending
    long = ["я" * 120 + str(number) for number in range(3)]
    made = [named_after(tmp_path / name, ending) for name in long]
    assert len({path.name for path in made}) == 3
    for path in made:
        path.touch()  # else the system refuses it
        assert path.name.endswith(ending) and path.name.startswith("яяя")


def test_a_pipe_is_never_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(UserError, match="a.json: is a pipe, and is not replaced"):
        with whole_output(tmp_path / "a.json", folder=False) as part:
            part.touch()
    assert os.listdir(tmp_path) == ["a.json"] and (tmp_path / "a.json").is_fifo()


def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path):
    output = tmp_path / ("x" * 252 + ".mp4")
    with pytest.raises(UserError, match="a name of 256 bytes, but here are 255"):
        check_place(output, folder=False)


def _read_weights(path):
    from mtujax.weights.safetensors_io import read_header

    read_header(path)


def _read_results(path):
    from mtujax.evaluation.results import read_results

    read_results(path)


def _fetch(path):
    from mtujax.fetch.weights import fetch_weights

    fetch_weights(["mtu1-gopro"], source=path)


@pytest.mark.parametrize("read", [_read_weights, _read_results, _fetch])
def test_other_inputs_are_not_waited_for_either(tmp_path, monkeypatch, read):
    monkeypatch.setenv("MTUJAX_CACHE", str(tmp_path / "cache"))
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="a.safetensors: is a pipe"):
        read(tmp_path / "a.safetensors")
