"""The tables of a training run: CSV files that neither kill nor damage can spoil."""

import csv
import io

import jax.numpy as jnp
import pytest
from disks import full_disk
from logs import open_book, train

from mtujax.errors import UserError
from mtujax.training.log_files import Table


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def book(run):
    """Makes logbooks in one folder, without TensorBoard."""

    def make(folder=run, **settings):
        return open_book(folder, tensorboard=False, stream=io.StringIO(), **settings)

    return make


def table(folder, name="log"):
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def column(folder, name, kind=float):
    return [kind(row[name]) if row[name] else None for row in table(folder)]


def test_a_table_has_what_a_line_has_in_float32s_digits(book, run):
    with book(rates=lambda: {"learning_rate": lambda made: 1e-4}) as log:
        third = jnp.float32(1 / 3)
        log.update(10, {"deblur": third, "grad_norm_total": 2.0}, {"skipped": 1})
    row = table(run)[0]
    assert list(row) == [
        *("step", "deblur", "grad_norm_total", "learning_rate", "skipped"),
        "updates_per_second",
    ]
    assert list(row.values()) == ["10", "0.3333333", "2", "0.0001", "1", ""]


def test_after_a_kill_and_a_resume_each_step_is_there_once(book, run):
    train(book(), range(1, 46), 1.0)  # never closed
    assert column(run, "step", int) == [10, 20, 30, 40]
    with book(start=20) as log:
        train(log, range(21, 101), 2.0)
    assert column(run, "step", int) == list(range(10, 101, 10))
    assert column(run, "deblur") == [1.0] * 2 + [2.0] * 8


def test_validations_are_there_once_too(book, run):
    log = book()
    for step in (10, 20):
        log.validation(step, {"psnr": 30.0 + step, "mug": 1.5}, {})
    with book(start=10) as log:
        log.validation(20, {"psnr": 33.25, "mug": 2.5}, {})
    assert table(run, "validation") == [
        {"step": "10", "psnr": "40", "mug": "1.5"},
        {"step": "20", "psnr": "33.25", "mug": "2.5"},
    ]


@pytest.mark.parametrize(
    "damage",
    [b"50,0.", b"50,0.5,0,", b"\xff\x00\xfe", b"50,x,0,\n", b"50\n", b'"50\n', b"\n"],
)
def test_a_damaged_end_is_mended(book, run, damage):
    train(book(), range(1, 41))
    path = run / "log.csv"
    whole = path.read_bytes()
    path.write_bytes(whole + damage)
    book(start=40)
    assert path.read_bytes() == whole
    with book(start=40) as log:
        train(log, range(41, 51))
    assert column(run, "step", int) == [10, 20, 30, 40, 50]


def test_a_column_that_comes_later_is_empty_before(book, run):
    with book() as log:
        train(log, range(1, 11))
    with book(start=10) as log:
        train(log, range(11, 21), motion=3.0)
    with book(start=20) as log:
        train(log, range(21, 31))
    assert column(run, "motion") == [None, 3.0, None]
    assert column(run, "deblur") == [1.0] * 3


def test_a_table_that_is_taken_away_is_begun_anew(book, run):
    with book() as log:
        train(log, range(1, 11))
        (run / "log.csv").unlink()
        train(log, range(11, 21))
    assert column(run, "step", int) == [20]


def test_the_same_step_replaces_its_line(tmp_path):
    log = Table(tmp_path / "log.csv")
    for step, value in ((1, 0.5), (2, 1.5), (3, 2.5), (2, 3.5)):
        log.append({"step": step, "deblur": value})
    assert log.rows() == [
        {"step": "1", "deblur": "0.5"},
        {"step": "2", "deblur": "3.5"},
    ]


def test_a_table_that_is_no_log_is_not_touched(book, run):
    run.mkdir()
    path = run / "log.csv"
    path.write_text("name,age\nAda,36\n")
    with pytest.raises(
        UserError, match=r"log.csv: is not the log of a run.* move it away"
    ):
        book()
    assert path.read_text() == "name,age\nAda,36\n"


def test_a_full_disk_is_one_line_that_says_how_to_go_on(book, run):
    with pytest.raises(UserError) as caught, book() as log:
        train(log, range(1, 21))
        with full_disk((run / "log.csv").stat().st_size + 3):
            train(log, range(21, 31))
    assert str(caught.value) == (
        f"{run}/log.csv: the log cannot be written (File too large); when it can, the "
        "same command resumes from the last checkpoint"
    )
    with book(start=20) as log:  # half a line was written
        train(log, range(21, 41))
    assert column(run, "step", int) == [10, 20, 30, 40]


def test_a_folder_that_cannot_be_made_is_one_line(book, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/run: the log cannot be written"):
        book(tmp_path / "file" / "run")
