"""`make docs`: the site is built without a warning, and is read without a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from places import ROOT

pytestmark = pytest.mark.slow
pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")
pytest.importorskip("material")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """Addresses of what a browser loads by itself, and of all that a page leads to."""

    def __init__(self):
        super().__init__()
        self.loads, self.leads, self.names = [], [], set()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.names |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        if tag in ("img", "script", "iframe") and "src" in attrs:
            self.loads.append(attrs["src"])
        if tag == "link" and attrs.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(attrs["href"])
        if tag == "a" and attrs.get("href"):
            self.leads.append(attrs["href"])


def read(path):
    page = Loaded()
    page.feed(path.read_text("utf-8"))
    return page


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        for address in read(path).loads:
            assert not re.match(r"(\w+:)?//", address), f"{path}: {address}"
            # The page of what is not found may be shown at any address.
            if path.name != "404.html":
                assert (path.parent / address.split("?")[0]).exists(), address
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:", style.read_text("utf-8")), style


def test_every_link_and_anchor_leads_somewhere(site):
    known = {path.resolve(): read(path) for path in site.rglob("*.html")}
    for path, page in known.items():
        if path.name == "404.html":
            continue
        for link in page.leads:
            if re.match(r"\w+:", link):
                continue
            place, _, anchor = link.partition("#")
            target = (path.parent / place).resolve() if place else path
            assert target.exists(), f"{path}: {link}"
            if anchor and target in known:
                assert anchor in known[target].names, f"{path}: {link}"


def test_every_name_and_field_can_be_looked_up(site):
    import mtujax

    page = (site / "reference" / "mtujax.html").read_text("utf-8")
    for name in mtujax.__all__:
        assert re.search(rf'id="mtujax\.[\w.]*\b{name}"', page), name
    index = (site / "search" / "search_index.json").read_text("utf-8")
    for word in ("train.ema_decay", "--scene-threshold", "unaligned"):
        assert word in index, word
