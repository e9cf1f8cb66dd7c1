"""A server that takes its listening sockets as Einhorn gives them, and says that it is ready.

usage: acks.py [json|yaml|last LIMIT]   answers every request with what it was started with

With `last` it first connects in silence until its master has LIMIT descriptors, and none for the one that
speaks; at SIGUSR1 it gives them back.
"""
import json
import os
import signal
import socket
import sys
import threading
import time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
sockets = [socket.socket(fileno=int(os.environ[f"EINHORN_FD_{n}"])) for n in range(int(os.environ["EINHORN_FD_COUNT"]))]
started_with = {
    "pid": os.getpid(),
    "slot": os.environ["POINTSMAN_SLOT"],
    "listen_pid": os.environ["LISTEN_PID"],
    "listen_fds": os.environ["LISTEN_FDS"],
    "names": os.environ["LISTEN_FDNAMES"],
    "channel": os.environ["NODE_CHANNEL_FD"],
    "blocking": [one.getblocking() for one in sockets],
    "listening": [one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for one in sockets],
}


def answer(connection):
    connection.recv(65536)
    body = json.dumps(started_with).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()


def serve(listener):
    while True:
        answer(listener.accept()[0])


for one in sockets:
    threading.Thread(target=serve, args=(one,), daemon=True).start()

def connected():
    master = socket.socket(socket.AF_UNIX)
    master.connect(os.environ["EINHORN_SOCK_PATH"])
    return master


def exhausted(limit):
    """Silent connections that take all the descriptors of the master."""
    silent = []
    # Those that it was started with beyond the limit take no room below it.
    held = lambda: sum(int(number) < limit for number in os.listdir(f"/proc/{os.getppid()}/fd"))
    while (before := held()) < limit:
        silent.append(connected())
        while held() == before:
            time.sleep(0.001)
    return silent


if len(sys.argv) > 1:
    silent = exhausted(int(sys.argv[2])) if sys.argv[1] == "last" else []
    master = connected()
    if sys.argv[1] != "yaml":
        master.sendall(json.dumps({"command": "worker:ack", "pid": os.getpid()}).encode() + b"\n")
    else:
        master.sendall(b"---%0Acommand: worker:ack%0Apid: 1%0A\n")
    if silent:
        signal.sigwait({signal.SIGUSR1})
    for one in silent:
        one.close()

signal.sigwait({signal.SIGTERM})
