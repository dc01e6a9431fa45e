from collections.abc import Iterator

import pytest

from tests.checkpoints.unpickling import ForkedReader


@pytest.fixture(scope="session")
def reader() -> Iterator[ForkedReader]:
    with ForkedReader() as reader:
        yield reader


@pytest.fixture
def forked(reader: ForkedReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickles are read by a forked process; some tests read them with the command itself."""
    monkeypatch.setattr("cutaway.checkpoints.pickles.subprocess.run", reader.run)
