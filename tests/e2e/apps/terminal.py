"""Runs a command on a terminal of its own, and does there what a person would.

usage: terminal.py ctrl-c|ctrl-c-twice|hang-up|watch COMMAND ARGS...

Prints what the command writes, acts when that says `ready`, and exits as the command does.
"""

import os
import pty
import select
import signal
import sys

CTRL_C = b"\x03"

action, *command = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)

# A signal to this process is meant for the command.
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
text = ""
presses = {"ctrl-c": ["ready"], "ctrl-c-twice": ["ready"], "hang-up": [], "watch": []}[action]
while True:
    # Somebody who has no patience presses it again and again.
    while action == "ctrl-c-twice" and "stopping" in text:
        if select.select([terminal], [], [], 0.05)[0]:
            break
        os.write(terminal, CTRL_C)
    try:
        data = os.read(terminal, 4096)
    except OSError:
        break  # EIO: nobody has the terminal open any more.
    if not data:
        break
    text += data.decode()
    print(data.decode(), end="", flush=True)
    if presses and presses[0] in text:
        presses.pop(0)
        os.write(terminal, CTRL_C)
    if action == "hang-up" and "ready" in text:
        os.close(terminal)
        break
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
