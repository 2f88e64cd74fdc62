"""What a training run writes for TensorBoard, also into a remote folder."""

import contextlib
import io
import struct
import sys

import cv2
import numpy as np
import pytest
from logs import Clock, full_disk, open_book, train

from mtujax.errors import UserError

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
    clock = Clock()
    with book(clock=clock) as log:
        train(log, [10])
        clock.now += 11
        train(log, [20])
        (data,) = files(run)
        assert {step for _, step in scalars(events(data))} == {10, 20}


def test_a_full_disk_ends_a_run_with_a_line_from_tensorboard_too(book, run):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    log = book()
    with full_disk(5000):
        with pytest.raises(UserError, match="tensorboard: the log cannot be written"):
            log.validation(10, {"psnr": 30.0}, {"mug": image})
            log.close()
    with contextlib.suppress(UserError):
        log._events.close()


def test_without_tensorboardx_a_run_goes_on_with_a_note(book, run, stream, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with book() as log:
        train(log, [10])
    assert stream.getvalue().splitlines()[0] == (
        "note: nothing is written for TensorBoard, as tensorboardX is not installed; "
        "it comes with the extra train"
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
    clock = Clock()
    with book("mem://bucket/run", clock=clock) as log:
        store.broken = True
        for step in (10, 20):
            clock.now += 700
            train(log, [step])
        store.broken = False
        train(log, [30])
    said = "note: mem://bucket/run/tensorboard: cannot be written now (no network)"
    assert stream.getvalue().splitlines().count(said) == 1
    (data,) = store.files.values()
    assert {step for _, step in scalars(events(data))} == {10, 20, 30}


def test_a_store_that_nothing_can_write_to_is_named(book, stream):
    with book("ftp://host/run") as log:
        train(log, [10])
    assert "as tensorboardX cannot write to ftp://" in stream.getvalue()
    assert "update  10/100: deblur 1.000" in stream.getvalue()
