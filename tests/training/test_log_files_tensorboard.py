"""What a training run writes for TensorBoard, also into a remote folder."""

import io
import struct
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from disks import full_disk
from logs import open_book, train
from places import HELPERS

from mtujax.training import log_files

pytest.importorskip("tensorboardX")


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def book(run, stream):
    """Makes logbooks in one folder."""

    def make(folder=run, **settings):
        return open_book(folder, stream=stream, **settings)

    return make


@pytest.fixture(autouse=True)
def shown_soon(monkeypatch):
    monkeypatch.setattr(log_files, "_SECONDS", dict.fromkeys((False, True), 0.05))


def masked_crc(data):
    """CRC-32C bit by bit, masked as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(data):
    """Event protos of a file, whose framing is checked on the way."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        for part, at in ((data[:8], 8), (body, 12 + length)):
            assert struct.unpack("<I", data[at : at + 4])[0] == masked_crc(part)
        found.append(Event.FromString(body))
        data = data[16 + length :]
    return found


def files(run):
    return [path.read_bytes() for path in sorted((run / "tensorboard").iterdir())]


def scalars(found):
    values = [(e.step, v) for e in found for v in e.summary.value]
    return {(v.tag, step): v.simple_value for step, v in values if not v.image.height}


def test_tensorboard_has_curves_and_images(book, run, rng):
    image = rng.integers(0, 256, (8, 24, 3), dtype=np.uint8)
    rates = {"learning_rate": lambda made: 0.5}
    with book(rates=lambda: rates) as log:
        train(log, [10], 1.5, grad_norm_total=2.0)
        scores = {"psnr": 30.25, "dead_channels": 0.5}
        log.validation(10, scores, {"mug": image})
    found = events(files(run)[0])
    assert found[0].file_version == "brain.Event:2"
    assert scalars(found) == {
        ("loss/deblur", 10): 1.5,
        ("gradient/total", 10): 2.0,
        ("learning_rate/all", 10): 0.5,
        ("skipped", 10): 0.0,
        ("validation/psnr", 10): 30.25,
        ("validation/dead_channels", 10): 0.5,
    }
    (value,) = [v for e in found for v in e.summary.value if v.image.height]
    assert (value.tag, value.image.height, value.image.width) == ("images/mug", 8, 24)
    png = np.frombuffer(value.image.encoded_image_string, np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(png, 1)[..., ::-1], image)


def test_a_run_that_goes_on_has_a_file_of_its_own_that_hides_what_was_lost(book, run):
    from tensorboardX.proto.event_pb2 import SessionLog

    for start in (0, 20):
        with book(start=start) as log:
            train(log, range(start + 10, 41, 10))
    first, second = map(events, files(run))
    assert {step for _, step in scalars(first)} == {10, 20, 30, 40}
    assert {step for _, step in scalars(second)} == {30, 40}
    begins = [e for e in second if e.session_log.status == SessionLog.START]
    assert [e.step for e in begins] == [21]


def test_curves_can_be_looked_at_while_a_run_goes_on(book, run):
    with book() as log:
        train(log, [10])
        wait_for(lambda: scalars(events(files(run)[0])))


def wait_for(found, seconds=30):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_disk_costs_the_curves_and_not_the_run(book, run, stream, capfd):
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    with book() as log:
        train(log, [10])
        with full_disk(20_000):
            log.validation(10, {"psnr": 30.0}, {f"mug {n}": image for n in range(9)})
            wait_for(lambda: "cannot be written" in stream.getvalue())
            train(log, [20])
        log.validation(20, {"psnr": 30.0}, {"mug": image})
    said = [s for s in stream.getvalue().splitlines() if "cannot be written" in s]
    assert said == [f"note: {run}/tensorboard: cannot be written (File too large)"]
    assert len((run / "log.csv").read_text().splitlines()) == 3
    assert capfd.readouterr().err == ""


def test_a_folder_that_cannot_be_made_costs_the_curves_alone(book, run, stream):
    run.mkdir()
    (run / "tensorboard").write_text("mine")
    with book() as log:
        train(log, [10])
    assert stream.getvalue().splitlines()[0] == (
        f"note: nothing is written for TensorBoard, as {run}/tensorboard cannot be "
        "written (Not a directory)"
    )
    assert len((run / "log.csv").read_text().splitlines()) == 2


FAILS = """
import io, sys, numpy as np
sys.path.insert(0, sys.argv[1])
from disks import full_disk
from logs import open_book
image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
with full_disk(20_000), open_book(sys.argv[2]) as log:
    for step in range(10):
        log.validation(step, {"psnr": 30.0}, {"mug": image})
"""


@pytest.mark.slow
def test_a_process_whose_disk_is_full_ends_without_a_traceback(tmp_path):
    words = [sys.executable, "-c", FAILS, str(HELPERS), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("cannot be written (File too large)") == 1


@pytest.mark.parametrize("library", ["tensorboardX", "PIL"])
def test_without_a_library_a_run_goes_on_with_a_note(
    book, run, stream, monkeypatch, library
):
    monkeypatch.setitem(sys.modules, library, None)
    with book() as log:
        train(log, [10])
    assert stream.getvalue().splitlines()[0] == (
        f"note: nothing is written for TensorBoard, as {library} is not installed; it "
        "comes with the extra train"
    )
    assert len((run / "log.csv").read_text().splitlines()) == 2


class Store:
    """A remote store, whose files appear when they are flushed."""

    def __init__(self):
        self.files, self.broken = {}, False

    def directory_check(self, path):
        pass

    def open(self, path):
        store, buffer = self, io.BytesIO()

        class File:
            write = staticmethod(buffer.write)

            def flush(self):
                if store.broken:
                    raise RuntimeError("no\nnetwork")
                store.files[path] = buffer.getvalue()

            close = flush

        return File()


@pytest.fixture
def store(monkeypatch):
    from tensorboardX import record_writer

    monkeypatch.setitem(record_writer.REGISTERED_FACTORIES, "mem", store := Store())
    return store


def test_a_remote_folder_gets_curves_and_no_tables(
    book, store, stream, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with book("mem://bucket/run/") as log:
        train(log, [10], 1.5)
    ((path, data),) = store.files.items()
    assert path.startswith("mem://bucket/run/tensorboard/events.out.tfevents.")
    assert scalars(events(data))["loss/deblur", 10] == 1.5
    assert not list(tmp_path.iterdir())
    assert "no log.csv, no validation.csv there" in stream.getvalue()


def test_a_remote_folder_that_is_away_for_a_while_ends_no_run(book, store, stream):
    store.broken = True
    said = "note: mem://bucket/run/tensorboard: cannot be written (no network)"
    with book("mem://bucket/run") as log:
        train(log, [10])
        wait_for(lambda: said in stream.getvalue())
        train(log, [20])
        store.broken = False
        train(log, [30])
    assert stream.getvalue().splitlines().count(said) == 1
    (data,) = store.files.values()
    assert {step for _, step in scalars(events(data))} == {10, 20, 30}


def test_a_store_that_nothing_can_write_to_is_named(book, stream):
    with book("ftp://host/run") as log:
        train(log, [10])
    assert "as tensorboardX cannot write to ftp://" in stream.getvalue()
    assert "update  10/100: deblur 1.000" in stream.getvalue()
