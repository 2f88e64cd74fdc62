"""Where a step's time goes: a trace, and the part that each traced operation is of.

A trace names compiled instructions. The compiled program's text gives, for each, the
layer and the functions that it is from. Every moment of a step counts once: shared
by what runs then, or as "idle" if nothing does, so that the parts sum to the whole.
"""

import collections
import pathlib
import re
import tempfile

import jax

PARTS = ("convolutions", "matcher", "warp", "rest", "idle")
"""Parts: convolutions with bias, ReLU and what is fused with them; the matcher; moving
features by the displacement; every other operation; moments at which nothing runs."""

_STEP = "one step"  # how steps are called in the trace
_DERIVED = ("XLA", "Steps", "Framework", "Source", "TensorFlow")  # lines made of others
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = .*?\)?\s([a-z][\w-]*)\(")
_NAMED = re.compile(r'op_name="([^"]*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_BODY = re.compile(r"body=%?([\w.-]+)")
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.-]+)")
_LAYERS = {"Conv.__call__", "UpConv.__call__"}


def parts_of(hlo):
    """The part that each instruction of a compiled program is of.

    Takes the program's text; returns {name: part}. A fusion is of the first part in
    this order that something in it is of: a convolution proper, warp, matcher, a
    convolution's bias and ReLU, rest. What the compiler names no origin of is of the
    loop that it stands in.
    """
    functions, bodies = _functions(hlo), collections.defaultdict(list)
    own, called, current, loops = {}, {}, None, []
    for line in hlo.splitlines():
        if found := _COMPUTATION.match(line):
            current = found[1]
        elif found := _INSTRUCTION.match(line):
            name, opcode = found.groups()
            bodies[current].append(name)
            own[name] = _rank(opcode, line, functions)
            if opcode == "while":
                loops.append((name, _BODY.search(line)[1]))
            if opcode in ("fusion", "call") and (inner := _CALLED.search(line)):
                called[name] = inner[1]

    for loop, body in loops:
        for name in bodies[body]:
            own[name] = own[loop] if own[name] is None else own[name]

    def least(name):
        inner = bodies.get(called.get(name), ())
        ranks = [own[name], *map(least, inner)]
        return min((r for r in ranks if r is not None), default=_RANKS.index("rest"))

    return {name: _RANKS[least(name)] for name in own}


_RANKS = ("convolutions", "warp", "matcher", "convolutions", "rest")


def _rank(opcode, line, functions):
    """Place in `_RANKS` of an instruction by itself; None if unknown."""
    named, frame = _NAMED.search(line), _FRAME.search(line)
    scope = named[1] if named else ""
    asked = functions.get(int(frame[1]), ()) if frame else ()
    if opcode == "convolution" or scope.endswith("/conv_general_dilated"):
        return 0
    if "displace" in asked or "(take_along_axis)" in scope:
        return 1
    if "(match)" in scope or "match" in asked:
        return 2
    if not _LAYERS.isdisjoint(asked):
        return 3
    return 4 if named else None


def _functions(hlo):
    """{stack frame: names of its function and of those that called it}."""
    tables = {"FunctionNames": {}, "FileLocations": {}, "StackFrames": {}}
    table = None
    for line in hlo.splitlines():
        if line in tables:
            table = tables[line]
        elif found := re.match(r"^(\d+) (.*)$", line):
            if table is not None:
                table[int(found[1])] = found[2]
        elif line:
            table = None
    names, places, frames = tables.values()
    of_place = {
        number: names.get(_number("function_name_id", text), "").strip('"')
        for number, text in places.items()
    }
    parents = {n: _number("parent_frame_id", text) for n, text in frames.items()}
    # Some compilers print a parent's number plus one: a frame is never its own parent.
    plus = int(any(parent == number for number, parent in parents.items()))
    found = {0: ()}
    for number in sorted(frames):  # callers come before those they call
        place = of_place.get(_number("file_location_id", frames[number]), "")
        found[number] = (place, *found.get(parents[number] - plus, ()))
    return found


def _number(name, text):
    found = re.search(rf"{name}=(\d+)", text)
    return int(found[1]) if found else 0


def traced(step, steps):
    """Traces `steps` calls of `step`, which waits for its result: `ProfileData`."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    step()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(steps):
                with jax.profiler.TraceAnnotation(_STEP):
                    step()
        (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
        return jax.profiler.ProfileData.from_file(str(file))


def breakdown(profile, parts):
    """Milliseconds of each of `PARTS` in a mean step, with their sum as "whole".

    Takes what `traced` and `parts_of` gave. None if the trace holds no steps or none
    of the program's operations.
    """
    lines = [line for plane in profile.planes for line in _events(plane)]
    windows = [e for line in lines for e in line if e[2] == _STEP]
    devices = [p for p in profile.planes if p.name.startswith("/device:")]
    on_device = [line for plane in devices for line in _events(plane)]
    if any(on_device):  # all that an accelerator does; a host does other things too
        lines = on_device
    else:
        lines = [[e for e in line if e[2] in parts] for line in lines]
    if not windows or not any(lines):
        return None
    pieces = [
        piece
        for line in lines
        for piece in innermost([(a, b, parts.get(name, "rest")) for a, b, name in line])
    ]
    total = collections.Counter(dict.fromkeys(PARTS, 0.0))
    for start, end, _ in windows:
        total.update(shares(pieces, start, end))
    found = {part: total[part] / 1e6 / len(windows) for part in PARTS}
    return {**found, "whole": sum(found.values())}


def _events(plane):
    """(start, end, instruction) in ns of a plane's events, line by line."""
    for line in plane.lines:
        if line.name.startswith(_DERIVED):
            continue
        found = []
        for event in line.events:
            name = dict(event.stats).get("hlo_op", event.name)
            if not event.name.startswith("end: "):
                found.append((event.start_ns, event.start_ns + event.duration_ns, name))
        yield found


def innermost(events):
    """Cuts nested (start, end, part) of one thread into pieces: the inner one counts.

    Takes events in any order; yields pieces in order, none of which overlap.
    """
    open_, now = [], 0.0
    for start, end, part in sorted(events, key=lambda e: (e[0], -e[1])):
        while open_ and open_[-1][0] <= start:
            last, label = open_.pop()
            if last > now:
                yield now, last, label
                now = last
        if open_ and start > now:
            yield now, start, open_[-1][1]
        now = max(now, start)
        open_.append((end, part))
    while open_:
        last, label = open_.pop()
        if last > now:
            yield now, last, label
            now = last


def shares(pieces, begin, end):
    """Splits the time from `begin` to `end` between parts, and "idle" for the rest.

    Takes (start, end, part) of all threads; where several run at once, each gets its
    share of that moment.
    """
    found, edges = collections.Counter(), []
    for start, stop, part in pieces:
        if start < end and stop > begin:
            edges.append((max(start, begin), 1, part))
            edges.append((min(stop, end), -1, part))
    running, now = collections.Counter(), begin
    for at, change, part in [*sorted(edges), (end, 0, "idle")]:
        count = sum(running.values())
        if at > now:
            for label in running if count else ():
                found[label] += (at - now) * running[label] / count
            if not count:
                found["idle"] += at - now
            now = at
        running[part] += change
    return found
