"""One of several processes that train together: process 1 gets N more arguments, `N MORE... MODULE ARGUMENTS`."""

import os
import runpy
import sys

if __name__ == "__main__":
    count = int(sys.argv[1])
    more = sys.argv[2 : 2 + count]
    module = sys.argv[2 + count]
    sys.argv[1:] = sys.argv[3 + count :] + (more if os.environ["RANK"] == "1" else [])
    runpy.run_module(module, run_name="__main__", alter_sys=True)
