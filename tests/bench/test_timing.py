"""What is timed, how often and until when; never how long it takes."""

import statistics as reference

import jax
import numpy as np
import pytest

from mtujax.bench.timing import (
    STAGES,
    Network,
    latency,
    measure,
    peak_memory,
    ratio,
    statistics,
    timed,
)
from mtujax.common.hardware import cpu_name, load_average, machine
from mtujax.model.stream import Stream

SHAPE = (1, 16, 24, 3)


class FakeClock:
    """Seconds that pass only when somebody says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class FakeSubject:
    """Whose calls return at once and whose device works while it is waited for."""

    def __init__(self, name, clock, seconds, log):
        self.name, self.clock, self.log = name, clock, log
        self.seconds = dict(zip(STAGES, seconds, strict=True))
        self.asked = 0.0

    def ask(self, stage, value):
        self.log.append((self.name, stage))
        self.asked += self.seconds[stage]
        return value

    def put(self, frame):
        return self.ask("host_to_device", ("there", frame))

    def step(self, frame):
        assert frame[0] == "there"
        return self.ask("step", ("restored", frame[1]))

    def get(self, restored):
        assert restored[0] == "restored"
        return self.ask("device_to_host", restored[1])

    def push(self, frame):
        return self.ask("end_to_end", frame)

    def wait(self, value):
        self.clock.now += self.asked
        self.asked = 0.0


@pytest.fixture
def frames(rng):
    return [rng.integers(0, 256, SHAPE, np.uint8) for _ in range(3)]


@pytest.fixture(scope="module")
def network(tiny):
    return Network(*tiny, SHAPE)


def test_a_call_takes_until_its_result_is_there():
    clock = FakeClock()

    def begin():
        clock.now += 1.0
        return "result"

    def wait(result):
        assert result == "result"
        clock.now += 4.0

    assert timed(begin, clock, wait) == ("result", 5.0)
    assert timed(begin, clock) == ("result", 1.0)


def test_each_stage_is_waited_for_and_warm_up_does_not_count():
    clock, log, shown = FakeClock(), [], []
    subject = FakeSubject("a", clock, (0.125, 2.0, 0.25, 3.0), log)
    taken = measure(
        {"a": subject},
        ["f0", "f1"],
        rounds=3,
        warm_up=2,
        clock=clock,
        on_round=lambda *done: shown.append(done),
    )
    assert taken == {
        "a": {
            "host_to_device": [125.0] * 3,
            "step": [2000.0] * 3,
            "device_to_host": [250.0] * 3,
            "end_to_end": [3000.0] * 3,
        }
    }
    assert log == [("a", stage) for stage in STAGES] * 5
    assert shown == [(n, 5) for n in (1, 2, 3, 4, 5)]
    assert clock.now == 100.0 + 5 * 5.375  # nothing passed unseen


def test_subjects_take_turns_and_turns_in_coming_first():
    clock, log = FakeClock(), []
    subjects = {n: FakeSubject(n, clock, (1, 1, 1, 1), log) for n in ("a", "b")}
    measure(subjects, ["frame"], rounds=3, warm_up=0, clock=clock)
    assert [name for name, stage in log if stage == "step"] == list("abbaab")


@pytest.mark.parametrize("count", [1, 2, 7, 30, 101])
def test_percentiles_are_those_of_two_other_libraries(count, rng):
    samples = rng.gamma(2.0, 10.0, count)
    found = statistics(list(samples))
    ours = [found.p50, found.p95, found.p99]
    np.testing.assert_allclose(ours, np.quantile(samples, (0.5, 0.95, 0.99)))
    if count > 1:
        cuts = reference.quantiles(samples, n=100, method="inclusive")
        np.testing.assert_allclose(ours, [cuts[49], cuts[94], cuts[98]])
    assert (found.min, found.max) == (min(samples), max(samples))
    assert found.mean == pytest.approx(reference.fmean(samples))
    assert found.count == count


def test_percentiles_by_hand():
    found = statistics([40.0, 10.0, 30.0, 20.0, 50.0])
    # 4 gaps between 5 samples: 95 % lies 0.8 into the last, 99 % 0.96.
    assert (found.p50, found.p95, found.p99) == pytest.approx((30.0, 48.0, 49.6))
    with pytest.raises(ValueError, match="no samples"):
        statistics([])


def test_what_slows_both_down_leaves_their_ratio():
    assert ratio([2.0, 40.0, 6.0], [1.0, 20.0, 2.0]) == 2.0
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0, 2.0, 3.0])  # not the same rounds


def test_nothing_compiles_while_the_clock_counts(tiny, frames):
    compiled = []

    def listen(event, _, **__):
        if "compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        shape = (1, 20, 28, 3)  # which no other test compiles
        network = Network(*tiny, shape)
        assert compiled
        frames = [np.zeros(shape, np.uint8)]
        measure({"mtujax": network}, frames, rounds=1, warm_up=3)
        compiled.clear()
        measure({"mtujax": network}, frames, rounds=3, warm_up=0)
        assert compiled == []
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_compiling_is_timed_apart(tiny):
    clock = FakeClock()

    class Lowered:
        def compile(self, options):
            assert options is None
            clock.now += 8.0
            return "compiled"

    class Lowers(Stream):
        def lowered(self, shape, dtype):
            assert (shape, dtype) == (SHAPE, np.uint8)
            clock.now += 2.0
            return Lowered()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtujax.bench.timing.Stream", Lowers)
        network = Network(*tiny, SHAPE, clock)
    assert network.preparation == (2.0, 8.0)
    assert network.compiled == "compiled"


def test_what_is_timed_restores_frames_as_a_stream_does(tiny, network, frames):
    stream, frame = Stream(*tiny), frames[0]
    wanted = [r for _ in range(3) for r in stream.push(frame)] + stream.flush()
    for one in wanted:
        restored = network.step(network.put(frame))
        network.wait(restored)
        np.testing.assert_array_equal(network.get(restored), one)


def test_pushing_gives_a_frame_each_time_when_warm(tiny, network, frames):
    ahead = tiny[0].config.lookahead
    given = [network.push(frames[0]) for _ in range(ahead + 2)]
    assert [len(g) for g in given] == [0] * ahead + [1, 1]
    assert isinstance(given[-1][0], np.ndarray) and given[-1][0].shape == SHAPE


def test_a_copy_to_the_host_is_made_anew_each_time(network, frames):
    restored = network.step(network.put(frames[0]))
    first, second = network.get(restored), network.get(restored)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(np.asarray(network.put(frames[0])), frames[0])


def test_memory_is_the_compilers_where_the_device_does_not_tell(network):
    found = peak_memory(network.compiled)
    assert found.device is None  # a CPU
    assert found.bytes == found.compiled > np.prod(SHAPE)
    assert "memory_analysis" in found.source


def test_memory_is_the_devices_where_it_tells(network, monkeypatch):
    class Device:
        def memory_stats(self):
            return {"peak_bytes_in_use": 123, "bytes_in_use": 7}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    found = peak_memory(network.compiled)
    assert (found.bytes, found.device) == (123, 123)
    assert "memory_stats" in found.source and found.compiled > 0


def test_latency_is_the_wait_for_the_frames_ahead_and_the_step():
    assert latency(2, 25.0, 5.0) == 85.0
    assert latency(0, 30.0, 5.0) == 5.0


def test_a_network_of_another_batch_is_timed_too(tiny, rng):
    shape = (2, *SHAPE[1:])
    network = Network(*tiny, shape)
    frame = rng.integers(0, 256, shape, np.uint8)
    assert network.get(network.step(network.put(frame))).shape == shape


def test_the_twin_restores_the_same_frames(tiny, rng, one_torch_thread):
    from mtujax.torch_port.timing import LAYOUTS, Twin
    from mtujax.weights.convert import from_params

    model, params = tiny
    tensors = from_params(params, model.config)
    frames = [rng.integers(0, 256, SHAPE, np.uint8) for _ in range(3)]
    for layout in LAYOUTS:
        twin = Twin(model.config, tensors, SHAPE, layout)
        ours = Network(model, params, SHAPE)
        for frame in frames:
            restored = [s.get(s.step(s.put(frame))) for s in (ours, twin)]
            twin.wait(restored)
            apart = restored[0].astype(int) - restored[1]
            assert np.abs(apart).max() <= 1  # of 255, where rounding tips
            np.testing.assert_array_equal(twin.push(frame), restored[1])


def test_the_machine_is_named(tmp_path):
    found = machine()
    assert found["device"] == "cpu" and found["devices"] == 2 and found["threads"] >= 1
    assert found["jax"] == jax.__version__
    assert {"date", "cpu", "python", "mtujax", "flax", "numpy"} <= set(found)
    assert load_average() is None or load_average() >= 0
    (tmp_path / "proc").mkdir()
    text = "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: other\n"
    (tmp_path / "proc/cpuinfo").write_text(text)
    assert cpu_name(tmp_path) == "AMD EPYC 7B13"
    assert cpu_name(tmp_path / "elsewhere")  # the architecture
