"""Kernels and bytes of a program that XLA has compiled for a GPU, from its text."""

import math
import re

_SHAPE = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")
_LINE = re.compile(r"\s*(ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)")
_NO_KERNEL = {
    *("parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all"),
    *("partition-id", "replica-id", "opt-barrier"),
}
_PARTS = {"slice", "dynamic-slice", "gather"}


def counted(text: str, turns: float = 1) -> dict[str, float]:
    """Counts "kernels" and the "bytes" that they read and write; loops unrolled.

    Of an array of which a kernel takes a part, the part counts. A loop counts as often
    as XLA knows that it runs, one of unknown length `turns` times, and each branch of a
    condition once.
    """
    computations, name = {}, None
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        head = re.match(r"(ENTRY )?%?([\w.-]+) .*\{$", line)
        if head:
            name = "ENTRY" if head[1] else head[2]
            computations[name] = []
        elif name and (found := _LINE.match(line)):
            computations[name].append((*found.groups(), line))
    kernels, moved = _of(computations, "ENTRY", turns)
    return {"kernels": kernels, "bytes": moved}


def _of(computations, name, turns):
    kernels = moved = 0
    sizes = {}
    for _, result, shape, operation, rest, line in computations[name]:
        sizes[result] = _size(shape)
        inner = _called(line, "body", "condition", "to_apply", "calls", "branch")
        if operation in ("while", "call", "conditional", "async-start"):
            known = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            times = int(known[1]) if known else turns if operation == "while" else 1
            for other in inner:
                more = _of(computations, other, turns)
                kernels += more[0] * times
                moved += more[1] * times
        elif operation not in _NO_KERNEL:
            kernels += 1
            operands = re.findall(r"%([\w.-]+)", rest.split("), ")[0])
            given = [sizes.get(operand, 0) for operand in operands]
            body = computations.get(inner[0], []) if operation == "fusion" else []
            moved += _moved(body, given, sizes[result])
    return kernels, moved


def _moved(body, given, made):
    """Bytes of a kernel, where a fusion may read or write only a part of an array."""
    for root, result, _, operation, rest, _ in body:
        names = re.findall(r"%([\w.-]+)", rest.split("), ")[0])
        if operation == "parameter":
            users = [x for x in body if re.search(rf"%{re.escape(result)}\b", x[4])]
            number = int(rest.split(")")[0])
            if users and all(x[3] in _PARTS for x in users):
                read = sum(_size(x[2]) for x in users)
                given[number] = min(given[number], read)
        elif root and operation == "dynamic-update-slice":
            parts = {x[1]: _size(x[2]) for x in body}
            whole = [int(x[4].split(")")[0]) for x in body if x[1] == names[0]]
            made = parts[names[1]]
            if whole:
                given[whole[0]] = 0
    return sum(given) + made


def _called(line, *kinds):
    """Names of the computations that an instruction gives for these kinds."""
    name = r"%[\w.-]+"
    one_or_more = rf"\b(?:{'|'.join(kinds)})\w*=({name}|\{{{name}(?:, {name})*\}})"
    found = re.findall(one_or_more, line)
    return [each[1:] for names in found for each in re.findall(name, names)]


def _size(shape):
    """Bytes of all arrays in a shape's text."""
    return sum(
        math.prod(int(n) for n in sides.split(",") if n)
        * int(kind.strip("bdefprsu") or 8)  # pred
        // 8
        for kind, sides in _SHAPE.findall(shape)
    )
