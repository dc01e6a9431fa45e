"""The public names of the package."""

import cutaway


def test_every_public_name_can_be_imported() -> None:
    for name in cutaway.__all__:
        assert getattr(cutaway, name) is not None
    assert set(cutaway.__all__) <= set(dir(cutaway))
    assert not hasattr(cutaway, "steam")
