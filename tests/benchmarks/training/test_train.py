"""The benchmark of the training step runs from end to end."""

import pytest
from measured import quick_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What `--quick` prints and writes."""
    folder = tmp_path_factory.mktemp("results")
    told, printed = quick_run("training.train", folder)
    return printed, told


def test_each_scheme_has_a_row_of_positive_numbers(results):
    printed, told = results
    for kind in ("steps", "made"):
        assert [row["scheme"] for row in told[kind]] == ["release", "paper"]
        for row in told[kind]:
            assert row["mtujax"]["updates_per_s"] > 0
            assert row["memory_mb"] > 0 and row["compile_s"] > 0
    assert printed.count("| mtu1 | float32 | ") == 4
    assert {"date", "device", "jax"} <= told["machine"].keys()


def test_the_twins_step_has_the_same_losses(results):
    """After an update as well, in the release's scheme."""
    pytest.importorskip("torch")
    for row in results[1]["steps"]:
        own = row["losses"]["mtujax"]
        for name in ("twin", "twin channels_last"):
            assert row["losses"][name] == pytest.approx(own, rel=1e-4)
