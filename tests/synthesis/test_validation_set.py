"""The fixed validation set: its recipe, its checksums, and what is not it."""

import dataclasses
import hashlib

import cv2
import numpy as np
import pytest
from scenery import waves

from mtujax.errors import UserError
from mtujax.synthesis import validation_set as validation
from mtujax.synthesis.validation_set import (
    Entry,
    checksums,
    make,
    recipe,
    validation_clips,
)
from mtujax.video.image_files import read_image


def test_the_recipe_is_what_the_documentation_says():
    entries, recorded = recipe()
    assert len(entries) == 14 and len({e.photo for e in entries}) == 7
    assert len({e.seed for e in entries}) == len({e.name for e in entries}) == 14
    assert sum(e.noisy for e in entries) == 7
    scores = [recorded[e.name]["psnr"] for e in entries]
    assert 24 < np.mean(scores) < 28 and min(scores) > 20
    assert all(len(recorded[e.photo]["sha256"]) == 64 for e in entries)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A set of two clips of one photograph, with a record of its own."""
    for name, value in dict(FRAMES=3, HEIGHT=48, WIDTH=64).items():
        monkeypatch.setattr(validation, name, value)
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.rint(255 * waves(200, 260)).astype(np.uint8))
    entries = [
        Entry(f"{k}_photo", "photo", 7 + k, 9.0, (0.6, 0.9), k, bool(k)) for k in (0, 1)
    ]
    recorded = {"photo": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
    for entry in entries:
        made = make(entry, read_image(path))
        recorded[entry.name] = {**checksums(made.clip), "psnr": made.psnr}
    monkeypatch.setattr(validation, "recipe", lambda: (entries, recorded))
    return tmp_path, entries, recorded


def test_the_set_comes_out_as_it_was_recorded(small):
    folder, entries, _ = small
    made = list(validation_clips(folder))
    assert [m.entry for m in made] == entries and not any(m.note for m in made)
    assert made[0].clip.sharp.shape == (3, 48, 64, 3)


def test_half_of_it_is_noisy_and_compressed_on_the_blurry_side_only(small):
    folder, entries, _ = small
    photo = read_image(folder / "photo.png")
    noisy = make(entries[1], photo).clip
    clean = make(dataclasses.replace(entries[1], noisy=False), photo).clip
    assert (noisy.blurry != clean.blurry).mean() > 0.3


def test_other_rounding_is_said_and_another_clip_refused(small):
    folder, entries, recorded = small
    told = recorded[entries[0].name]
    told["blurry"] = "0" * 64
    assert "rounds otherwise" in next(validation_clips(folder)).note
    told["psnr"] += 0.2
    with pytest.raises(UserError, match="0_photo: .*it is not the same clip"):
        next(validation_clips(folder))


def test_another_photograph_is_refused_before_anything_is_made(small):
    folder, _, recorded = small
    recorded["photo"]["sha256"] = "0" * 64
    with pytest.raises(UserError, match=r"photo.png: is not the photograph .*000000"):
        next(validation_clips(folder))
    (folder / "photo.png").rename(folder / "other.png")
    with pytest.raises(UserError, match="lacks the photograph photo"):
        next(validation_clips(folder))
