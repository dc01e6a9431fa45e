from dataclasses import replace

import pytest

from bench.engines import ENGINES
from bench.process import PeerFailedError, PeerProcess


def test_a_peer_that_is_not_installed_says_how_it_is() -> None:
    with pytest.raises(
        PeerFailedError, match=r"^not installed: there is no \.peers/nobody/bin/python; run `make peers`$"
    ):
        PeerProcess(replace(ENGINES[0], library="nobody"), threads=1)
