"""The cache of compiled programs: where it is, and when there is none."""

import jax
import pytest

from mtujax.common import hardware

SETTING = "jax_compilation_cache_dir"
VARIABLE = "JAX_COMPILATION_CACHE_DIR"


@pytest.mark.parametrize(
    ("given", "environment", "wanted"),
    [
        (None, None, "default"),
        (None, "", None),
        (None, "theirs", "untouched"),
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
    monkeypatch.delenv(VARIABLE, raising=False)
    if environment is not None:
        monkeypatch.setenv(VARIABLE, environment)
    hardware.use_cache(given)
    assert settings[SETTING] == wanted
