"""The notebook: clean as it is stored, and it runs from top to bottom."""

import ast
import json
import os
import re

import pytest
from places import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


@pytest.fixture
def stored():
    return json.loads(NOTEBOOK.read_text())


def sources(notebook, kind):
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


def test_the_notebook_is_valid(stored):
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(stored)
    assert NOTEBOOK.stat().st_size < 300_000


def test_the_notebook_is_stored_without_outputs(stored):
    code = [c for c in stored["cells"] if c["cell_type"] == "code"]
    assert code and not any(c["outputs"] or c["execution_count"] for c in code)
    assert all(not c["metadata"] for c in stored["cells"])


def test_the_notebook_is_python_that_installs_nothing_and_names_no_machine(stored):
    for source in sources(stored, "code"):
        ast.parse(source)  # so no line is a command of the shell or of IPython
    text = "\n".join(sources(stored, "code") + sources(stored, "markdown"))
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|Users)/", text)


def test_each_heading_is_followed_by_words_and_code(stored):
    kinds = [c["cell_type"] for c in stored["cells"]]
    headed = [
        i for i, c in enumerate(stored["cells"]) if "".join(c["source"])[0] == "#"
    ]
    assert len(headed) >= 6
    for i in headed:
        assert "code" in kinds[i : i + 3]
        assert len("".join(stored["cells"][i]["source"]).splitlines()) > 2


@pytest.mark.slow
def test_the_notebook_runs_and_leaves_nothing_behind(tmp_path, monkeypatch):
    """Its own asserts hold: PSNR rises, streams agree, fine-tuning stays finite."""
    nbclient, nbformat = map(pytest.importorskip, ("nbclient", "nbformat"))
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    before = sorted(os.listdir(NOTEBOOK.parent))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path / "here")}}
    client = nbclient.NotebookClient(notebook, timeout=600, resources=place)
    client.create_kernel_manager()
    client.km.shutdown_wait_time = 60  # a kernel that is killed clears nothing away
    client.execute()
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    printed = "".join(o.get("text", "") for c in code for o in c.outputs)
    low, high = map(float, re.search(r"PSNR (\S+) -> (\S+) dB", printed).groups())
    assert 15 < low < high < 60
    tuned = re.search(r"fine-tuned +PSNR (\S+) dB", printed)
    assert float(tuned[1]) > 15
    pictures = [o for c in code for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 6
    assert not os.listdir(tmp_path / "here")
    assert not os.listdir(tmp_path / "temporary")  # all of it is gone with the kernel
    assert sorted(os.listdir(NOTEBOOK.parent)) == before
