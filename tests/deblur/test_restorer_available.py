"""The memory that is there: of the system, its control groups, an accelerator."""

import jax
import pytest

from mtujax.deblur.restorer import available_bytes, host_bytes
from mtujax.errors import out_of_memory


@pytest.mark.parametrize(
    "error, yes",
    [
        (MemoryError(), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), True),
        (
            jax.errors.JaxRuntimeError(
                "INTERNAL: Error dispatching computation: Out of memory allocating 9"
            ),
            True,
        ),
        (jax.errors.JaxRuntimeError("INTERNAL: something else"), False),
        (ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), True),
        (ValueError("Out of memory"), False),
    ],
    ids=str,
)
def test_what_running_out_of_memory_looks_like(error, yes):
    assert out_of_memory(error) == yes


def test_this_machine_tells_its_memory():
    if not host_bytes():
        pytest.skip("no /proc/meminfo")
    assert 10**7 < host_bytes() < 10**14
    assert available_bytes() > 0


GIB = 2**30


def linux(root, available, cgroup="", **files):
    """A system with so many bytes available, and some control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal: 99 kB\nMemAvailable: {available // 1024} kB\n"
    )
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return root


def test_without_control_groups_it_is_what_the_system_says(tmp_path):
    assert host_bytes(linux(tmp_path, 8 * GIB)) == 8 * GIB
    assert host_bytes(tmp_path / "elsewhere") is None


def test_a_control_group_lowers_it_and_dropped_files_do_not_count(tmp_path):
    files = {
        "job/memory.max": 4 * GIB,
        "job/memory.current": 3 * GIB,
        "job/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file 7\n",
    }
    assert host_bytes(linux(tmp_path, 8 * GIB, "0::/job\n", **files)) == 2 * GIB


def test_a_parents_limit_counts_and_max_is_none(tmp_path):
    files = {
        "memory.max": 5 * GIB,
        "memory.current": 4 * GIB,
        "memory.stat": "",
        "a/memory.max": "max\n",
        "a/memory.current": 1,
        "a/memory.stat": "",
    }
    assert host_bytes(linux(tmp_path, 8 * GIB, "0::/a\n", **files)) == GIB


def test_the_first_version_of_control_groups_is_read_too(tmp_path):
    files = {  # as a container sees it: its own group is the top one
        "memory/memory.limit_in_bytes": 2 * GIB,
        "memory/memory.usage_in_bytes": GIB,
        "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n",
    }
    groups = "5:cpu:/x\n4:memory:/docker/abc\n0::/\n"
    assert host_bytes(linux(tmp_path, 8 * GIB, groups, **files)) == 1.5 * GIB


def test_a_group_over_its_limit_leaves_nothing(tmp_path):
    files = {"memory.max": 1, "memory.current": 2, "memory.stat": ""}
    assert host_bytes(linux(tmp_path, 8 * GIB, "0::/\n", **files)) == 0


@pytest.mark.parametrize(
    "stats, free",
    [
        (None, None),
        ({"bytes_in_use": 1}, None),
        ({"bytes_limit": 9, "bytes_in_use": 2}, 7),
        ({"bytes_limit": 1, "bytes_in_use": 2}, 0),
    ],
)
def test_an_accelerator_tells_its_own(monkeypatch, stats, free):
    class Device:
        platform = "gpu"

        def memory_stats(self):
            return stats

    class Array:
        def devices(self):
            return {Device()}

    monkeypatch.setattr(jax, "device_put", lambda value: Array())
    assert available_bytes() == free
