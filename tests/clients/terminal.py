"""Runs a program on a terminal of its own and ends with its status: `terminal.py SECONDS PROGRAM ARGUMENT…`.

What the program painted goes to standard output. One that is not done in time is killed, and the status is 124.
"""

import os
import pty
import select
import signal
import sys
import time


def main(seconds, *command):
    deadline = time.monotonic() + float(seconds)
    process, terminal = pty.fork()
    if process == 0:
        os.execvp(command[0], command)
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                painted = os.read(terminal, 65_536)
            except OSError:
                # The other end is closed.
                break
            sys.stdout.buffer.write(painted)
    else:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return 124
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


sys.exit(main(*sys.argv[1:]))
