"""The notebook of examples/ as a page of the documentation.

Where DOCS_RUN_NOTEBOOK is set, as by `make docs`, it is run, and the page has outputs;
elsewhere the page has the code alone. Extensions that do this put scripts from the
network into the page.
"""

import base64
import json
import os
import tempfile
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "examples" / "quickstart.ipynb"
PAGE = "tutorials/notebook.md"
_ABOUT = (
    "This page is [examples/quickstart.ipynb](../../examples/quickstart.ipynb), as a "
    "notebook to run."
)


def page() -> tuple[str, dict[str, bytes]]:
    """The page as Markdown, and the pictures in it by their names."""
    cells = (
        _run()
        if os.environ.get("DOCS_RUN_NOTEBOOK")
        else json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    )
    parts, pictures = [], {}
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"notebook-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the code above shows]({name})")
            elif shown := output.get("text") or data.get("text/plain"):
                parts.append(f"```text\n{''.join(shown).rstrip()}\n```")
    parts.insert(1, _ABOUT)
    return "\n\n".join(parts) + "\n", pictures


def _run():
    """Its cells with their outputs, from a kernel of this Python."""
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        client = nbclient.NotebookClient(notebook, timeout=1800, resources=place)
        return client.execute().cells
