"""Dataclasses as JSON: what differs, and what is refused because of it."""

import dataclasses
import json

import pytest

from mtujax.common.dataclass_json import check_same, differing_fields, read_json, seal
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


def test_long_lists_are_not_printed():
    videos = [{"name": f"video {n}", "frames": 100} for n in range(30)]
    assert differing_fields({"videos": videos}, {"videos": videos[1:]}) == [
        "videos: not the same"
    ]


def test_a_part_that_was_left_out_differs_as_a_whole():
    assert differing_fields({"a": {"b": {"c": 1}}}, {"a": {"b": None}}) == [
        "a.b: - there, none here",
        "a.b.c: 1 there, - here",
    ]


def test_other_settings_are_refused_with_the_first_of_them_and_the_remedy():
    check_same({"a": (1, 2)}, {"a": [1, 2]}, "run: other settings", "delete it")
    with pytest.raises(UserError) as caught:
        check_same({"a": 1}, {"a": 2}, "run: other settings", "delete it")
    assert str(caught.value) == "run: other settings: a: 1 there, 2 here; delete it"
    with pytest.raises(UserError, match=r"other: 0: .*; 5: .*here and 3 more$"):
        check_same({}, {str(n): n for n in range(9)}, "other")


def test_a_json_file_is_read_or_named(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        read_json(path)
    path.write_text('{"a": "\u00fc"}', "utf-8")
    assert read_json(path) == {"a": "\u00fc"}
    path.write_bytes(b'{"a": "\xfc')
    with pytest.raises(
        UserError, match=r"a.json: damaged, not JSON \(.*\); delete it$"
    ):
        read_json(path, "delete it")
    for text in ("[" * 100_000, "1" * 10_000):
        path.write_text(text)
        with pytest.raises(UserError, match="a.json: damaged, not JSON"):
            read_json(path)
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)$"):
        read_json(tmp_path)


@dataclasses.dataclass(frozen=True)
class Part:
    size: tuple[int, int]

    def __post_init__(self):
        if min(self.size) < 1:
            raise ValueError("size: must be positive")


@dataclasses.dataclass(frozen=True)
class Whole:
    parts: dict[str, tuple[Part, ...]]
    scale: float = 1.0


def test_a_json_file_of_a_kind_is_built_or_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"parts": {"x": [{"size": [1, 2]}]}, "scale": 2}')
    assert read_json(path, kind=Whole) == Whole({"x": (Part((1, 2)),)}, 2.0)
    for text, said in (
        ("[]", "holds a list, not a mapping"),
        ("{}", "parts: is not given"),
        ('{"parts": {"x": [{"size": [1]}]}}', "parts.x.0.size"),
        ('{"parts": {"x": [{"size": [0, 1]}]}}', "size: must be positive"),
        ('{"parts": {}, "scale": ' + "9" * 400 + "}", "scale"),
        ('{"parts": {}, "other": 1}', "other: no such field"),
        ('{"parts": ' + "[" * 10**5, "not JSON"),
        ("9" * 10**4, "not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=f"a.json: damaged.*{said}.*; do it") as e:
            read_json(path, "do it", kind=Whole)
        assert "\n" not in str(e.value)


def test_a_sealed_file_that_was_changed_is_damaged(tmp_path):
    path, values = tmp_path / "a.json", {"parts": {}, "scale": 2.5}
    path.write_text(json.dumps(seal(values)))
    assert read_json(path, kind=Whole, sealed=True) == Whole({}, 2.5)
    for text in (path.read_text().replace("2.5", "2.6"), json.dumps(values), "1"):
        path.write_text(text)
        with pytest.raises(UserError, match="a.json: damaged"):
            read_json(path, kind=Whole, sealed=True)
