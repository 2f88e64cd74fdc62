"""Work on a Ray cluster; most of it needs Ray, and minutes."""

import socket
import socketserver
import sys
import threading
import types
from importlib.metadata import version

import clusters
import cv2
import pytest
from compared import assert_same_pictures
from killing import tree
from media_clip import scene

import mtujax.deblur.cluster as cluster_module
from mtujax import deblur_videos
from mtujax.deblur.cluster import _next, spread
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
    said = "ray is not installed; in a clone, pip install '.[ray]'"
    assert refused(sets, tiny, "local") == said
    assert not (sets.parent / "out").exists()


def test_a_cluster_that_is_not_there_is_one_line(sets, tiny, monkeypatch, closed_port):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace())
    address = f"127.0.0.1:{closed_port}"
    said = refused(sets, tiny, address)
    assert said.startswith(f"ray {address}: ") and "Connection refused; start" in said
    assert not (sets.parent / "out").exists()


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.0 400 Bad"])
def test_what_listens_but_is_not_ray_is_named(sets, tiny, monkeypatch, greeting):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace())

    class Other(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(greeting)
            self.request.recv(99)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request).start()
        said = refused(sets, tiny, f"127.0.0.1:{server.server_address[1]}")
    assert ": what listens there is not Ray; start one there with" in said
    assert not (sets.parent / "out").exists()


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


def test_a_local_cluster_that_does_not_start_is_one_line(sets, tiny, monkeypatch):
    def init(*_, **__):
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=init))
    assert refused(sets, tiny, "local") == (
        "ray local: The current node timed out during startup; try again with less "
        "other work here, or without Ray"
    )


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
        _next(ray, "auto", iter([None]))
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
            lambda tasks, network, progress: [(tasks, network[0])],
            [task],
            packed,
            board,
            version("mtujax"),
        )
        assert [*done] == [([task], tiny[0])]
    assert used == [None]
    cluster_module._prepare.cache_clear()


@pytest.fixture(scope="module")
def of_two():
    """A cluster of three nodes on this machine, of which two work."""
    with clusters.cluster() as made:
        yield made


@pytest.mark.slow
def test_another_version_of_ray_is_refused_by_ray_itself(
    sets, tiny, monkeypatch, of_two
):
    import ray

    there = ray.__version__
    monkeypatch.setattr(ray, "__version__", "2.9.3")
    said = refused(sets, tiny, of_two.address)
    assert said.startswith(f"ray {of_two.address}: Version mismatch: ")
    assert said.endswith(f"; install ray=={there} and the same Python as there")


@pytest.mark.slow
def test_what_kills_its_process_is_tried_three_times_and_harms_no_other(
    tmp_path, tiny, of_two
):
    def work(tasks, network, progress):
        import os

        for name, marks in tasks.items():
            with open(marks, "a") as file:
                file.write("x")
            if name == "deadly":
                os._exit(1)
            yield name, name.upper()

    names = ["deadly", "a", "b", "c"]  # two for each process
    tasks = {name: str(tmp_path / name) for name in names}
    how = {"again": lambda task: task, "at_once": lambda has_gpu: 2}
    found = spread(of_two.address, tasks, work, tiny, None, **how)
    by_name = {name: (result, error) for name, result, error in found}
    result, error = by_name.pop("deadly")
    assert result is None and error.startswith("its process or node died 3 times (")
    assert by_name == {name: (name.upper(), None) for name in "abc"}
    assert [len((tmp_path / n).read_text()) for n in names] == [3, 1, 1, 1]


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_costs_no_video(tmp_path, sets, tiny, of_two):
    (sets / "6.mp4").write_bytes(b"no video")
    done, seen = [], []

    def kill(video):
        done.append(video.output)
        if len(done) == 1:
            clusters.lose_a_node(of_two)

    out = tmp_path / "out"
    found = deblur_videos(
        sets,
        out,
        weights=tiny,
        batch=2,
        ray=of_two.address,
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
    assert_same_pictures(tree(out), tree(alone))
    found = deblur_videos(sets, out, weights=tiny, resume=True)
    assert [video.skipped for video in found] == [True] * 6 + [False]
