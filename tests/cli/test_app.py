import dataclasses
import inspect
import io
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from networks import slow

import mtujax.cli.app as command
from mtujax.cli.deblur import deblur, seconds
from mtujax.deblur.api import deblur_video
from mtujax.deblur.output import Options
from mtujax.deblur.videos import deblur_videos
from mtujax.errors import UsageError, UserError


def write_folder(path, count, height=16, width=24):
    path.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for i in range(count):
        cv2.imwrite(str(path / f"f{i}.png"), np.roll(image, i, axis=1))
    return path


# `python -m mtujax`, also where Ctrl-C is ignored, as in a background job of a shell.
_COMMAND = """
import signal
from mtujax.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


_START = [sys.executable, "-c", _COMMAND]


def start(*words):
    return subprocess.Popen(
        [*_START, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words):
    """(status, stdout, stderr) of the command in this process."""
    with pytest.raises(SystemExit) as stop:
        command.main([str(word) for word in words])
    return stop.value.code


def one_line(text):
    return text.startswith("mtujax: error: ") and text.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", slow("latin-1"), slow("utf-8")])
def test_a_folder_becomes_a_video_through_the_real_process(
    tmp_path, weights_file, encoding
):
    """What the terminal's encoding lacks is escaped."""
    source, output = write_folder(tmp_path / "in", 4, 3, 5), tmp_path / "клип.mp4"
    done = subprocess.run(
        [*_START, "deblur", source, output, "--weights", weights_file],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode(encoding)
    said = "клип" if encoding == "utf-8" else r"\u043a\u043b\u0438\u043f"
    assert "device: cpu" in out and "tiny.safetensors" in out
    assert "note: odd size 5x3" in out and f"{said}.mp4: 4 frames of 5x3" in out
    assert sorted(os.listdir(tmp_path)) == ["in", "клип.mp4"]


@pytest.mark.parametrize(
    "sign, status",
    [slow("SIGINT", 130), slow("SIGTERM", 143)],
)
def test_interrupts_leave_nothing_broken_and_resume_goes_on(
    tmp_path, weights_file, sign, status
):
    source = write_folder(tmp_path / "in", 700)
    words = ("deblur", source, tmp_path / "out", "--weights", weights_file)
    process = start(*words)
    for _ in range(1200):
        if list(tmp_path.glob("out.part/frames/f260.png")):
            break
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(getattr(signal, sign))
    _, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert error.startswith("mtujax: error: interrupted; ") and one_line(error)
    assert "--resume continues" in error
    assert sorted(os.listdir(tmp_path)) == ["in", "out.part"]
    process = start(*words, "--resume")
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    assert "resumes after" in out and "700 frames" in out
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    assert len(os.listdir(tmp_path / "out")) == 700


def test_raw_frames_go_through_pipes_and_words_go_to_stderr(tmp_path, weights_file):
    frames = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), np.uint8)
    words = [*_START, "deblur", "-", "-", "--weights", str(weights_file)]
    done = subprocess.run(
        [*words, "--size", "16x12", "--rate", "25"],
        input=frames.tobytes() + b"left over",
        capture_output=True,
        timeout=120,
    )
    said = done.stderr.decode()
    assert done.returncode == 0 and len(done.stdout) == frames.nbytes
    assert "device: cpu" in said and "5 frames of 16x12" in said
    assert "the last 9 bytes" in said


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_is_one_line(weights_file):
    words = [*_START, "deblur", "-", "-", "--weights", str(weights_file)]
    process = subprocess.Popen(
        [*words, "--size", "16x12", "--rate", "25"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    process.stdin.write(bytes(16 * 12 * 3 * 5))
    process.stdin.close()
    with process.stderr:
        said = process.stderr.read().decode()
    assert process.wait(timeout=120) == 1
    assert "mtujax: error: -: broken pipe, the reader closed it" in said


@pytest.mark.parametrize(
    "words, said",
    [
        ("", "Missing command"),
        ("debur a b", "No such command 'debur'"),
        ("deblur", "Missing argument"),
        ("deblur a", "Missing argument"),
        ("deblur a b c", "unexpected extra argument (c); of many videos, give --to"),
        ("deblur --to out", "Missing argument 'INPUT"),
        ("deblur - --to out", "-: a pipe has no name"),
        (
            "deblur pyproject.toml --to out --shard 4/3",
            "shard '4/3': give N/M, as 3/16",
        ),
        (
            "deblur pyproject.toml --to out --batch many",
            "batch 'many': give a whole number, or auto",
        ),
        ("deblur a b.mp4 --batch 2", "--batch 2: is for many videos; give --to"),
        ("deblur a b.mp4 --shard 1/3", "--shard 1/3: is for many videos; give --to"),
        ("deblur a b.mp4 --ray auto", "--ray auto: is for many videos; give --to"),
        ("deblur pyproject.toml --to out --ray a:b", "ray 'a:b': give HOST:PORT"),
        ("deblur a --to out --save-motion m.mp4", "--save-motion: is for one video"),
        ("deblur pyproject.toml --to out --crf 99", "crf 99: H.264 takes 0 to 51"),
        ("deblur a b --weight x", "--weights"),
        ("deblur a b --scene-threshold x", "--scene-threshold"),
        ("deblur a b --start 1:99", "--start 1:99"),
        ("deblur a b --end noon", "--end noon"),
        ("deblur a b --dtype float8", "dtype 'float8': did you mean float"),
        ("deblur a b.mp4 --codec h265", "unknown codec 'h265'"),
        ("deblur a b.mp4 --codec vp9 --crf 70", "crf 70: VP9 takes 0 to 63"),
        ("deblur a b.mp4 --codec h264 --preset fats", "did you mean fast"),
        ("deblur a b.mp4 --compare both", "one of side, wipe, diff"),
        ("deblur a b.mp4 --save-motion m.png", "save_motion m.png: a video file"),
        ("deblur a b.mp4 --save-motion b.mp4", "is the input or output itself"),
        ("deblur a b.mp4 --tile big", "size 'big'"),
        ("deblur a b.mp4 --tile 8x8", "tile 8x8: at least"),
        ("deblur a b.mp4 --tile 66x64", "tile 66x64: sides must be multiples of 4"),
        ("deblur a b/ --crf 20", "is no video file"),
        ("deblur - b.mp4", "give --size 640x360 and --rate 30"),
        ("deblur - b.mp4 --size 640 --rate 30", "640"),
        ("deblur - b.mp4 --size 8x8 --rate fast", "fast"),
        ("deblur - b.mp4 --size 8x8 --rate 30 --resume", "a pipe cannot be read again"),
        ("deblur pyproject.toml b.mp4 --rate 30", "has a rate of its own"),
        ("deblur a b.png", "b.png: a single image"),
        (
            "deblur a b.mpeg4",
            "b.mpeg4: .mpeg4 is not a video format that can be written (.mp4, ",
        ),
        ("convert pyproject.toml b.pth", "b.pth: the name of such a file ends in"),
        ("bench --weights mtu2.pytorch", "a PyTorch checkpoint; run `mtujax convert"),
        ("data show photos tests b.bmp", "b.bmp: a picture, one of .png, .jpg"),
    ],
)
def test_bad_use_is_one_line_and_status_2(capsys, words, said):
    assert run(*words.split()) == 2
    out, error = capsys.readouterr()
    assert one_line(error) and said in error and not out


def test_bad_use_is_one_line_in_the_real_process():
    process = start("deblur", "a", "b", "--owerwrite")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert one_line(error) and "--overwrite" in error


def test_unknown_weights_are_bad_use_and_a_missing_file_is_not(capsys, tmp_path):
    source = write_folder(tmp_path / "in", 1)
    cases = [
        (source, "mtu2x", 2, "mtu2x"),
        (source, "gone.safetensors", 1, "gone.safetensors: no such file"),
        (tmp_path / "gone.mp4", "fast", 1, "gone.mp4: no such file"),
    ]
    for path, weights, status, said in cases:
        words = ("deblur", path, tmp_path / "out", "--weights", weights)
        assert run(*words) == status
        out, error = capsys.readouterr()
        assert one_line(error) and said in error and not out
    assert os.listdir(tmp_path) == ["in"]


def test_what_is_refused_is_all_that_is_said(capsys, tmp_path, weights_file):
    source = write_folder(tmp_path / "in", 3, 3, 5)  # of which there is a note
    left = write_folder(tmp_path / "left", 1)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    damaged = write_folder(tmp_path / "damaged", 1)
    (image,) = damaged.iterdir()
    image.write_bytes(image.read_bytes()[:-30])
    os.mkfifo(pipe := tmp_path / "pipe.mp4")
    for words, said in (
        ((source, left), "left: exists already"),
        ((source, pipe), "pipe.mp4: is a pipe, and is not replaced; name another, or "),
        ((source, tmp_path / "out.mp4", "--start", 5), "no frame between 5 and the"),
        ((damaged, tmp_path / "out"), image.name),
        ((tmp_path / "bad.mp4", tmp_path / "out.mp4"), "bad.mp4"),
    ):
        assert run("deblur", *words, "--weights", weights_file) == 1
        out, error = capsys.readouterr()
        assert one_line(error) and said in error and not out
        assert ("give - to write raw frames to standard output" in error) == (
            pipe in words
        )
    assert run("deblur", source, source) == 2
    assert "output and input are the same" in capsys.readouterr().err


def test_many_videos_by_one_command_fail_one_by_one(
    capsys, tmp_path, weights_file, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_folder(tmp_path / "in" / name, 2)
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video")
    words = ("deblur", "in", "--to", "out", "--weights", weights_file)
    assert run(*words) == 1
    out, error = capsys.readouterr()
    assert "3 videos to restore" in out and "| out/a | 2 |" in out
    failed, last = error.splitlines()
    assert failed.startswith("failed: in/bad.mp4: ")
    assert last.startswith("mtujax: error: out: 1 of 3 videos failed; ")
    os.remove("in/bad.mp4")
    assert run(*words, "--resume") == 0
    out, error = capsys.readouterr()
    assert "0 videos to restore, 2 done" in out and not error
    assert run(*words) == 1
    assert "--resume continues, and skips" in capsys.readouterr().err


def test_errors_of_libraries_are_one_line_and_bugs_keep_their_traceback(
    capsys, monkeypatch
):
    def fails(error):
        def list_weights():
            raise error

        monkeypatch.setattr("mtujax.weights.bundled", list_weights)
        return run("weights")

    full = type("XlaRuntimeError", (RuntimeError,), {})("RESOURCE_EXHAUSTED: 9 GiB")
    for error, said in (
        (OSError(28, "No space left on device"), "No space left"),
        (MemoryError(), "out of memory"),
        (full, "out of memory"),
        (cv2.error("bad\nimage"), "image library: bad image"),
        (UserError("a\n b.mp4: no such file"), "a b.mp4: no such file"),
    ):
        assert fails(error) == 1
        printed = capsys.readouterr().err
        assert one_line(printed) and said in printed
    with pytest.raises(ZeroDivisionError):
        monkeypatch.setattr("mtujax.weights.bundled", lambda: 1 / 0)
        command.main(["weights"])


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys, mtujax.__main__ as m\n"
        "try: m.main(['--version'])\n"
        "finally: print({'jax', 'av', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("mtujax 0.") and "set()" in done.stdout


@pytest.mark.parametrize(
    "words, said",
    [
        ("deblur gone.mp4 out.mp4", "gone.mp4: no such file or folder"),
        ("deblur gone.mp4 out.mp4 --crf 99", "crf 99: H.264 takes 0 to 51"),
        ("deblur gone.mp4 --to out", "gone.mp4: no such file or folder"),
        ("report gone.json --out out", "gone.json: no such file or folder"),
    ],
)
def test_mistakes_in_names_and_options_are_reported_before_jax_is_loaded(words, said):
    code = (
        "import sys, mtujax.__main__ as m\n"
        f"try: m.main({words.split()!r})\n"
        "finally: print({'jax', 'flax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert one_line(done.stderr) and said in done.stderr
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", ["deblur", "demo", "convert", "weights"])
def test_every_command_has_help(capsys, name):
    assert run(name, "--help") == 0
    assert "Usage: mtujax" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["train", "eval"])
def test_training_and_evaluation_are_commands_too(name, tmp_path):
    """Outside the clone, where no folder `configs` is near."""
    words = [sys.executable, "-m", "mtujax", name]
    rest = dict(cwd=tmp_path, capture_output=True, text=True)
    helped = subprocess.run([*words, "--help"], **rest)
    assert helped.returncode == 0 and not helped.stderr
    assert helped.stdout.startswith(f"Usage: mtujax {name} [")
    assert "\n  mtu2 " in helped.stdout  # a configuration, by its name
    flags = ["--config=smoke", "--config.batch=0", "--weights=fast"]
    done = subprocess.run([*words, *flags[: 2 + (name == "eval")]], **rest)
    assert done.returncode == 2
    assert done.stderr == "mtujax: error: batch 0: must be 1 or more\n"


def test_times_are_seconds_or_clock_times():
    found = [seconds("--start", t) for t in ("12.5", "1:02", "00:01:02.5")]
    assert found == [12.5, 62, 62.5]


def test_only_a_folder_of_frames_starts_at_a_number(tmp_path):
    for name, file in (("frames", "a.PNG"), ("clips", "a.mp4")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    assert seconds("--start", "1:02", str(tmp_path / "clips")) == 62
    with pytest.raises(UsageError, match="--start 1:02: for a folder, give a frame"):
        seconds("--start", "1:02", str(tmp_path / "frames"))


def test_deblur_has_the_options_of_the_function_with_its_defaults():
    function = inspect.signature(deblur_video).parameters
    command_line = dict(inspect.signature(deblur).parameters)
    del command_line["context"]  # the parser's
    of_code_only = {"segment_frames", "progress", "on_start", "on_note", "on_video"}
    paths = {"input", "output", "inputs", "folder", "to"}
    of_many = {"shard", "ray", "batch"}
    assert set(command_line) - paths - of_many == set(function) - of_code_only - paths
    many = dict(inspect.signature(deblur_videos).parameters)
    of_one = {"save_motion", "size", "rate"}
    left = (set(function) | of_many | {"on_video"}) - of_one
    assert set(many) - paths == left - paths
    for name in set(many) & set(function):
        assert many[name].default == function[name].default
    for name in paths & set(command_line):
        del command_line[name]
    for name in of_many:
        assert command_line.pop(name).default == many[name].default
    chosen = {field.name: field.default for field in dataclasses.fields(Options)}
    assert set(chosen) <= set(command_line)
    for name, parameter in command_line.items():
        assert parameter.default == function[name].default
        assert chosen.get(name, parameter.default) == parameter.default


def test_a_data_set_is_checked_through_the_real_process(tmp_path, capsys):
    for side in ("blur", "sharp"):
        folder = tmp_path / "set" / "train" / "walk" / side
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(folder, 3)
    process = start("data", "check", "pairs", tmp_path / "set")
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "") and "3" in out
    (tmp_path / "set" / "train" / "walk" / "sharp" / "f1.png").unlink()
    assert run("data", "check", "pairs", tmp_path / "set") == 1
    assert "f1.png" in "".join(capsys.readouterr())
    assert run("data", "check", "gopor", tmp_path) == 2


@pytest.mark.slow
def test_a_second_start_takes_what_the_first_one_compiled(tmp_path):
    folder = write_folder(tmp_path / "in", 3)
    off = ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR")
    environment = {k: v for k, v in os.environ.items() if k not in off}
    environment["HOME"] = str(tmp_path)

    def kept():
        words = ["deblur", folder, tmp_path / "out", "--overwrite"]
        subprocess.run([*_START, *map(str, words)], check=True, env=environment)
        return {p.name for p in (tmp_path / ".cache/mtujax/jax").glob("*-cache")}

    first = kept()
    assert first and kept() == first


def test_a_name_that_is_no_text_is_printed_as_its_bytes(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.mp4"
    done = subprocess.run([*_START, "deblur", name, "out.mp4"], capture_output=True)
    assert done.returncode == 1
    assert done.stderr == b"mtujax: error: " + name + b": no such file or folder\n"


@pytest.mark.parametrize("words", ["--help", slow("bench --help"), "weights"])
def test_help_and_lists_are_printed_in_ascii(words, monkeypatch, capsys):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, "ascii"))
    assert run(*words.split()) == 0
    sys.stdout.flush()
    assert printed.getvalue().isascii() and len(printed.getvalue()) > 100
    assert not capsys.readouterr().err
