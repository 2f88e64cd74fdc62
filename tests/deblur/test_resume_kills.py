"""Deblurring that is killed anywhere is finished by the same command."""

import killing
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("work", ["video", "folder", "videos"])
def test_killed_anywhere_the_same_command_gives_the_same_bytes(work, tmp_path):
    assert killing.run(work, tmp_path) > 30
