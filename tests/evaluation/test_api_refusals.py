"""What an evaluation refuses: results that do not fit, settings that cannot be."""

import dataclasses
import functools
import shutil

import cv2
import evaluated
import jax
import numpy as np
import pytest
import sets
from evaluated import FORM
from networks import SMALLEST

from mtujax.errors import UsageError, UserError
from mtujax.evaluation.api import evaluate
from mtujax.model.network import MTUNet, init_params

network, gopro, whole = evaluated.network, evaluated.gopro, evaluated.whole
score, made = evaluated.score, evaluated.made


def remove(video, place):
    def change(folder):
        sorted((folder / video).iterdir())[place].unlink()

    return change


def renamed(pattern, but):
    def change(folder):
        for k, file in enumerate(sorted((folder / "GOPR2").iterdir())):
            file.rename(file.with_name(pattern.format(k)))
        (folder / "GOPR2" / pattern.format(but)).unlink()

    return change


def write(name, content):
    def change(folder):
        path = folder / "GOPR2" / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif path.suffix == ".npy":
            path.with_suffix(".png").unlink()
            np.save(path, content)
        else:
            cv2.imwrite(str(path), content)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove("GOPR2", 1), "has 4 frames.* has 5; the first missing is 000048"),
        (remove("GOPR2", -1), "the first missing is 000051"),
        (renamed("x{}.png", 3), "the first missing is x3"),
        (renamed("a{}b.png", 4), "the first missing comes after a3b"),
        (write("new.png", np.zeros((48, 56, 3))), "not one of its frames is new"),
        (write("000047.jpg", np.zeros((48, 56, 3))), "there is 000047.* as well"),
        (lambda folder: shutil.rmtree(folder / "GOPR2"), "GOPR2: missing"),
        (lambda folder: shutil.rmtree(folder), "made: no such folder of results"),
        (
            write("000049.png", np.zeros((48, 60, 3))),
            "000049.png: is 60x48, but.*56x48",
        ),
        (write("000049.png", b"\x89PNG"), "000049.png: "),
        (write("000049.npy", np.zeros((48, 56))), r"npy: is of shape \(48, 56\)"),
        (write("000049.npy", np.zeros((48, 56, 3), int)), "npy: is int64; give uint8"),
        (
            write("000049.npy", np.full((48, 56, 3), 255.0)),
            r"000049.npy: holds values of 255, but floats must be in \[0, 1\]; divide",
        ),
    ],
)
def test_results_that_do_not_fit_are_named(score, made, tmp_path, change, words):
    change(made)
    with pytest.raises(UserError, match=words):
        score(results=made, out=tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()


def test_settings_that_cannot_be_are_refused_before_anything_is_made(
    network, score, whole, gopro, tmp_path
):
    run = functools.partial(evaluate, dataset="gopro", path=gopro, out=tmp_path / "o")
    made = whole[1] / "frames"
    other = dataclasses.replace(SMALLEST, channels=8)
    for changes, words in (
        ({}, "give either weights or results"),
        ({"weights": network, "results": made}, "give either weights or results"),
        (
            {"results": made, "motion": True},
            "motion: frames of another method have none",
        ),
        ({"results": made, "dtype": "bfloat16"}, "results are not computed"),
        ({"weights": network, "protocols": []}, "no protocol is given"),
        ({"weights": network, "protocols": ["psnr"]}, "no protocol 'psnr'"),
        ({"weights": network, "batch": 0}, "batch 0: must be 1 or more"),
        ({"weights": network, "dtype": "int8"}, "int8"),
        (
            {"weights": network, "model": other},
            "^weights: of .*: channels: 4 there, 8 here$",
        ),
        ({"weights": "nothing"}, "unknown weights 'nothing'"),
        ({"weights": network, "split": "val"}, "no split 'val'; it has test"),
        ({"weights": network, "path": tmp_path / "gone"}, "gone: no such folder"),
        ({"weights": network, "path": tmp_path}, "this folder is empty"),
    ):
        with pytest.raises(UserError, match=words):
            run(**changes)
    assert not (tmp_path / "o").exists()


def test_frames_too_small_for_a_protocol_are_named(network, tmp_path):
    root = sets.make(tmp_path, FORM, size=(40, 44))
    run = functools.partial(evaluate, network, dataset="gopro", path=root)
    with pytest.raises(UserError, match="GOPR1: frames of 44x40.*43x43.*--protocol"):
        run(out=tmp_path / "o")
    with pytest.raises(UserError, match="44x40.*motion accuracy, which needs 44x44"):
        run(out=tmp_path / "o", protocols=["rt-paper"], motion=True)


def test_motion_takes_a_network_that_finds_it(gopro, tmp_path):
    model = MTUNet(dataclasses.replace(SMALLEST, motion_compensation=False))
    params = init_params(model, jax.random.key(0))
    with pytest.raises(UsageError, match="has no motion compensation"):
        evaluate(
            (model, params), dataset="gopro", path=gopro, out=tmp_path, motion=True
        )


def test_results_numbered_from_elsewhere_are_taken_in_order(score, made, tmp_path):
    wanted = score(results=made, out=tmp_path / "named")
    for video in ("GOPR2", "GOPR3"):
        for k, file in enumerate(sorted((made / video).iterdir())):
            file.rename(file.with_name(f"{k + 46:06d}.png"))  # the frames begin at 47
    notes = []
    found = score(results=made, out=tmp_path / "moved", on_note=notes.append)
    assert found.protocols == wanted.protocols
    (note,) = notes
    assert "frames of GOPR2 and 1 more videos have other numbers" in note
    (made / "GOPR2" / "000048.png").rename(made / "GOPR2" / "000060.png")
    with pytest.raises(UserError, match="has 5 frames.*has 5; the first missing is 0"):
        score(results=made, out=tmp_path / "torn")
