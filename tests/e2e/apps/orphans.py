"""A server that takes the listening socket it is started with, and leaves children behind.

GET /orphan leaves a process called `orphan` without a parent, in a session of its own, which ends at SIGTERM. GET /exit
ends the server with code 3. Anything else is answered with its pid.
"""
import json
import os
import signal
import socket

listener = socket.socket(fileno=3)


def leave_orphan():
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork() == 0:
        with open("/proc/self/comm", "w") as comm:
            comm.write("orphan")
        while True:
            signal.pause()
    os._exit(0)


while True:
    connection = listener.accept()[0]
    path = connection.recv(65536).split(b" ")[1]
    if path == b"/exit":
        os._exit(3)
    if path == b"/orphan":
        leave_orphan()
    body = json.dumps({"pid": os.getpid()}).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()
