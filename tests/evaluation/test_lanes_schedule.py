"""Which frame goes through which lane, and when."""

import threading
import time

import numpy as np
import pytest

from mtujax.common.threads import in_order
from mtujax.evaluation.lanes import Place, schedule_steps, share_out, window_ends

LENGTHS = {3: 5, 0: 2, 7: 1, 4: 4, 9: 3}


@pytest.mark.parametrize("lanes", [1, 2, 3, 8])
@pytest.mark.parametrize("lookahead", [0, 2])
def test_every_frame_is_a_target_once_and_comes_in_once(lanes, lookahead):
    plan = list(schedule_steps(LENGTHS, lanes, lookahead=lookahead))
    wanted = {Place(video, k) for video, n in LENGTHS.items() for k in range(n)}
    for kind in ("targets", "fresh"):
        found = [p for m in plan for p in getattr(m, kind) if p is not None]
        assert len(found) == len(wanted) and set(found) == wanted
    assert all(not any(m.targets) for m in plan[:lookahead])
    for lane in range(lanes):
        came = [m.fresh[lane] for m in plan if m.fresh[lane]]
        scored = [m.targets[lane] for m in plan if m.targets[lane]]
        assert came == scored  # in one order, so that a window is a run of what came
        for before, after in zip(scored, scored[1:], strict=False):
            begins = after.frame == 0 and before.frame == LENGTHS[before.video] - 1
            assert begins or after == (before.video, before.frame + 1)


def test_lanes_end_at_about_the_same_time():
    shares = share_out(LENGTHS, 3)
    frames = [sum(LENGTHS[v] for v in share) for share in shares]
    assert sorted(v for share in shares for v in share) == sorted(LENGTHS)
    assert sorted(frames) == [5, 5, 5]
    assert shares == share_out(dict(reversed(LENGTHS.items())), 3)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_window_repeats_the_outermost_frame_of_its_video(count):
    back, ahead = 2, 2
    targets = tuple(Place(5, k) for k in range(count))
    low, high = window_ends(targets, {5: count}, lookback=back, lookahead=ahead)
    for k in range(count):
        places = np.clip(np.arange(back + 1 + ahead), low[k], high[k])
        # What stands at a place is the frame so far from the target.
        frames = k + places - back
        naive = [min(max(k + d, 0), count - 1) for d in (-2, -1, 0, 1, 2)]
        assert list(frames) == naive


def test_an_idle_lane_reads_its_own_frame_only():
    low, high = window_ends((None,), {}, lookback=2, lookahead=1)
    assert (low[0], high[0]) == (2, 2)


def test_results_come_in_order_and_only_a_few_ahead():
    taken, lock = [], threading.Lock()

    def items():
        for k in range(20):
            with lock:
                taken.append(k)
            yield k

    def slow(k):
        time.sleep(0.002 * (k % 3))
        return k * k

    found = in_order(slow, items(), threads=3, ahead=4)
    for k, value in enumerate(found):
        assert value == k * k
        assert len(taken) <= k + 5


def test_an_error_of_one_item_is_raised_where_it_is_taken():
    found = in_order(lambda k: 6 // (3 - k), range(9), threads=2, ahead=3)
    assert [next(found) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(found)
