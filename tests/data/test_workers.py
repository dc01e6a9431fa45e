"""Blocks to workers and back."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from cutaway.data.blocks import Block
from cutaway.data.workers import _in_order, encode_blocks
from cutaway.errors import CutawayError


class _Pool:
    """Returns what it is given, at once."""

    def submit(self, function: Callable[..., Any], block: Block) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(block)
        return future


def test_blocks_come_in_their_order_and_few_of_them_are_read_ahead() -> None:
    read: list[int] = []

    def blocks() -> Iterator[Block]:
        for number in range(20):
            read.append(number)
            yield Block(Path("a.txt"), number)

    for number, block in enumerate(_in_order(cast(Any, _Pool()), blocks(), ahead=4)):
        assert cast(Any, block).position == number
        assert len(read) == min(number + 4, 20)
    assert read == list(range(20))


def test_workers_that_cannot_be_started_are_no_closed_pipe_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> NoReturn:
        raise BrokenPipeError

    monkeypatch.setattr(resource_tracker, "ensure_running", die)
    with pytest.raises(CutawayError, match="a worker process died"):
        next(encode_blocks([Block(Path("a.txt"), 0)], tmp_path, share=0, field="text", workers=2))
