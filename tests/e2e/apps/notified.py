"""A server that takes the listening socket it is started with, and speaks sd_notify.

usage: notified.py [WAY]   answers every request with who it is

At SIGUSR1 it says nonsense to NOTIFY_SOCKET, and at the next one that it is ready: by itself, or as WAY says, by a
`child` that is gone at once, with a `descriptor` as sd_notify_barrier sends one, or in the words of a `stranger`, a
process of another group.
"""
import array
import json
import os
import signal
import socket
import sys
import threading

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
way = sys.argv[1] if len(sys.argv) > 1 else "itself"
listener = socket.socket(fileno=3)


def serve():
    while True:
        connection = listener.accept()[0]
        connection.recv(65536)
        body = json.dumps({"pid": os.getpid()}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        connection.close()


def say(words, descriptors=()):
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    supervisor.sendmsg([words], rights, 0, os.environ["NOTIFY_SOCKET"])


def say_as_another(words, before):
    child = os.fork()
    if child == 0:
        before()
        say(words)
        # The kernel knows the group of a process that is gone until it is reaped.
        os._exit(0)
    return child


threading.Thread(target=serve, daemon=True).start()
signal.sigwait({signal.SIGUSR1})
for nonsense in (b"", b"\0", b"\xff" * 100, b"STATUS=READY=1", b"READY=0", b"x" * 4096 + b"\nREADY=1", b"WATCHDOG=1"):
    say(nonsense)
say(b"STOPPING=1\nSTATUS=nonsense was said")
print("said nonsense", flush=True)
signal.sigwait({signal.SIGUSR1})
ready = b"STATUS=serves\nREADY=1\nMAINPID=%d\n" % os.getpid()
child = None
if way == "child":
    child = say_as_another(ready, lambda: None)
elif way == "stranger":
    child = say_as_another(ready, lambda: os.setpgid(0, 0))
elif way == "descriptor":
    end, other = os.pipe()
    say(ready, [other])
    os.close(other)
    # The barrier: whoever was sent it has closed it when it has heard all before it.
    os.read(end, 1)
else:
    say(ready)
print("said ready", flush=True)
signal.sigwait({signal.SIGTERM})
