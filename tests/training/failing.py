"""One of several processes that train together, of which the last alone fails, while the others wait for it."""

from cutaway.errors import RunError
from cutaway.training.distributed import joined

if __name__ == "__main__":
    with joined("ddp") as world:
        if world.rank == world.size - 1:
            raise RunError("its own disk is full")
        world.sum(1.0)
