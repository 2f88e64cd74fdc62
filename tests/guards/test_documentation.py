"""README and docs/: links lead somewhere, commands and options exist, code compiles."""

import ast
import re
import shlex

import pytest
import typer
from places import ROOT

pytest.importorskip("ml_collections")

from mtujax.cli.app import app
from mtujax.cli.configs import TAKES_FIELDS, read_config
from mtujax.errors import UsageError
from scripts import notebook_page, reference

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TEXTS = {path: path.read_text("utf-8") for path in PAGES}
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
GENERATED = {**reference.pages(), notebook_page.PAGE: notebook_page.page()[0]}
SHELL = {"|", "&&", ";", "&"}


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def prose(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text):
    """Names of headings as GitHub and MkDocs make them, and those that are given."""
    found = set(re.findall(r"\{ ?#([\w-]+) ?\}", text))
    found |= set(re.findall(r"^::: (\S+)$", text, re.M))
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.M):
        words = re.sub(r"[^\w\s-]", "", heading.strip().lower())
        found.add(re.sub(r"\s+", "-", words))
    return found


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_lead_to_files_and_headings(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[path])):
        if re.match(r"\w+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        generated = target.is_relative_to(DOCS.resolve()) and GENERATED.get(
            target.relative_to(DOCS.resolve()).as_posix()
        )
        assert generated or target.exists(), link
        if anchor and target.suffix == ".md":
            text = generated or target.read_text("utf-8")
            # Methods and fields have anchors that only the site knows.
            known = anchors(text) | {a for a in [anchor] if anchor.count(".") > 3}
            assert anchor in known, link


def test_pages_that_the_program_and_its_files_name_exist():
    folders = "mtujax configs tests benchmarks examples scripts .github".split()
    files = [path for name in folders for path in (ROOT / name).rglob("*.*")]
    files += [ROOT / name for name in ("Makefile", "README.md", "ATTRIBUTION.md")]
    kinds = {".py", ".pyi", ".yml", ".md", ".ipynb", "", ".safetensors"}
    for path in files:
        if "node_modules" in path.parts:  # of others
            continue
        if path.suffix in kinds and path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|png|svg)\b", text):
                made = GENERATED.get(page.removeprefix("docs/"))
                assert made or (ROOT / page).exists(), f"{path}: {page}"


def commands(text):
    """The words of each command in the shell blocks of a page."""
    for block in blocks(text, "(?:bash|sh)"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
            lexer.whitespace_split, words = True, []
            for word in [*lexer, ";"]:
                if word in SHELL or word in (">", "do", "done"):
                    if words:
                        yield words
                    words = []
                else:
                    words.append(word)


def check_options(words, source):
    for word in words:
        if word.startswith("--") and not word.startswith("--config."):
            assert f'"{word.partition("=")[0]}"' in source, word


def check(words):
    """Refuses a command of mtujax, or of its clone, that would be refused."""
    while re.fullmatch(r"\w+=\S*", words[0]) or words[0] in ("nohup", "nice"):
        words = words[1:]
    if words[0] == "mtujax":
        parse(words[1:])
    elif words[0] == "make":
        goals = [w for w in words[1:] if "=" not in w]
        text = (ROOT / "Makefile").read_text()
        assert all(re.search(rf"^{goal}:", text, re.M) for goal in goals), goals
        given = [w.partition("=")[0] for w in words[1:] if "=" in w]
        assert all(re.search(rf"^{name} \?=", text, re.M) for name in given), given
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        path = ROOT / f"{words[2].replace('.', '/')}.py"
        near = [*path.parent.glob("*.py"), *(path.parents[1] / "helpers").glob("*.py")]
        source = "".join(p.read_text() for p in near)
        assert path.exists(), words[2]
        check_options(words, source)
    elif words[0] == "python" and words[1].endswith(".py"):
        path = ROOT / words[1]
        path = path if path.exists() else ROOT / "examples" / words[1]
        if words[1] in ("train.py", "eval.py"):
            parse([words[1].removesuffix(".py"), *words[2:]])
        else:
            check_options(words, path.read_text())


def parse(words):
    command, context = typer.main.get_command(app), None
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    if set(words) & {"--help", "-h"}:
        return
    settings = {**command.context_settings}
    context = command.context_class(command, info_name="mtujax", **settings)
    with context:
        rest = command.parse_args(context, list(words))
    if TAKES_FIELDS.items() <= settings.items():
        read_config(context.params["config"], rest, command.params)


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_commands_and_options_exist(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)
    for words in commands(TEXTS[path]):
        check([re.sub(r"\$\w+", "mtu2", word) for word in words])


def test_a_command_that_does_not_exist_is_noticed(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)
    for line in (
        "mtujax deblurr IN OUT",
        "mtujax deblur IN OUT --colour",
        "make nothing",
        "python train.py --config=mtu2 --config.train.rate=1",
        "python -m benchmarks.speed.speed --colour",
        "python examples/live.py 0 --colour",
    ):
        (words,) = commands(f"```bash\n{line}   # as said\n```")
        refusals = AssertionError, UsageError, typer.BadParameter.__base__
        with pytest.raises(refusals):
            check(words)
    check(["mtujax", "deblur", "IN", "OUT", "--compare", "side"])


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_python_is_python(path):
    for block in blocks(TEXTS[path], "python"):
        ast.parse(block)


def test_the_readme_is_short():
    assert TEXTS[ROOT / "README.md"].count("\n") <= 130
