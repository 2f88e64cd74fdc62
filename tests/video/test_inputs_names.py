from pathlib import Path

import pytest

from mtujax.errors import UserError
from mtujax.video.inputs import output_kind


@pytest.mark.parametrize(
    "name", ["exp1.0/", "exp1.0//", "exp1.0/.", "a/..", "out.mp4/"]
)
def test_a_name_that_ends_like_a_folders_is_one(name):
    assert output_kind(name) == "folder"


def test_a_folder_that_exists_is_one_whatever_its_suffix(tmp_path):
    (tmp_path / "exp1.0").mkdir()
    assert output_kind(tmp_path / "exp1.0") == "folder"


@pytest.mark.parametrize(
    "name, remedy",
    [("exp1.0", "put a slash at the end"), (Path("exp1.0/"), "as text with a slash")],
)
def test_the_remedy_for_an_unknown_suffix_can_be_followed(name, remedy):
    with pytest.raises(UserError, match=rf"exp1\.0: \.0 is not a video .* {remedy}"):
        output_kind(name)
