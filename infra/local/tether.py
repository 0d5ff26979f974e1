"""Become another program that the kernel kills when its parent dies: `python tether.py PARENT_PID PROGRAM ARGS…`.

A process that is killed with -9 can't stop its children; the kernel can (Linux, `prctl(2)`, PR_SET_PDEATHSIG), and
the setting survives `exec`. Elsewhere the program runs untethered. Only the standard library: this must start in
milliseconds, so it is run by path with `-I -S`.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Tie this process to `argv[0]`, a process id, and run the rest in its place."""
    parent, *program = argv
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent):  # it died before we were tied to it
            sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
