import pytest

from mtujax.common.text import Column, Table, listed, markdown, printable


@pytest.mark.parametrize(
    "count, text",
    [(0, ""), (1, "0"), (3, "0; 1; 2"), (4, "0; 1; 2 and 1 more")],
)
def test_a_message_names_the_first_and_counts_the_others(count, text):
    assert listed(range(count), 3, "; ") == text


def test_what_cannot_be_shown_is_escaped():
    assert printable("Caf\udce9 и\nx") == r"Caf\xe9 и\nx"


def test_only_underscores_that_would_be_read_as_emphasis_are_escaped():
    rows = (("more_sharp/a_1.mp4", "_a_ *b* `c`"),)
    table = Table("t", "of f_1", (Column("a"), Column("b")), rows)
    text = markdown([table])
    assert text.startswith("**of f_1**") and "more_sharp/a_1.mp4" in text
    assert r"\_a\_ \*b\* \`c\`" in text
