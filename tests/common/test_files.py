"""Outputs appear whole, and whatever a killed process left is found and swept."""

import killing
import pytest

from mtujax.common.files import (
    Made,
    check_only,
    discard,
    is_leftover,
    publish,
    staged,
    whole_output,
)
from mtujax.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def leave(output, text="half"):
    """What a process leaves that is killed while it writes."""
    place = output.with_name(f".{output.name}.part")
    place.mkdir()
    (place / ".lock").touch()
    (place / output.name).write_text(text)
    return place


def test_a_file_appears_when_it_is_whole(tmp_path):
    output = tmp_path / "a.txt"
    with whole_output(output, folder=False) as part:
        assert part.suffix == ".txt" and not output.exists()
        part.write_text("whole")
    assert output.read_text() == "whole" and names(tmp_path) == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path):
    output = tmp_path / "a"
    output.mkdir()
    (output / "old").touch()
    with pytest.raises(ZeroDivisionError), whole_output(output, folder=True) as part:
        (part / "new").touch()
        raise ZeroDivisionError
    assert names(tmp_path) == ["a"] and names(output) == ["old"]


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path):
    assert is_leftover(leave(tmp_path / "a.txt"))
    with whole_output(tmp_path / "a.txt", folder=False) as part:
        assert not part.exists()
        part.write_text("whole")
    assert names(tmp_path) == ["a.txt"]


def test_what_is_not_ours_is_not_swept(tmp_path):
    place = leave(tmp_path / "a.txt")
    (place / "thesis.txt").write_text("mine")
    assert not is_leftover(place)
    with pytest.raises(UserError, match="a.txt.part: exists, but not made by mtujax"):
        with whole_output(tmp_path / "a.txt", folder=False):
            raise AssertionError
    assert (place / "thesis.txt").read_text() == "mine"


def test_two_do_not_write_the_same_output(tmp_path):
    with whole_output(tmp_path / "a", folder=False) as part:
        part.write_text("first")
        with pytest.raises(UserError, match="a: another process is writing it"):
            with whole_output(tmp_path / "a", folder=False):
                raise AssertionError
    assert (tmp_path / "a").read_text() == "first"


def test_leftovers_are_not_foreign(tmp_path):
    leave(tmp_path / "train")
    check_only(tmp_path, lambda path: False, "sets")
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match="more than sets: mine"):
        check_only(tmp_path, lambda path: False, "sets")


def test_a_link_stays_and_leads_to_what_is_new(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far/a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "far/a")
    with whole_output(tmp_path / "link", folder=False) as part:
        part.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far/a").read_text() == "new" and names(tmp_path / "far") == [
        "a"
    ]


def test_a_discarded_folder_is_gone(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    discard(tmp_path / "a")
    assert names(tmp_path) == []


def test_several_outputs_are_all_refused_or_all_there(tmp_path):
    (tmp_path / "b").write_text("taken")
    for overwrite in (False, True):
        with staged(tmp_path / "a", folder=False) as a:
            with staged(tmp_path / "b", folder=False) as b:
                for one in (a, b):
                    one.path.write_text("new")
                if overwrite:
                    publish(a, b, overwrite=True)
                    continue
                with pytest.raises(UserError, match="b: appeared in the meantime"):
                    publish(a, b, overwrite=False)
        assert (tmp_path / "a").exists() == overwrite
    assert (tmp_path / "b").read_text() == "new"


def test_placing_twice_is_placing_once(tmp_path):
    (tmp_path / "made").write_text("x")
    made = Made(tmp_path / "made", tmp_path / "a", folder=False)
    made.place()
    made.place()
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "work",
    [
        "files",
        "weights",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("new set", "old set")),
    ],
)
def test_killed_anywhere_the_same_work_gives_the_same_bytes(work, tmp_path):
    assert killing.run(work, tmp_path) > 10
