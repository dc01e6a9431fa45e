"""One of several processes that train together: nothing that holds their group may be left when they part: `MODULE`."""

import gc
import runpy
import sys
from typing import Any
from unittest.mock import patch

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from cutaway.training import distributed

part = dist.destroy_process_group


class Held(DistributedDataParallel):
    """A module that only the garbage collector frees, as the first one of a process that imports PyTorch for it."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.holds = self


def check_and_part(group: Any = None) -> None:
    assert not [found for found in gc.get_objects() if isinstance(found, Held)]
    part(group)


if __name__ == "__main__":
    gc.disable()
    name = sys.argv.pop(1)
    held = patch.object(distributed, "DistributedDataParallel", Held)
    checked = patch.object(dist, "destroy_process_group", check_and_part)
    with held, checked:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
