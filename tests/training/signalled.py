"""One of several processes that train together, which gets a signal before a step: `SIGNAL RANK STEP MODULE ARGUMENTS`.

It sends the signal to itself, if it has that rank. So a busy machine makes no signal late.
"""

import os
import runpy
import signal
import sys

from cutaway.training.trainer import Step, Trainer


def main() -> None:
    """Run the module with its arguments."""
    name, rank, step, module = sys.argv[1:5]
    take = Trainer.step

    def signalled(trainer: Trainer) -> Step:
        if trainer.steps == int(step) and os.environ["RANK"] == rank:
            os.kill(os.getpid(), signal.Signals[name])
        return take(trainer)

    Trainer.step = signalled  # type: ignore[method-assign,assignment]
    sys.argv[1:] = sys.argv[5:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
