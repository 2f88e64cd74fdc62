"""The authors' weights by name, from a server of our own."""

import hashlib
import os

import filelock
import killing
import numpy as np
import pytest
import recordings
import releases
from disks import full_disk
from serving import serving

from mtujax.cli.app import main
from mtujax.errors import UnknownWeightsError, UsageError, UserError, WeightsError
from mtujax.fetch.sources import WEIGHTS
from mtujax.fetch.weights import fetch_weights
from mtujax.liteflownet.weights import load_teacher, teacher_estimator
from mtujax.weights.convert import from_params
from mtujax.weights.files import describe, is_run, load, locate, place_of

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def members():
    mtu1 = releases.checkpoint("MTU1")
    names = "MTU1_GoPro.pytorch", "RT/ckpt/MTU2_DVD.pytorch", "MTU4_REDS.pytorch"
    other = releases.checkpoint("MTU2")
    return dict(zip(names, (mtu1, other, mtu1), strict=True))


@pytest.fixture(scope="module")
def archive(members):
    return releases.packed(members)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MTUJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mtujax.fetch.download.WAITS", (0,))
    return tmp_path / "cache"


@pytest.fixture
def served(archive):
    with serving(archive) as served:
        yield served


def fetch(*names, **options):
    return fetch_weights(names, **{"accept_licence": True, **options})


def refused(kind, *names, words=(), **options):
    with pytest.raises(kind) as caught:
        fetch(*names, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def leftovers(cache):
    found = {path.name for path in cache.rglob("*") if path.is_file()}
    return {n for n in found if n.startswith(".") or ".part" in n or "pytorch" in n}


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_a_fetched_name_works_as_a_bundled_one(served, members, archive, cache):
    with pytest.raises(UnknownWeightsError, match="`mtujax fetch mtu1-gopro`"):
        load("mtu1-gopro")
    (done,) = fetch("mtu1-gopro", source=served.url)
    assert done.sha256 == sha(members["MTU1_GoPro.pytorch"])
    assert done.archive_sha256 == sha(archive)
    model, params = load("mtu1-gopro")
    back = from_params(params, model.config)
    for name, value in recordings.read("MTU1").tensors.items():
        np.testing.assert_array_equal(back[name], value)
    assert locate("mtu1-gopro") == done.path == place_of("mtu1-gopro")
    metadata = describe(done.path).metadata
    assert metadata["archive"] == served.url
    assert metadata["source_sha256"] == done.sha256
    assert metadata["archive_sha256"] == done.archive_sha256
    assert "AGPL-3.0" in metadata["license"]
    assert not leftovers(cache)


def test_a_folder_of_that_name_does_not_hide_it(served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("mtu1-gopro")
    assert is_run("mtu1-gopro")
    fetch("mtu1-gopro", source=served.url)
    assert not is_run("mtu1-gopro")


def test_the_archive_is_downloaded_once(served):
    fetch("mtu1-gopro", source=served.url)
    fetch("mtu2-dvd", source=served.url)
    (again,) = fetch("mtu1-gopro", source=served.url)
    assert (again.sha256, len(served.gets)) == ("", 1)
    fetch("mtu1-gopro", source=served.url, overwrite=True)
    assert len(served.gets) == 2


def test_nothing_is_downloaded_before_the_licence_is_accepted(served, cache):
    asked = []
    for answer in (False, True):
        with pytest.raises(UsageError, match="--accept-licence"):
            fetch(
                "mtu1-gopro", source=served.url, accept_licence=False, ask=asked.append
            )
        assert not served.gets and len(asked) == 1 + answer
    assert WEIGHTS.licence in asked[0] and served.url in asked[0]
    assert f"{len(served.data) / 1e6:.0f} MB" in asked[0]

    def yes(text):
        asked.append(text)
        return True

    fetch("mtu1-gopro", source=served.url, accept_licence=False, ask=yes)
    fetch("mtu2-dvd", source=served.url, accept_licence=False, overwrite=True, ask=yes)
    assert len(asked) == 3


@pytest.mark.parametrize("kind", ["archive", "folder", "checkpoint"])
def test_what_is_there_already_needs_no_network(tmp_path, members, archive, kind):
    data = members["MTU1_GoPro.pytorch"]
    folder = tmp_path / "there"
    (folder / "deep").mkdir(parents=True)
    source = {"archive": folder / "a.zip", "folder": folder}.get(kind, folder / "x")
    if kind == "folder":
        (folder / "deep" / "mtu1_gopro.pytorch").write_bytes(data)
    else:
        source.write_bytes(archive if kind == "archive" else data)
    (done,) = fetch("mtu1-gopro", source=source, accept_licence=False)
    assert done.sha256 == sha(data)
    assert load("mtu1-gopro")[0].config.num_units == 1


def test_another_place_leaves_the_cache_alone(served, tmp_path):
    (done,) = fetch("mtu1-gopro", source=served.url, to=tmp_path / "mine")
    assert done.path == tmp_path / "mine" / "mtu1-gopro.safetensors"
    assert load(done.path)[0].config.num_units == 1
    with pytest.raises(UnknownWeightsError, match="not fetched yet"):
        locate("mtu1-gopro")


def test_the_flow_teacher_is_known_by_its_name(tmp_path):
    data = releases.packed({"liteFlowNet.pytorch": releases.teacher()})
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UnknownWeightsError, match="mtujax fetch liteflownet"):
        load_teacher("liteflownet")
    (done,) = fetch("liteflownet", source=tmp_path / "a.zip")
    assert teacher_estimator("liteflownet")[0] == teacher_estimator(done.path)[0]
    with pytest.raises(WeightsError, match="of a flow teacher"):
        load("liteflownet")


def test_other_weights_under_the_same_name_are_noticed(served, cache):
    fetch("mtu1-gopro", source=served.url)
    before = locate("mtu1-gopro").read_bytes()
    data = releases.checkpoint("MTU1", change=0.5)
    served.data = releases.packed({"MTU1_GoPro.pytorch": data})
    options = {"source": served.url, "overwrite": True}
    words = sha(data), "--accept-changed"
    refused(UserError, "mtu1-gopro", words=words, **options)
    assert locate("mtu1-gopro").read_bytes() == before
    fetch("mtu1-gopro", accept_changed=True, **options)
    assert describe(locate("mtu1-gopro")).metadata["source_sha256"] == sha(data)
    assert not leftovers(cache)
    fetch("mtu1-gopro", **options)  # now it is known


def test_another_network_under_the_right_name_is_refused(served, cache):
    message = refused(WeightsError, "mtu4-reds", source=served.url)
    assert "it is no mtu4 but a mtu1 (" in message and "; use preset" not in message
    assert message.endswith(", ...); give another file by --from")
    assert len(message) < 400
    assert not leftovers(cache) and not place_of("mtu4-reds").exists()


def test_a_damaged_checkpoint_is_named_by_its_archive(tmp_path):
    path = tmp_path / "mine.zip"
    path.write_bytes(releases.packed({"RT/MTU1_GoPro.pytorch": b"no checkpoint"}))
    said = f"{path}: MTU1_GoPro.pytorch: damaged"
    message = refused(WeightsError, "mtu1-gopro", words=[said], source=path)
    assert ".part" not in message and path.exists()


def test_an_archive_without_the_member_is_refused(served):
    words = "MTU10_DVD.pytorch", "not in it", "--from"
    refused(UserError, "mtu10-dvd", words=words, source=served.url)


def test_a_damaged_download_is_not_kept(served, archive):
    served.data = archive[:-40]
    refused(UserError, "mtu1-gopro", words=["damaged"], source=served.url)
    served.data, served.tag = archive, '"2"'
    assert fetch("mtu1-gopro", source=served.url)


OLDER = b"\x80\x02"  # how checkpoints of PyTorch 1.5 and before begin


@pytest.mark.parametrize("archived", [True, False])
def test_a_damaged_checkpoint_is_not_kept(served, archive, cache, archived):
    damaged = OLDER + b"cut"
    served.data = (
        releases.packed({"MTU1_GoPro.pytorch": damaged}) if archived else damaged
    )
    message = refused(WeightsError, "mtu1-gopro", words=["damaged"], source=served.url)
    shown = ".zip: MTU1_GoPro.pytorch: damaged" if archived else ".zip: damaged"
    assert shown in message
    assert os.listdir(cache / "downloads") == os.listdir(cache / "weights") == []
    served.data, served.tag = archive, '"2"'
    assert fetch("mtu1-gopro", source=served.url)


@pytest.mark.parametrize("name", ["x.pytorch", "x.zip", "MTU1_GoPro.pytorch"])
def test_a_page_that_was_saved_as_the_file_is_called_one(tmp_path, name):
    (tmp_path / name).write_text("\ufeff\n<!doctype html><p>Sign in</p>", "utf-8")
    source = tmp_path if name == "MTU1_GoPro.pytorch" else tmp_path / name
    words = [f"{name}: is a web page", "login", "get the file again"]
    refused(UserError, "mtu1-gopro", words=words, source=source)
    assert (tmp_path / name).exists()


def test_a_full_disk_is_one_line_and_loses_nothing(served, members, capsys):
    served.data = members["MTU1_GoPro.pytorch"]
    words = "fetch", "mtu1-gopro", "--from", served.url, "--accept-licence"
    for _ in ("download", "conversion"):
        place_of("mtu1-gopro").unlink(missing_ok=True)
        with full_disk(1 << 20):
            status, _, error = run(capsys, *words)
        line = error.splitlines()[-1]
        assert status == 1 and line.startswith("mtujax: error: ")
        assert "File too large" in line and "--to or MTUJAX_CACHE" in line
        assert run(capsys, *words)[0] == 0
    assert served.gets == [None, f"bytes={1 << 20}-"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="Linux")
def test_a_cache_that_cannot_be_made_is_one_line(served, monkeypatch):
    monkeypatch.setenv("MTUJAX_CACHE", "/proc/mtujax")
    words = ["/proc/mtujax/weights: cannot be made", "MTUJAX_CACHE"]
    refused(UserError, "mtu1-gopro", words=words, source=served.url)


@pytest.mark.parametrize(
    "names, options, kind, word",
    [
        (["mtu3-gopro"], {}, UnknownWeightsError, "did you mean mtu"),
        (["mtu1-gopro", "mtu2-dvd"], {"source": "one"}, UsageError, "single"),
        (["mtu1-gopro"], {"source": "none.zip"}, UserError, "no such file"),
        (["mtu1-gopro"], {"source": "empty"}, UserError, "is not in it"),
        (["mtu1-gopro"], {"source": "text"}, UserError, "not a zip archive"),
        (["mtu1-gopro"], {"to": "text"}, UserError, "not a folder"),
    ],
)
def test_what_cannot_be_taken_is_one_line(
    tmp_path, monkeypatch, members, names, options, kind, word
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").write_bytes(members["MTU1_GoPro.pytorch"])
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty").mkdir()
    refused(kind, *names, words=[word], **options)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_anywhere_the_same_command_gives_the_same_bytes(
    served, tmp_path, monkeypatch
):
    monkeypatch.setenv("MTUJAX_TEST_URL", served.url)
    assert killing.run("fetch", tmp_path) > 10


def test_another_process_that_fetches_is_waited_for(served, cache):
    cache.mkdir()
    with filelock.FileLock(cache / "fetch.lock"):
        words = ["another process is fetching"]
        refused(UserError, "mtu1-gopro", words=words, source=served.url)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"digests": 3, "accepted": {}}'])
def test_a_damaged_record_is_one_line(served, cache, damage):
    cache.mkdir()
    (cache / "fetched.json").write_text(damage)
    words = ["fetched.json", "delete it"]
    refused(UserError, "mtu1-gopro", words=words, source=served.url)


def test_the_cache_may_not_be_a_file(served, cache):
    cache.write_text("")
    words = ["MTUJAX_CACHE"]
    refused(UserError, "mtu1-gopro", words=words, source=served.url)


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words)])
    said = capsys.readouterr()
    return stop.value.code, said.out, said.err


def test_the_command_fetches_and_the_list_shows_it(served, capsys, members):
    status, _, error = run(capsys, "fetch", "mtu1-gopro", "--from", served.url)
    assert status == 2 and "--accept-licence" in error and error.count("\n") == 1
    words = "fetch", "mtu1-gopro", "--from", served.url, "--accept-licence"
    status, said, error = run(capsys, *words)
    assert status == 0 and WEIGHTS.licence in error
    assert error.endswith(f"downloading {served.url}\n")
    assert sha(members["MTU1_GoPro.pytorch"]) in said and sha(served.data) in said
    assert "is there already" in run(capsys, *words)[1]
    status, said, _ = run(capsys, "weights")
    there, _, fetchable = said.partition("not fetched yet")
    line = next(x for x in there.splitlines() if x.startswith("mtu1-gopro"))
    assert "look-ahead 2 frames, in the paper 29.00 dB, SSIM 0.915" in line
    assert "  mtu10_l-dvd: " in fetchable and "  liteflownet: " in fetchable
    assert "AGPL-3.0" in there and "mtu1-gopro" not in fetchable


@pytest.mark.parametrize(
    "words, said",
    [
        (["gopro"], "--to DIR"),
        (["gopro", "mtu1-gopro"], "is a data set"),
        (["gopro", "--to", "x", "--overwrite"], "is for weights"),
        (["gopro", "--to", "x", "--split", "valid"], "--split valid"),
        (["mtu1-gopro", "--split", "test"], "is for data sets"),
        (["mtu2"], "not released by the authors"),
    ],
)
def test_a_command_that_asks_for_too_much_is_one_line(capsys, words, said):
    status, _, error = run(capsys, "fetch", *words)
    assert status == 2 and said in error and error.count("\n") == 1
