"""What can be wrong with a set of tensors, named tensor by tensor."""

import os

import numpy as np

from mtujax.errors import UsageError, UserError


class WeightsError(UserError, ValueError):
    """Weights that cannot be used; the first line says why and what to do."""


class UnknownWeightsError(UsageError, WeightsError):
    """A name that is no bundled weights and no path, or no preset."""


def shape_findings(
    found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> list[str]:
    """Names each missing, unexpected or mis-shaped tensor {name: shape}, one a line."""
    missing = [f"missing {n} {list(expected[n])}" for n in expected if n not in found]
    unexpected = [
        f"unexpected {n} {list(found[n])}" for n in found if n not in expected
    ]
    mis_shaped = [
        f"mis-shaped {n} {list(found[n])}, expected {list(shape)}"
        for n, shape in expected.items()
        if n in found and tuple(found[n]) != tuple(shape)
    ]
    return missing + unexpected + mis_shaped


def finite_findings(tensors: dict[str, np.ndarray]) -> list[str]:
    """Names the tensors that hold NaN or infinity, one line each."""
    return [
        f"{name} holds values that are not finite"
        for name, value in tensors.items()
        if not np.isfinite(value).all()
    ]


def refuse(path: str | os.PathLike, findings: list[str], advice: str = "") -> None:
    """Ends the work if there are findings.

    Args:
        path: the file they are about.
        findings: one line each.
        advice: what to do, appended to the first line.

    Raises:
        WeightsError: about `path`, listing all findings, if there are any.
    """
    if findings:
        count = "1 tensor" if len(findings) == 1 else f"{len(findings)} tensors"
        first = f"{path}: {count} cannot be used{advice}"
        raise WeightsError("\n  ".join([first, *findings]))
