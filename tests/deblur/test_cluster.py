"""Work on a Ray cluster; most of it needs Ray, and minutes."""

import socket
import sys
import types
from importlib.metadata import version

import cv2
import pytest
from killing import tree
from media_clip import scene

import mtujax.deblur.cluster as cluster_module
from mtujax import deblur_videos
from mtujax.deblur.cluster import _result
from mtujax.errors import UsageError, UserError


@pytest.fixture
def sets(tmp_path):
    """Six folders of frames."""
    for number in range(6):
        (folder := tmp_path / "in" / str(number)).mkdir(parents=True)
        for i, frame in enumerate(scene(8, speed=number)):
            cv2.imwrite(str(folder / f"f{i}.png"), frame[..., ::-1])
    return tmp_path / "in"


@pytest.fixture
def closed_port():
    """A port of this machine on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def refused(sets, tiny, address):
    with pytest.raises(UserError) as caught:
        deblur_videos(sets, sets.parent / "out", weights=tiny, ray=address)
    assert not list((sets.parent / "out").glob("[0-9]"))
    return str(caught.value)


def test_without_ray_the_extra_is_named(sets, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    said = "ray is not installed; pip install 'mtujax[ray]'"
    assert refused(sets, tiny, "local") == said


def test_a_cluster_that_is_not_there_is_one_line(sets, tiny, monkeypatch, closed_port):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace())
    address = f"127.0.0.1:{closed_port}"
    said = refused(sets, tiny, address)
    assert said.startswith(f"ray {address}: ") and "Connection refused; start" in said


def test_a_cluster_of_another_version_is_named_with_what_to_install(
    sets, tiny, monkeypatch
):
    def init(*_, **__):
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.3\n"
            "    Python: 3.11.4\nThis process on node 10.0.0.1 was started with:\n"
            "    Ray: 2.60.0\n    Python: 3.11.4\n"
        )

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=init))
    said = refused(sets, tiny, "auto")
    assert said.startswith("ray auto: Version mismatch: The cluster was started with:")
    assert said.endswith("; install ray==2.9.3 and the same Python as there")


@pytest.mark.parametrize("address", ["", "head", "head:port", "ray://head:1", "a b:1"])
def test_what_is_no_address_is_bad_use(sets, tiny, address):
    with pytest.raises(UsageError, match="give HOST:PORT of a cluster, auto or local"):
        deblur_videos(sets, sets.parent / "out", weights=tiny, ray=address)


def test_a_node_without_a_library_is_one_line():
    class TaskError(Exception):
        cause = RuntimeError(
            "The remote function failed to import on the worker. This may be because\n"
            "Traceback (most recent call last):\n"
            "ModuleNotFoundError: No module named 'mtujax'\n"
        )

    def get(_):
        raise TaskError

    kinds = types.SimpleNamespace(RayTaskError=TaskError, RayError=TaskError)
    ray = types.SimpleNamespace(get=get, exceptions=kinds)
    with pytest.raises(UserError) as caught:
        _result(ray, "auto", None)
    assert str(caught.value) == (
        "ray auto: a node lacks a library (ModuleNotFoundError: No module named "
        "'mtujax'); install mtujax there"
    )


def test_a_process_uses_the_cache_on_disk_whatever_the_weights_are(monkeypatch, tiny):
    used = []
    monkeypatch.setattr(cluster_module.hardware, "use_cache", used.append)
    cluster_module._prepare.cache_clear()
    silent = types.SimpleNamespace(remote=lambda frames: None)
    board, packed = types.SimpleNamespace(add=silent), cluster_module._packed(tiny)
    for task in range(2):
        done = cluster_module._do(
            lambda task, network, progress: (task, network[0]),
            task,
            packed,
            board,
            version("mtujax"),
        )
        assert done == (task, tiny[0])
    assert used == [None]
    cluster_module._prepare.cache_clear()


@pytest.fixture
def cluster():
    """A cluster of three nodes on this machine, of which two work."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.workers = [made.add_node(num_cpus=1) for _ in range(2)]
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_costs_no_video(tmp_path, sets, tiny, cluster):
    (sets / "6.mp4").write_bytes(b"no video")
    done, seen = [], []

    def kill(video):
        done.append(video.output)
        if len(done) == 1:
            cluster.remove_node(cluster.workers[0], allow_graceful=False)

    out = tmp_path / "out"
    found = deblur_videos(
        sets,
        out,
        weights=tiny,
        ray=cluster.address,
        on_video=kill,
        progress=lambda *now: seen.append(now),
    )
    assert [video.frames for video in found] == [8] * 6 + [None]
    assert "6.mp4: cannot be read" in found[6].error
    assert [video.input for video in found[:6]] == [
        str(sets / f"{n}") for n in range(6)
    ]
    assert len(done) == 7 and seen[-1][0] > 0
    alone = tmp_path / "alone"
    deblur_videos(sets, alone, weights=tiny)
    for number in range(6):
        assert tree(out / str(number)) == tree(alone / str(number))
    found = deblur_videos(sets, out, weights=tiny, resume=True)
    assert [video.skipped for video in found] == [True] * 6 + [False]
