import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import saving
from networks import slow
from saving import EXTRA, save_all
from states import assert_same, bits, leaves, like, make_state

from mtujax.errors import UserError
from mtujax.training.checkpoints import Checkpoints

two, copy = saving.two, saving.copy
READS = ocp.args.Composite(state=ocp.args.StandardRestore())


@pytest.mark.parametrize("scheme", ["paper", "release"])
def test_what_is_restored_is_bit_for_bit_what_was_saved(tmp_path, scheme):
    state = make_state(1, scheme)
    with Checkpoints(str(tmp_path)) as checkpoints:
        checkpoints.save(3, state, EXTRA, psnr=31.25)
    with Checkpoints(str(tmp_path)) as checkpoints:
        found = checkpoints.restore(like(scheme))
    assert_same(found.state, state)
    assert all(isinstance(x, jax.Array) for x in leaves(found.state))
    assert (found.step, found.extra, found.psnr) == (3, EXTRA, 31.25)
    assert found.notes == ()


def test_an_empty_folder_gives_nothing(tmp_path):
    with Checkpoints(str(tmp_path / "new" / "folder")) as checkpoints:
        assert checkpoints.restore(like()) is None
        assert checkpoints.steps() == [] and checkpoints.best_step() is None


def test_the_state_may_change_as_soon_as_it_is_handed_over(tmp_path):
    state = jax.tree.map(jnp.array, make_state(1))
    expected = make_state(1)
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0)
    with Checkpoints(str(tmp_path)) as checkpoints:
        checkpoints.save(1, state, EXTRA)
        step(state)
        ours = make_state(2)
        checkpoints.save(2, ours, EXTRA)
        for leaf in leaves(ours):
            leaf[...] = 0
        checkpoints.wait()
        assert_same(checkpoints.restore(like(), 1).state, expected)
        assert_same(checkpoints.restore(like(), 2).state, make_state(2))


def test_a_restored_state_is_fit_for_all_devices_at_once(tmp_path):
    tree = {"a": np.arange(3, dtype=np.float32), "n": np.int32(5)}
    with Checkpoints(str(tmp_path)) as checkpoints:
        checkpoints.save(1, tree, EXTRA)
        checkpoints.wait()
        found = checkpoints.restore(tree).state
    assert jax.device_count() == 2

    def step(tree, x):
        return jax.tree.map(lambda a: a + 1, tree), jax.lax.psum(x, "d")

    mapped = jax.pmap(
        step, "d", in_axes=(None, 0), out_axes=(None, None), donate_argnums=0
    )
    after, _ = mapped(found, np.ones(2))
    np.testing.assert_array_equal(after["a"], [1, 2, 3])
    assert int(after["n"]) == 6


def test_the_latest_the_periodic_and_the_best_stay(tmp_path):
    rated = {1: 30.0, 2: None, 3: 33.5, 4: None, 6: 33.5, 7: None, 8: 31.0, 9: None}
    options = {"latest": 2, "every": 4, "best": 1}
    state, seen = {"x": np.zeros(2)}, []
    with Checkpoints(str(tmp_path), **options) as checkpoints:
        for step, psnr in rated.items():
            seen.append(step)
            checkpoints.save(step, state, {}, psnr=psnr)
            checkpoints.wait()
            tied = [s for s in seen if rated[s] is not None]
            best = max(tied, key=lambda s: (rated[s], s))
            stay = {s for s in seen if s in seen[-2:] or s % 4 == 0 or s == best}
            assert checkpoints.steps() == sorted(stay)
            assert checkpoints.best_step() == best
    with Checkpoints(str(tmp_path), **options) as checkpoints:
        assert checkpoints.steps() == [4, 6, 8, 9]
        assert checkpoints.best_step() == 6
        assert checkpoints.restore(state, "best").step == 6


@pytest.mark.parametrize("psnr", [None, float("nan"), float("inf")])
def test_without_a_psnr_none_is_the_best(tmp_path, psnr):
    state = {"x": np.zeros(2)}
    with Checkpoints(str(tmp_path)) as checkpoints:
        for step in range(1, 4):
            checkpoints.save(step, state, {}, psnr=psnr)
        checkpoints.wait()
        assert checkpoints.steps() == [2, 3] and checkpoints.best_step() is None
        with pytest.raises(UserError, match="no checkpoint was validated"):
            checkpoints.restore(state, "best")


def test_what_is_not_there_is_named_with_what_is(two):
    with Checkpoints(str(two)) as checkpoints:
        with pytest.raises(UserError, match="no checkpoint 15; there are 10, 20"):
            checkpoints.restore(like(), 15)


def test_the_same_number_is_saved_once(tmp_path):
    with Checkpoints(str(tmp_path)) as checkpoints:
        checkpoints.save(5, make_state(1), {"first": True})
        checkpoints.save(5, make_state(2), {"first": False})
        checkpoints.wait()
        checkpoints.save(5, make_state(2), {"first": False})
        found = checkpoints.restore(like())
    assert_same(found.state, make_state(1))
    assert found.extra == {"first": True}


def test_a_run_must_not_go_back_behind_its_newest_checkpoint(two):
    with Checkpoints(str(two)) as checkpoints:
        with pytest.raises(UserError, match="newer checkpoint, 20, than 15"):
            checkpoints.save(15, make_state(), EXTRA)
        assert checkpoints.steps() == [10, 20]


def flipped(data):
    middle = len(data) // 2
    return (
        data[:middle] + bytes(x ^ 0x10 for x in data[middle:][:1]) + data[middle + 1 :]
    )


DAMAGES = {
    "deleted": lambda data: None,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "garbage": lambda data: np.random.default_rng(0).bytes(len(data)),
    "flipped": flipped,
}


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", slow("deleted"), slow("empty"), slow("garbage")]
)
def test_any_damage_to_the_latest_is_noticed_or_harmless(copy, capfd, damage):
    """Each file in turn: what comes back is a whole state, told aloud."""
    fell_back = set()
    for file in sorted(p for p in (copy / "20").rglob("*") if p.is_file()):
        data = file.read_bytes()
        left = DAMAGES[damage](data)
        file.unlink() if left is None else file.write_bytes(left)
        with Checkpoints(str(copy), read_only=True) as checkpoints:
            found = checkpoints.restore(like())
        file.write_bytes(data)
        assert_same(found.state, make_state(found.step))
        assert found.extra["batches"] == found.step
        if found.step == 10:
            (note,) = found.notes
            assert f"{copy}/20: is damaged (" in note and "\n" not in note
            fell_back.add(file.relative_to(copy / "20").parts[0])
        else:
            assert found.notes == ()
    assert fell_back >= {"state", "about"}
    assert capfd.readouterr().err == ""


def test_after_falling_back_the_damaged_one_makes_way(copy):
    (copy / "20" / "about" / "metadata").write_text("{")
    with Checkpoints(str(copy)) as checkpoints:
        assert checkpoints.restore(like()).step == 10
        checkpoints.save(15, make_state(15), EXTRA)
        checkpoints.wait()
        assert checkpoints.steps() == [10, 15]
    with Checkpoints(str(copy)) as checkpoints:
        assert_same(checkpoints.restore(like()).state, make_state(15))
        checkpoints.save(20, make_state(21), EXTRA)
        checkpoints.wait()
        assert_same(checkpoints.restore(like()).state, make_state(21))


def test_one_that_is_damaged_does_not_push_a_whole_one_out(copy):
    (copy / "20" / "about" / "metadata").unlink()
    with Checkpoints(str(copy), latest=2) as checkpoints:
        checkpoints.restore(like())
        checkpoints.save(30, make_state(30), EXTRA)
        checkpoints.wait()
        assert checkpoints.steps() == [10, 30]


def test_if_none_can_be_read_the_folder_is_named_with_the_way_out(copy):
    for step in (10, 20):
        shutil.rmtree(copy / str(step) / "state")
    with Checkpoints(str(copy)) as checkpoints:
        with pytest.raises(UserError, match="no checkpoint in it can be read") as told:
            checkpoints.restore(like())
    assert str(told.value).startswith(str(copy)) and "\n" not in str(told.value)
    assert "use a new run directory" in str(told.value)


def test_one_that_is_asked_for_by_its_number_is_not_replaced_by_another(copy):
    (copy / "20" / "about" / "metadata").write_text("{")
    with Checkpoints(str(copy)) as checkpoints:
        with pytest.raises(UserError, match="20: damaged .*there are 10, 20"):
            checkpoints.restore(like(), 20)


def test_what_a_killed_process_left_unfinished_is_passed_over_and_cleaned(copy):
    unfinished = copy / "30.orbax-checkpoint-tmp"
    shutil.copytree(copy / "20", unfinished)
    with Checkpoints(str(copy), read_only=True) as checkpoints:
        checkpoints.restore(like())
    assert unfinished.exists()  # it might be the work of a run that is going on
    with Checkpoints(str(copy)) as checkpoints:
        found = checkpoints.restore(like())
        assert found.step == 20
        assert found.notes == (f"{copy}/30: is incomplete, skipped",)
        checkpoints.save(30, make_state(30), EXTRA)
    assert not unfinished.exists()
    with Checkpoints(str(copy)) as checkpoints:
        found = checkpoints.restore(like())
    assert_same(found.state, make_state(30))
    assert found.notes == ()


def test_a_state_of_another_structure_is_told_leaf_by_leaf(two):
    with Checkpoints(str(two)) as checkpoints:
        with pytest.raises(UserError, match="another network or optimiser") as told:
            checkpoints.restore(like("paper"))
        assert "missing opt_state/total/" in str(told.value)
        assert " more" in str(told.value) and "\n" not in str(told.value)
        wider = like().replace(step=jax.ShapeDtypeStruct((2,), jnp.int32))
        with pytest.raises(UserError, match=r"mis-shaped step \[\], expected \[2\]$"):
            checkpoints.restore(wider)
        other = like().replace(step=jax.ShapeDtypeStruct((), jnp.float32))
        with pytest.raises(UserError, match="step is int32, expected float32$"):
            checkpoints.restore(other)


@pytest.mark.parametrize("other", [1, 3])
def test_a_format_of_another_version_is_told(tmp_path, monkeypatch, other):
    monkeypatch.setattr("mtujax.training.state_files.FORMAT", other)
    save_all(tmp_path, (1,))
    monkeypatch.undo()
    told = f"1: of format {other}, this version reads 2; use the mtujax that wrote it"
    with pytest.raises(UserError, match=told):
        Checkpoints(str(tmp_path))
    with Checkpoints(str(tmp_path), read_only=True) as checkpoints:
        with pytest.raises(UserError, match=told):
            checkpoints.restore(like())


def test_orbax_alone_opens_a_checkpoint(two):
    """Whoever has no mtujax gets nested dictionaries, with nothing of ours in them."""
    with ocp.StandardCheckpointer() as plain:
        tree = plain.restore(two / "20" / "state")
    with ocp.CheckpointManager(two) as manager:
        assert manager.latest_step() == 20
        again = manager.restore(10, args=READS)["state"]
    for found, step in ((tree, 20), (again, 10)):
        expected = make_state(step)
        for part in ("params", "ema"):
            assert_same(found[part], getattr(expected, part))
        assert_same(found["step"], expected.step)
        for part in (expected.opt_state, expected.scale):
            assert set(bits(part)) <= set(bits(found))
        assert len(leaves(found)) == len(leaves(expected))


def test_the_first_after_each_multiple_is_kept_for_good(tmp_path):
    save_all(tmp_path, range(13, 131, 13), latest=1, every=40, best=0)
    with Checkpoints(str(tmp_path)) as checkpoints:
        assert checkpoints.steps() == [52, 91, 130]
