import pytest

from mtujax.common.text import listed, printable


@pytest.mark.parametrize(
    "count, text",
    [(0, ""), (1, "0"), (3, "0; 1; 2"), (4, "0; 1; 2 and 1 more")],
)
def test_a_message_names_the_first_and_counts_the_others(count, text):
    assert listed(range(count), 3, "; ") == text


def test_what_cannot_be_shown_is_escaped():
    assert printable("Caf\udce9 и\nx") == r"Caf\xe9 и\nx"
