"""A folder with the paper's tables and figures, filled with what was measured."""

from collections.abc import Sequence
from pathlib import Path

from mtujax.errors import UserError
from mtujax.outputs import whole_output
from mtujax.table_text import document, latex, markdown
from mtujax.tables import Measured, paper_tables


def write_tables(measured: Sequence[Measured], folder: Path) -> list[Path]:
    """Writes `tables.md`, a LaTeX file per table and `tables.tex`, which shows them.

    Args:
        measured: of any datasets and protocols.
        folder: where to; it is made, files of these names in it are replaced.

    Returns:
        The files.

    Raises:
        UserError: if nothing was measured, or the folder cannot be written.
    """
    tables = paper_tables(measured)
    texts = {f"{table.slug}.tex": latex(table) for table in tables}
    texts["tables.tex"] = document(list(texts))
    texts["tables.md"] = markdown(tables)
    make_folder(folder)
    for name, text in texts.items():
        with whole_output(folder / name, folder=False) as temporary:
            temporary.write_text(text, "utf-8")
    return [folder / name for name in texts]


def make_folder(folder: Path) -> None:
    """Makes the folder of a report, with those that it lies in.

    Args:
        folder: may exist.

    Raises:
        UserError: if a file is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: not a folder; give another to --out") from None
