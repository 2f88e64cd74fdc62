"""Who runs with whom, and that nobody waits for long for another."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
import restoring
from restoring import assert_near, decoded, streamed

from mtujax.common.interrupts import Interrupted, stopped_by
from mtujax.deblur import batcher as module, restorer
from mtujax.deblur.batcher import Batcher
from mtujax.deblur.restorer import Restorer
from mtujax.model.tiling import Plan

network = restoring.network


class Device:
    """In place of the network: a step takes a while, and adds one to the state."""

    def __init__(self):
        self.sizes, self.error = [], None

    def __call__(self, model, params, states, windows):
        self.sizes.append(len(states))
        time.sleep(0.005)
        if self.error:
            raise self.error
        return [(s + 1, w) for s, w in zip(states, windows, strict=True)]


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(module, "_LONGEST", 0.2)
    monkeypatch.setattr(module, "run_together", device := Device())
    return device


def video(batcher, name, count, kind="small", pause=0.0, begin=lambda: None):
    """Does the steps of a video; returns the time when it ends."""
    with batcher.lane() as lane:
        begin()
        lane.enter(kind)
        for number in range(count):
            time.sleep(pause)
            found = lane.step(None, None, number, (name, number))
            assert found == (number + 1, (name, number))
    return time.monotonic()


def test_videos_of_one_size_step_together_and_each_gets_its_own(device):
    batcher = Batcher(4)
    with ThreadPoolExecutor(6) as pool:
        kinds = ["small"] * 4 + ["large"] * 2
        given = [(batcher, n, 10 + n, kind) for n, kind in enumerate(kinds)]
        for done in [pool.submit(video, *one) for one in given]:
            done.result()
    assert sum(device.sizes) == sum(range(10, 16)) and {*device.sizes} <= {1, 2, 4}
    assert len(device.sizes) < 0.8 * sum(device.sizes)


def test_who_took_part_is_waited_for_until_it_ends(device, monkeypatch):
    for name in ("_LONGEST", "_SHORTEST"):
        monkeypatch.setattr(module, name, 60)
    batcher, together = Batcher(4), threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        given = [(batcher, n, 10 if n < 2 else 4) for n in range(4)]
        how = {"begin": together.wait}
        for done in [pool.submit(video, *one, **how) for one in given]:
            done.result()
    assert device.sizes == [4] * 4 + [2] * 6


def test_a_slow_video_is_not_waited_for(device):
    batcher = Batcher(3)
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(video, batcher, "slow", 4, pause=0.7)
        quick = [pool.submit(video, batcher, n, 30) for n in range(2)]
        assert max(q.result() for q in quick) < slow.result()
    assert sum(device.sizes) == 64


def test_an_error_of_a_step_is_everybodys_own(device):
    device.error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    batcher = Batcher(2)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(video, batcher, n, 3) for n in range(2)]
        errors = [future.exception() for future in futures]
    assert [str(e) for e in errors] == [str(device.error)] * 2
    assert errors[0] is not errors[1] and type(errors[0]) is type(device.error)


def test_no_more_videos_than_memory_holds_are_under_way(device):
    batcher, inside, most = Batcher(4), [], []
    for _ in range(2):
        with batcher.lane() as lane:
            plan = lane.planned("small", lambda: Plan(None, 40), 100)
        assert plan == Plan(None, 40)

    def counted(name):
        with batcher.lane() as lane:
            lane.enter("small")
            inside.append(name)
            most.append(len(inside))
            lane.step(None, None, 0, ())
            inside.remove(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(counted, range(8)))
    assert max(most) == 2 and len(most) == 8


def test_who_waits_for_a_place_or_a_step_can_be_stopped():
    batcher, stop = Batcher(1), threading.Event()

    def wait():
        with stopped_by(stop), batcher.lane() as lane:
            lane.enter("small")

    with batcher.lane() as first, ThreadPoolExecutor(1) as pool:
        first.enter("small")
        waiting = pool.submit(wait)
        time.sleep(0.1)
        assert not waiting.done()
        stop.set()
        assert isinstance(waiting.exception(), Interrupted)


def test_where_memory_runs_out_fewer_run_at_a_time_and_no_frame_is_lost(
    network, monkeypatch
):
    """Of up to four at once two fit: of each it is noted once."""
    run = module.run_together

    def short(model, params, states, windows):
        if len(states) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return run(model, params, states, windows)

    monkeypatch.setattr(module, "run_together", short)
    monkeypatch.setattr(restorer, "plan", None)
    clips = [[np.roll(f, k, 0) for f in restoring._frames()[:6]] for k in range(4)]
    batcher, notes, together = Batcher(4), [], threading.Barrier(4)

    def restored(clip):
        with batcher.lane() as lane:
            how = {"tile": None, "lane": lane, "on_note": notes.append}
            driven = Restorer(*network, **how)
            together.wait()
            return list(driven.restore(decoded(clip)))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(restored, clips))
    for one, clip in zip(found, clips, strict=True):
        assert_near(one, streamed(network, clip))
    assert {*notes} == {
        "frames of 320x24: out of memory side by side: continues with at most 2 at a "
        "time"
    }
