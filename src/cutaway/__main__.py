"""`python -m cutaway` is the `cutaway` command."""

import sys

from cutaway.cli import main

sys.exit(main())
