"""Dataclasses as JSON: what differs, and what is refused because of it."""

import pytest

from mtujax.common.dataclass_json import check_same, differing_fields, read_json
from mtujax.errors import UserError


def test_differences_have_dotted_names_and_both_values():
    old = {"train": {"learning_rate": 1e-4, "drops": [[1, 2]]}, "seed": 0, "old": {}}
    new = {"train": {"learning_rate": 2e-4, "drops": ((1, 2),)}, "seed": 0, "new": 1}
    assert differing_fields(old, new) == [
        "new: - there, 1 here",
        "old: {} there, - here",
        "train.learning_rate: 0.0001 there, 0.0002 here",
    ]
    assert differing_fields(old, old) == []


def test_a_part_that_was_left_out_differs_as_a_whole():
    assert differing_fields({"a": {"b": {"c": 1}}}, {"a": {"b": None}}) == [
        "a.b: - there, null here",
        "a.b.c: 1 there, - here",
    ]


def test_other_settings_are_refused_with_the_first_of_them_and_the_remedy():
    check_same({"a": (1, 2)}, {"a": [1, 2]}, "run: other settings", "delete it")
    with pytest.raises(UserError) as caught:
        check_same({"a": 1}, {"a": 2}, "run: other settings", "delete it")
    assert str(caught.value) == "run: other settings: a: 1 there, 2 here; delete it"
    with pytest.raises(UserError, match=r"other: 0: .*; 5: .*here; and 3 more$"):
        check_same({}, {str(n): n for n in range(9)}, "other")


def test_a_json_file_is_read_or_named(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        read_json(path)
    path.write_text('{"a": "\u00fc"}', "utf-8")
    assert read_json(path) == {"a": "\u00fc"}
    path.write_bytes(b'{"a": "\xfc')
    with pytest.raises(UserError, match=r"a.json: damaged, no JSON \(.*\); delete it$"):
        read_json(path, "delete it")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)$"):
        read_json(tmp_path)
