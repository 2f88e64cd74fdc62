"""Which part of the network a traced operation is of, and that no moment is lost."""

import re

import numpy as np
import pytest
from networks import TINY, timed

from benchmarks.speed import speed_trace as trace

SHAPE = (1, 16, 24, 3)


@pytest.fixture(scope="module")
def network():
    return timed(TINY, SHAPE)


def instructions(hlo, opcode):
    """Names of a program's instructions of one kind."""
    found = re.findall(rf"^\s+(?:ROOT )?%?([\w.-]+) = .* {opcode}\(", hlo, re.M)
    assert found
    return found


def test_each_kind_of_operation_is_of_its_part(network):
    hlo = network.compiled.as_text()
    parts = trace.parts_of(hlo)
    kinds = {"convolution": "convolutions", "while": "matcher", "gather": "warp"}
    for opcode, part in kinds.items():
        assert {parts[name] for name in instructions(hlo, opcode)} == {part}
    assert set(parts.values()) == {"convolutions", "matcher", "warp", "rest"}
    assert set(instructions(hlo, "fusion")) < set(parts)


def test_the_parts_of_a_real_trace_sum_to_the_whole(network):
    frame = network.put(np.zeros(SHAPE, np.uint8))

    def step():
        network.wait(network.step(frame))

    profile = trace.traced(step, 2)
    found = trace.breakdown(profile, trace.parts_of(network.compiled.as_text()))
    whole = found.pop("whole")
    assert tuple(found) == trace.PARTS
    assert min(found.values()) >= 0 and sum(found.values()) == pytest.approx(whole)
    assert min(found["convolutions"], found["matcher"], found["warp"]) > 0
    assert trace.breakdown(profile, {}) is None  # of another program


HLO = """HloModule jit_step, is_scheduled=true

FunctionNames
1 "main"
2 "displace"
3 "Conv.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=3}
2 {file_name_id=1 function_name_id=2 line=9}
3 {file_name_id=1 function_name_id=3 line=7}

StackFrames
1 {file_location_id=1 parent_frame_id=%d}
2 {file_location_id=2 parent_frame_id=%d}
3 {file_location_id=3 parent_frame_id=%d}

%%fused_moving (p: f32[4], q: f32[4]) -> f32[4] {
  %%p = f32[4]{0} parameter(0)
  %%chosen = f32[4]{0} select(%%p, %%p, %%p), metadata={op_name="a" stack_frame_id=2}
  ROOT %%both = f32[8]{0} concatenate(%%chosen, %%p), metadata={op_name="a/b"}
}

%%body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %%product = f32[4]{0} fusion(%%t), kind=kCustom, calls=%%nothing_known
  %%known = f32[4]{0} add(%%t, %%t), metadata={op_name="jit(step)/else/add"}
}

ENTRY %%main (x: f32[4]) -> f32[4] {
  %%loop = (s32[], f32[4]{0}) while(%%x), condition=%%c, body=%%body, \
metadata={op_name="jit(step)/jit(match)/while"}
  %%moved = f32[8]{0} fusion(%%x), kind=kLoop, calls=%%fused_moving, \
metadata={op_name="jit(step)/concatenate" stack_frame_id=1}
  %%cudnn = (f32[4]{0}, u8[0]{0}) custom-call(%%x), custom_call_target="__cudnn$conv", \
metadata={op_name="jit(step)/unit_0/conv/conv_general_dilated" stack_frame_id=3}
  %%bias = f32[4]{0} add(%%x, %%x), metadata={op_name="unit_0/add" stack_frame_id=3}
  ROOT %%copy = f32[4]{0} copy(%%x)
}
"""


@pytest.mark.parametrize("parents", [(0, 1, 1), (1, 2, 2)])
def test_the_programs_text_tells_who_asked_for_an_operation(parents):
    """Also where a parent's number is printed plus one."""
    parts = trace.parts_of(HLO % parents)
    assert parts["moved"] == "warp"  # something in it is
    assert parts["loop"] == parts["product"] == "matcher"  # nothing else is known
    assert parts["known"] == "rest"
    assert parts["cudnn"] == parts["bias"] == "convolutions"
    assert parts["copy"] == "rest"


def test_every_moment_counts_once_for_the_innermost_operation(rng):
    """Beside a loop over whole nanoseconds and the events that cover each."""
    threads = []
    for _ in range(3):
        nested = [(10, 60, "a"), (12, 30, "b"), (15, 20, "c"), (30, 41, "b")]
        shift, stretch = rng.integers(0, 40), rng.integers(1, 3)
        threads.append(
            [(shift + stretch * s, shift + stretch * e, p) for s, e, p in nested]
        )
        rng.shuffle(nested)
    begin, end = 5, 150
    wanted = dict.fromkeys(("a", "b", "c", "idle"), 0.0)
    for moment in range(begin, end):
        running = []
        for events in threads:
            open_ = [e for e in events if e[0] <= moment < e[1]]
            if open_:
                running.append(min(open_, key=lambda e: e[1] - e[0])[2])
        for part in running or ["idle"]:
            wanted[part] += 1 / max(len(running), 1)
    pieces = [piece for events in threads for piece in trace.innermost(events)]
    found = trace.shares(pieces, begin, end)
    assert {part: pytest.approx(found[part]) for part in wanted} == wanted
    assert sum(wanted.values()) == pytest.approx(end - begin)
