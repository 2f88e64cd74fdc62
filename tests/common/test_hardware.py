"""The cache of compiled programs: where it is, and what becomes of damage."""

import os
import subprocess
import sys
import warnings

import jax
import pytest

from mtujax.common import hardware
from mtujax.common.hardware import CACHE, default_cache

PROGRAM = """
import warnings
from mtujax.common.hardware import use_cache
warnings.formatwarning = lambda message, *_, **__: f"{message}\\n"
use_cache(None)
{}
import jax
print(float(jax.jit(lambda x: 2 * x)(1.5)))
"""


def compiled(before="", **environment):
    """Standard error of a process that compiles something and keeps it."""
    hidden = ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR")
    kept = {k: v for k, v in os.environ.items() if k not in hidden}
    kept.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{}", before)],
        env=kept | {k: str(v) for k, v in environment.items()},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "3.0\n", done.stderr
    return done.stderr


def test_compiled_programs_are_kept_and_damaged_ones_replaced(tmp_path):
    assert compiled(XDG_CACHE_HOME=tmp_path) == ""
    entries = list((tmp_path / "mtujax" / "jax").iterdir())
    whole = {path: path.stat().st_size for path in entries}
    assert whole
    for path in entries:
        path.write_bytes(path.read_bytes()[:20])  # as when a process was killed
    said = compiled(XDG_CACHE_HOME=tmp_path)
    assert said.count("\n") == 1 and "jax: is damaged; programs are compiled" in said
    assert {path: path.stat().st_size for path in entries} == whole
    assert compiled(XDG_CACHE_HOME=tmp_path) == ""


def test_a_home_where_nothing_can_be_kept_costs_one_line(tmp_path):
    home = tmp_path / "home"
    home.touch()
    said = compiled(HOME=home)
    assert said.count("\n") == 1
    assert f"{home}/.cache/mtujax/jax: compiled programs are not kept (Not" in said


def test_a_disk_that_fills_up_costs_one_line_and_leaves_no_part(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))"
    said = compiled(limit, HOME=tmp_path)
    assert said.count("\n") == 1
    assert "jax: compiled programs are not kept (OSError: [Errno 27] File too" in said
    assert not list((tmp_path / ".cache/mtujax/jax").iterdir())


def test_a_path_that_is_not_absolute_is_no_folder_for_caches():
    assert default_cache({"XDG_CACHE_HOME": "caches"}) == default_cache({}) == CACHE
    assert default_cache({"XDG_CACHE_HOME": "/caches"}) == "/caches/mtujax/jax"


SETTING = "jax_compilation_cache_dir"
VARIABLE = "JAX_COMPILATION_CACHE_DIR"


@pytest.mark.parametrize(
    ("given", "environment", "wanted"),
    [
        (None, None, "default"),
        (None, "", None),
        (None, "theirs", "theirs"),
        ("", None, None),
        ("", "", None),
        ("", "theirs", None),
        ("mine", None, "mine"),
        ("mine", "", "mine"),
        ("mine", "theirs", "mine"),
    ],
)
def test_the_cache_is_where_it_is_said_or_nowhere(
    given, environment, wanted, monkeypatch
):
    settings = {SETTING: "untouched"}
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    monkeypatch.setattr(hardware, "CACHE", "default")
    monkeypatch.setattr(hardware, "_refusal", lambda folder: None)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    if environment is not None:
        monkeypatch.setenv(VARIABLE, environment)
    hardware.use_cache(given)
    assert settings[SETTING] == wanted
