"""Executes a command with sockets at descriptors 3 and up, as systemd does.

usage: activate.py SPECIFICATION COMMAND ARGS...

The specification is JSON: `sockets`, a list of [KIND, WHERE] with the kinds tcp, udp and unix; `pid`, what LISTEN_PID
is to be: "own", a number, or absent for no LISTEN_PID and no LISTEN_FDS; `count`, what LISTEN_FDS is to be, if not the
number of sockets.
"""

import json
import os
import socket
import sys

FIRST = 3

specification, *command = sys.argv[1:]
told = json.loads(specification)


def opened(kind, where):
    if kind == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.bind(where)
    else:
        host, port = where.rsplit(":", 1)
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, int(port)))
    if kind != "udp":
        made.listen(128)
    return made


# Nothing of Python's own may be where they are to be.
sockets = [os.dup2(opened(*each).detach(), 100 + n) for n, each in enumerate(told["sockets"])]
for number, descriptor in enumerate(sockets, FIRST):
    os.dup2(descriptor, number)
    os.close(descriptor)
pid = told.get("pid")
if pid is not None:
    os.environ["LISTEN_PID"] = str(os.getpid() if pid == "own" else pid)
    os.environ["LISTEN_FDS"] = str(told.get("count", len(sockets)))
os.execvp(command[0], command)
