"""Downloads from a server that fails in every way, and what they leave."""

import errno
import json
import os

import numpy as np
import pytest
from serving import serving

from mtujax.errors import UsageError, UserError
from mtujax.fetch import download as module
from mtujax.fetch.download import download, is_url, size_of

CONTENT = b"PK" + np.random.default_rng(0).bytes(3 << 20)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "WAITS", (0, 0))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def served():
    with serving(CONTENT) as served:
        yield served


@pytest.fixture
def output(tmp_path):
    return tmp_path / "file.zip"


def refused(url, output, *words):
    with pytest.raises(UserError) as caught:
        download(url, output)
    message = str(caught.value)
    assert "\n" not in message and not output.exists()
    for word in (url, *words):
        assert word in message


def test_a_file_comes_as_it_is_with_its_progress(served, output):
    steps = []
    download(served.url, output, progress=lambda *step: steps.append(step))
    assert output.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert steps == sorted(steps)
    assert os.listdir(output.parent) == ["file.zip"]


def test_a_redirection_is_followed(served, output):
    download(served.url.replace("/file", "/moved"), output)
    assert output.read_bytes() == CONTENT


@pytest.mark.parametrize("length", [0, 1, 2, 1 << 20, (1 << 20) + 1, len(CONTENT) - 1])
def test_a_cut_connection_is_resumed_where_it_was_cut(served, output, length):
    served.cuts = [length]
    download(served.url, output)
    assert output.read_bytes() == CONTENT
    assert len(served.gets) == 2
    assert served.gets[1] in (None, f"bytes={length}-") or length > 1 << 20


def test_the_same_command_resumes_what_an_earlier_one_left(served, output):
    served.cuts = [1 << 20, 0, 0]
    refused(served.url, output, "resumes", "--from FILE")
    assert output.with_name("file.zip.part").stat().st_size == 1 << 20
    served.asked.clear()
    download(served.url, output)
    assert output.read_bytes() == CONTENT
    assert served.gets == [f"bytes={1 << 20}-"]
    assert os.listdir(output.parent) == ["file.zip"]


def left_whole(output, note):
    """What a process leaves that is killed once it has everything."""
    output.with_name("file.zip.part").write_bytes(CONTENT)
    output.with_name("file.zip.part.json").write_text(json.dumps(note))


def test_a_part_that_is_the_whole_file_is_not_asked_for_again(served, output):
    note = {"url": served.url, "mark": served.tag, "total": len(CONTENT)}
    left_whole(output, note)
    download(served.url, output)
    assert output.read_bytes() == CONTENT and served.asked == []
    assert os.listdir(output.parent) == ["file.zip"]


def test_a_whole_part_of_unknown_size_is_one_if_the_server_says_so(served, output):
    left_whole(output, {"url": served.url, "mark": served.tag, "total": None})
    download(served.url, output)
    assert output.read_bytes() == CONTENT
    assert served.gets == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_is_of_another_one(served, output):
    left_whole(output, {"url": served.url, "mark": served.tag, "total": None})
    served.data = CONTENT[:-9]
    download(served.url, output)
    assert output.read_bytes() == served.data
    assert served.gets == [f"bytes={len(CONTENT)}-", None]


def test_a_file_that_changed_meanwhile_is_downloaded_whole(served, output):
    served.cuts = [1 << 20, 0, 0]
    refused(served.url, output)
    served.data, served.tag = b"PK" + bytes(1 << 20), '"2"'
    download(served.url, output)
    assert output.read_bytes() == served.data


def test_a_server_without_tags_sends_everything_again(served, output):
    served.tag, served.cuts = None, [1 << 20]
    download(served.url, output)
    assert output.read_bytes() == CONTENT
    assert served.gets == [None, None]


def test_a_server_that_states_no_size_is_no_problem(served, output):
    served.lengths = False
    download(served.url, output)
    assert output.read_bytes() == CONTENT
    assert size_of(served.url) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"url": 3}'])
def test_a_damaged_note_about_a_part_is_not_believed(served, output, damage):
    output.with_name("file.zip.part").write_bytes(b"something else")
    output.with_name("file.zip.part.json").write_bytes(damage)
    download(served.url, output)
    assert output.read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_continued(served, output):
    output.with_name("file.zip.part").write_bytes(b"something else")
    note = {"url": "http://elsewhere", "mark": served.tag}
    output.with_name("file.zip.part.json").write_text(json.dumps(note))
    download(served.url, output)
    assert output.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403, 401, 410])
def test_a_refusal_is_not_asked_again(served, output, status):
    served.answers = [status]
    refused(served.url, output, f"status {status}", "--from FILE")
    assert len(served.gets) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_failure_is_asked_again(served, output, status):
    served.answers = [status, status]
    download(served.url, output)
    assert output.read_bytes() == CONTENT
    output.unlink()
    served.answers = [status] * 3
    refused(served.url, output, f"status {status}")


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
def test_a_page_in_place_of_the_file_is_refused(served, output, kind):
    served.data, served.kind = b"\n<!DOCTYPE html><html>Quota exceeded</html>", kind
    refused(served.url, output, "is a web page", "quota", "--from FILE")
    assert not os.listdir(output.parent)


def test_a_page_in_place_of_the_rest_loses_nothing(served, output):
    served.cuts = [1 << 20, 0, 0]
    refused(served.url, output)
    served.kind = "text/html"
    refused(served.url, output, "is a web page")
    served.kind = "application/zip"
    download(served.url, output)
    assert output.read_bytes() == CONTENT
    assert served.gets[-1] == f"bytes={1 << 20}-"


def test_an_empty_file_is_refused(served, output):
    served.data = b""
    refused(served.url, output, "empty file")


def test_nobody_listening_says_which_file_to_bring(output):
    with serving() as served:
        url = served.url
    refused(url, output, "refused", "--from FILE")


def test_no_network_says_so(output):
    refused("http://nowhere.invalid/file.zip", output, "is there a network?")


ELSEWHERE = "nowhere.invalid/file.zip"
"""Of a server that only a proxy can reach."""


def test_a_proxy_is_asked_where_the_environment_names_one(served, output, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", served.url)
    download(f"http://{ELSEWHERE}", output)
    assert output.read_bytes() == CONTENT
    output.unlink()
    monkeypatch.setenv("NO_PROXY", "nowhere.invalid")
    refused(f"http://{ELSEWHERE}", output, "is there a network?")


def test_a_proxy_that_fails_is_named(served, output, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", served.url)
    url = f"https://{ELSEWHERE}"
    refused(url, output, "the proxy of HTTP_PROXY, HTTPS_PROXY", "answers 501")
    monkeypatch.setenv("HTTPS_PROXY", "http://nowhere.invalid")
    refused(url, output, "the proxy of HTTP_PROXY, HTTPS_PROXY", "cannot be reached")
    monkeypatch.setenv("HTTP_PROXY", served.url)
    served.answers = [407]
    refused(f"http://{ELSEWHERE}", output, "status 407 Proxy Authentication Required")


def test_a_server_without_tls_is_one_line(served, output):
    refused(served.url.replace("http:", "https:"), output, "no secure connection: ")


def test_what_is_tried_is_said(served, output):
    served.answers, said = [503, 503], []
    download(served.url, output, on_note=said.append)
    failed = f"{served.url}: status 503 Service Unavailable; tried again in 0 s"
    assert said == [f"downloading {served.url}", failed, failed]


@pytest.mark.parametrize("source", ["ftp://host/file", "file:///file"])
def test_another_scheme_is_no_path(source):
    with pytest.raises(UsageError, match="only http:// and https://"):
        is_url(source)


def test_a_server_that_cuts_ever_later_and_ever_sooner_is_left(served, output):
    served.tag, served.cuts = None, [1 << 20, 1 << 19] * 4
    refused(served.url, output, "cut")
    assert len(served.gets) == 3  # one that brought something, two that brought no more


def test_an_answer_that_does_not_come_is_not_waited_for(served, output, monkeypatch):
    import socket

    monkeypatch.setattr(module, "TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        refused(url, output, "no answer in time")


def test_a_disk_without_room_is_noticed_before(served, output, monkeypatch):
    import shutil

    full = shutil.disk_usage(output.parent)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(UserError, match="needs 3 MB, but 0 MB.*another --to"):
        download(served.url, output)
    assert not output.exists()


def test_a_disk_that_fills_up_keeps_what_has_come(served, output):
    def full(done, total):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        download(served.url, output, progress=full)
    assert caught.value.filename == str(output)
    served.asked.clear()
    download(served.url, output)
    assert output.read_bytes() == CONTENT and served.gets[0] is not None
