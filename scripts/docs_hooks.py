"""What MkDocs does in addition: generated pages, and links that leave docs/.

The pages of `reference.py` and `notebook_page.py` are added to the site without being
written to docs/. A link such as ../benchmarks/results/x.json, which GitHub follows,
leads out of what MkDocs reads: its file is copied to the site, under files/; of a
folder, a list.
"""

import posixpath
import re
from pathlib import Path

import notebook_page
import reference
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
_TESTS = "\n## The tests that hold the promises\n"
_OUTWARD = re.compile(r"(\]\()((?:\.\./)+[^)#\s]+)")


def on_files(files, config):
    """Adds the reference pages, and the files outside docs/ that pages link to."""
    for name, text in reference.pages().items():
        files.append(File.generated(config, name, content=text))
    text, pictures = notebook_page.page()
    files.append(File.generated(config, notebook_page.PAGE, content=text))
    for name, data in pictures.items():
        path = posixpath.join(posixpath.dirname(notebook_page.PAGE), name)
        files.append(File.generated(config, path, content=data))
    for file in list(files.documentation_pages()):
        for link in _OUTWARD.findall(file.content_string):
            for made in _copies(config, _target(file.src_uri, link[1])):
                if made.src_uri not in files.src_uris:
                    files.append(made)
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links that leave docs/ to the copies in the site; omits names of tests."""

    def turned(found):
        target = _target(page.file.src_uri, found[2])
        if target is None:
            return found[0]
        where = _place(target) + ("/index.md" if (ROOT / target).is_dir() else "")
        return found[1] + posixpath.relpath(where, posixpath.dirname(page.file.src_uri))

    if page.file.src_uri == "reference/failures.md":
        # Which test holds a promise is for those who change the code, in the clone.
        markdown = re.sub(r" ?\[\^\d+\]", "", markdown.partition(_TESTS)[0])
    return _OUTWARD.sub(turned, markdown)


def _target(page, link):
    """The path in the clone that a link of a page leads to; None inside docs/."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    inside = target.startswith(("docs/", "../")) or not (ROOT / target).exists()
    return None if inside else target


def _place(target):
    return f"files/{target}"


def _copies(config, target):
    if target is None:
        return
    path = ROOT / target
    if path.is_file():
        yield File.generated(config, _place(target), abs_src_path=str(path))
        return
    # MkDocs leaves out what begins with a dot.
    files = (p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
    inside = sorted(p.name for p in files)
    for name in inside:
        yield from _copies(config, f"{target}/{name}")
    rows = "\n".join(f"- [{name}]({name})" for name in inside)
    text = f"# {target}\n\n{rows}\n"
    yield File.generated(config, f"{_place(target)}/index.md", content=text)
