"""A second start of an evaluation: what it does again, tells and refuses."""

import hashlib
import json
import os
import shutil

import evaluated
import numpy as np
import pytest
import sets
from evaluated import FORM, SIZE

from mtujax.data.prepare import prepare_dataset
from mtujax.errors import UsageError, UserError
from mtujax.evaluation import api as evaluation
from mtujax.evaluation.dataset import Videos
from mtujax.evaluation.results import EvaluationFolder, read_results

gopro, run, whole = evaluated.gopro, evaluated.run, evaluated.whole
network, score, made = evaluated.network, evaluated.score, evaluated.made


@pytest.fixture
def copied(whole, tmp_path):
    """A folder with a finished evaluation, to be gone on with."""
    return shutil.copytree(whole[1], tmp_path / "out")


def machines(monkeypatch, **changes):
    true = evaluation.machine()
    monkeypatch.setattr(evaluation, "machine", lambda: true | changes)


def test_a_finished_evaluation_is_left_as_it_is(run, copied, monkeypatch):
    before = {p.name: p.read_bytes() for p in copied.iterdir() if p.is_file()}
    machines(monkeypatch, date="2030-01-01", device="another")
    found = run(out=copied, on_frames=lambda *at: pytest.fail("done again"))
    after = {p.name: p.read_bytes() for p in copied.iterdir() if p.is_file()}
    assert after == before
    assert found == read_results(copied / "results.json")
    (copied / "table.md").unlink()
    run(out=copied)
    assert (copied / "table.md").read_bytes() == before["table.md"]


def test_videos_done_elsewhere_keep_their_machine(run, copied, monkeypatch):
    old = read_results(copied / "results.json").machine
    (copied / "videos" / "GOPR4.json").unlink()
    machines(monkeypatch, date="2030-01-01", device="another")
    found = run(out=copied)
    assert found.machine["date"] == f"{old['date']}; 2030-01-01"
    assert found.machine["device"] == f"{old['device']}; another"
    assert found.machine["jax"] == old["jax"] and found.machine["devices"] == 2
    assert read_results(copied / "results.json") == found
    assert "on cpu; another" in (copied / "table.md").read_text()


def test_a_record_that_does_not_name_its_machine_is_not_used(run, copied):
    path = copied / "videos" / "GOPR4.json"
    values = json.loads(path.read_text())
    del values["machine"]
    path.write_text(json.dumps(values))
    seen = []
    run(out=copied, on_frames=lambda *at: seen.append(at))
    assert seen[-1] == (1, 1)


def test_all_processes_stop_where_the_first_gets_no_lock(run, copied, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "mtujax.parallel.any_process", lambda flag: asked.append(flag) or True
    )
    (copied / "videos" / "GOPR4.json").unlink()
    again = dict(out=copied, on_frames=lambda *at: pytest.fail("evaluated"))
    with EvaluationFolder(copied).locked():
        with pytest.raises(UserError, match="another evaluation is writing here"):
            run(**again)
        assert asked == [True]  # the others hear of it
        monkeypatch.setattr("mtujax.parallel.is_first", lambda: False)
        with pytest.raises(UserError, match="another process has failed"):
            run(**again)
        assert asked == [True, False]


def test_frames_that_have_changed_are_another_evaluation(network, gopro, tmp_path):
    data, out = shutil.copytree(gopro, tmp_path / "data"), tmp_path / "out"
    options = dict(dataset="gopro", protocols=["rt-paper"], out=out)
    evaluation.evaluate(network, path=data, **options)
    # Another place is no change; another time, or other files, are.
    moved = data.rename(tmp_path / "moved")
    evaluation.evaluate(network, path=moved, **options)
    other = sets.make(tmp_path / "other", FORM, size=SIZE)
    spoilt = FORM.folders(moved, "test", "GOPR2")[0] / FORM.files(1)[0]
    os.utime(spoilt, (0, 0))
    for path in (other, moved):
        with pytest.raises(
            UserError, match=f"those in {path} are .* have changed"
        ) as e:
            evaluation.evaluate(network, path=path, **options)
        assert "\n" not in str(e.value) and "other frames" in str(e.value)


def test_results_that_have_changed_are_another_evaluation(score, made, tmp_path):
    options = dict(results=made, out=tmp_path / "out")
    score(**options)
    os.utime(next((made / "GOPR1").iterdir()), (0, 0))
    with pytest.raises(UserError, match=f"other results: those in {made} are"):
        score(**options)


def test_settings_of_an_older_form_are_one_line(run, copied):
    path = copied / "settings.json"
    values = json.loads(path.read_text())
    assert values["kind"] == "mtujax evaluation settings"
    for old in ({"kind": "mtujax evaluation", "version": 1}, []):
        path.write_text(json.dumps(old))
        with pytest.raises(UserError, match="of another version of mtujax.*--out"):
            run(out=copied)


def test_devices_that_cannot_be_leave_no_folder_behind(run, tmp_path):
    for count in (0, -1):
        with pytest.raises(UsageError, match=f"devices {count}: must be 1 or more"):
            run(out=tmp_path / "o", devices=count)
    with pytest.raises(
        UserError, match="devices 3: there are 2 here; leave --devices out"
    ):
        run(out=tmp_path / "o", devices=3)
    assert not (tmp_path / "o").exists()


def test_pairs_with_nan_are_counted_and_never_averaged_away(score, made, tmp_path):
    name = FORM.files(5)[2]
    path = made / "GOPR2" / name
    frame = np.float32(sets.rgb(path) / 255)
    path.unlink()
    found = {}
    for value in (0.5, np.nan, np.inf):
        frame[..., 0] = value
        np.save(path.with_suffix(".npy"), frame)
        one = score(results=made, out=tmp_path / str(value), consistency=True)
        found[value] = one.consistency_total
        table = (tmp_path / str(value) / "table.md").read_text()
        assert ("with NaN or infinity" in table) == (value != 0.5)
    assert found[0.5].invalid == 0 and np.isfinite(found[0.5].means["restored"])
    for value in (np.nan, np.inf):
        assert found[value].invalid == 2 and np.isnan(found[value].means["restored"])
        assert found[value].undefined == found[0.5].undefined == 1
        assert found[value].means["sharp"] == found[0.5].means["sharp"]


@pytest.mark.parametrize("raw", [False, True])
def test_prepared_frames_are_known_by_their_files(raw, tmp_path):
    own = sets.make(tmp_path / "own", sets.FORMS["pairs"])
    done = prepare_dataset("pairs", own, tmp_path / "out", raw=raw)

    def now(path=tmp_path / "out"):
        return Videos("pairs", path, split="test").fingerprint(motion=True)

    first = now()
    (done.folder.parent / "flow").mkdir()  # as `mtujax data flow` adds
    (done.folder.parent / "flow" / "0.npz").write_bytes(b"x")
    assert now() == first
    if raw:
        assert now(done.folder) != hashlib.sha256().hexdigest()  # of no files
    os.utime(next(p for p in done.folder.rglob("*") if p.is_file()), (0, 0))
    assert now() != first
