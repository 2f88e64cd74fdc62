"""What is counted in a program that was compiled for a GPU."""

import subprocess
import sys

from places import ROOT

from benchmarks.helpers.compiled_counts import counted

# 3 turns of a body that reads one row [4] of 8 and adds it, then one more kernel.
PROGRAM = """
HloModule jit_f

%row (all: f32[8,4], at: s32[]) -> f32[4] {
  %all = f32[8,4]{1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %part = f32[1,4]{1,0} dynamic-slice(%all, %at, %zero), dynamic_slice_sizes={1,4}
}

%turn (state: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %state = (s32[], f32[8,4]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%state), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%state), index=1
  %row_fusion = f32[1,4]{1,0} fusion(%x, %n), kind=kLoop, calls=%row
  ROOT %next = (s32[], f32[8,4]{1,0}) tuple(%n, %x)
}

%cond (state.1: (s32[], f32[8,4])) -> pred[] {
  %state.1 = (s32[], f32[8,4]{1,0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (p: f32[8,4]) -> bf16[8,4] {
  %p = f32[8,4]{1,0} parameter(0)
  %start = s32[] constant(0)
  %both = (s32[], /*index=1*/f32[8,4]{1,0}) tuple(%start, %p)
  %loop = (s32[], f32[8,4]{1,0}) while(%both), condition=%cond, body=%turn, \
backend_config={"known_trip_count":{"n":"3"}}
  %out = f32[8,4]{1,0} get-tuple-element(%loop), index=1
  ROOT %half = bf16[8,4]{1,0} copy(%out)
}
"""


def test_loops_are_unrolled_and_parts_of_arrays_counted():
    row, turn = 4 * 4, 3
    expected = turn * (row + 4 + row) + 8 * 4 * (4 + 2)
    assert counted(PROGRAM) == {"kernels": turn + 1, "bytes": expected}


def test_a_loop_of_unknown_length_counts_as_often_as_is_said():
    unknown = PROGRAM.replace("known_trip_count", "nothing")
    assert counted(unknown, 3) == counted(PROGRAM) != counted(unknown)


def test_without_the_compiler_one_line_says_what_is_missing(tmp_path):
    words = [sys.executable, "-m", "benchmarks.gpu.predict", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: " in done.stderr and "is missing; see --help" in done.stderr
