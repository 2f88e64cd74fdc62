import pytest

from mtujax.common.text import listed


@pytest.mark.parametrize(
    "count, text",
    [(0, ""), (1, "0"), (3, "0; 1; 2"), (4, "0; 1; 2 and 1 more")],
)
def test_a_message_names_the_first_and_counts_the_others(count, text):
    assert listed(range(count), 3, "; ") == text
