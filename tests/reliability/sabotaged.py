"""The command line on sabotaged code: `python -m tests.reliability.sabotaged --sabotage NAME -- COMMAND …`."""

import sys

from cutaway.cli import main
from tests.reliability import sabotage

if __name__ == "__main__":
    end = sys.argv.index("--")
    for name in sys.argv[2:end:2]:
        sabotage.apply(name)
    sys.exit(main(sys.argv[end + 1 :]))
