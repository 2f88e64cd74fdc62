"""Deblurring that is killed anywhere is finished by the same command."""

import killing
import pytest


@pytest.mark.slow
@pytest.mark.timeout(1800)  # some fifty commands, each of which compiles
@pytest.mark.parametrize("work", ["video", "folder", "videos", "shards"])
def test_killed_anywhere_the_same_command_gives_the_same_bytes(work, tmp_path):
    assert killing.run(work, tmp_path) > 30
