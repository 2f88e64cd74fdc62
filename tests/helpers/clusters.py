"""A Ray cluster of several nodes on this machine; tests without Ray are skipped."""

import contextlib

import pytest


@contextlib.contextmanager
def cluster(workers=2):
    """Ray's own, of a node without cores and `workers` with one each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    for last in (False, True):  # Ray gives up soon on busy cores
        try:
            made = Cluster(initialize_head=True, head_node_args=head)
            break
        except Exception:
            if last:
                raise
    made.workers = [made.add_node(num_cpus=1) for _ in range(workers)]
    try:
        yield made
    finally:
        made.shutdown()


def lose_a_node(made):
    made.remove_node(made.workers.pop(), allow_graceful=False)
