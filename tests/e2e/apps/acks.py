"""A server that takes its listening sockets as Einhorn gives them, and says that it is ready.

usage: acks.py [json|yaml]   answers every request with what it was started with
"""
import json
import os
import signal
import socket
import sys
import threading

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

if len(sys.argv) > 1:
    master = socket.socket(socket.AF_UNIX)
    master.connect(os.environ["EINHORN_SOCK_PATH"])
    if sys.argv[1] == "json":
        master.sendall(json.dumps({"command": "worker:ack", "pid": os.getpid()}).encode() + b"\n")
    else:
        master.sendall(b"---%0Acommand: worker:ack%0Apid: 1%0A\n")

signal.sigwait({signal.SIGTERM})
