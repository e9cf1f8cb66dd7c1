"""A worker written by hand on the wire of Node's cluster: HTTP on the connections that it is handed.

usage: wire.py [--stay]

GET / tells who answers. GET /do/NAME answers, and then misbehaves on the channel as the function NAME does.
With --stay the program outlives its channel.
"""

import array
import json
import os
import resource
import select
import selectors
import socket
import sys
from collections import Counter

ABOUT = {
    "pid": os.getpid(),
    "worker": int(os.environ["NODE_UNIQUE_ID"]),
    "slot": int(os.environ["POINTSMAN_SLOT"]),
    "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
}
TOO_LONG = 17 << 20
FLOOD = 64 << 20
MANY = 5000
WRITERS = 3


def garbage(channel):
    channel.write(b"this is no JSON\n")


def empty_line(channel):
    channel.write(b"\n")


def invalid_utf8(channel):
    channel.write(b'{"cmd":"NODE_\xff\xfe"}\n')


def overlong_line(channel):
    channel.write(b'"' + b"x" * TOO_LONG)


def truncated_frame(channel):
    channel.write(b'{"cmd":"NODE_CLUSTER","act":"clo')
    os._exit(0)


def unexpected_ack(channel):
    channel.write(b'{"cmd":"NODE_HANDLE_ACK"}\n')


def unexpected_nack(channel):
    channel.write(b'{"cmd":"NODE_HANDLE_NACK"}\n')


def wrong_types(channel):
    channel.write(b'{"cmd":"NODE_CLUSTER","seq":"one","act":"close","key":[]}\n')


def harmless(channel):
    """What a later version of Node, or an application, might say."""
    for frame in (
        {"cmd": "NODE_CLUSTER", "act": "nobody-knows-this", "seq": 90},
        {"cmd": "NODE_CLUSTER", "ack": 4711, "seq": 91},
        {"cmd": "NODE_CLUSTER", "act": "close", "key": "no such key", "seq": 92},
        {"cmd": "NODE_SOMETHING_NEW", "data": [1, 2, 3]},
        {"cmd": "NODE_"},
        {"cmd": 5},
        {"type": "ready"},
        "ready",
        17,
        True,
        None,
        [],
    ):
        channel.send(frame)


def hoard(channel):
    """From now on it has connections that it has not accepted."""
    channel.hoards = True


def read_unheard(channel):
    """From now on it reads what its connections bring, and none of its words about them leave it."""
    channel.mutters = True


def chatter(channel):
    """Each is a line of the log for who wants to see everything."""
    for number in range(5000):
        channel.send({"number": number})


def questions_without_end(channel):
    """Each is answered, and no answer is read."""
    frame = b'{"cmd":"NODE_HANDLE","type":"net.Socket","msg":1}\n'
    for _ in range(FLOOD // len(frame) // 1000):
        channel.write(frame * 1000)


def start_writer(channel, flags=0):
    """A child that talks in the worker's name, and that no signal to its group reaches.

    It ends when nobody can hear it any more.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        os.closerange(channel.socket.fileno() + 1, 1024)
        try:
            write_without_end(channel.socket, flags)
        finally:
            os._exit(0)
    while os.getpgid(child) != child:
        pass


def write_without_end(channel, flags):
    while True:
        try:
            # Small enough to be taken whole or not at all.
            channel.send(b'{"a":1}\n' * 1000, flags)
        except BlockingIOError:
            pass


def leave_writers(channel):
    """The channel is full, and whoever reads from it finds it full again."""
    for _ in range(WRITERS):
        start_writer(channel, socket.MSG_DONTWAIT)
    while select.select([], [channel.socket], [], 0)[1]:
        pass
    os._exit(0)


def stop_reading(channel):
    """It hears nothing any more, and does not mind."""
    WORKER.selector.unregister(channel.socket)
    channel.socket.shutdown(socket.SHUT_RD)


def many_servers(channel):
    for index in range(1, MANY + 1):
        channel.say(act="queryServer", **{**WORKER.query, "port": 0, "index": index})


def close_servers(channel):
    """Those of many_servers."""
    for key in WORKER.keys[1:]:
        channel.say(act="close", key=key)
    del WORKER.keys[1:]


def exit_as_root(channel):
    """From now on whoever started it may not signal it, dead or alive."""
    os.setresuid(0, 0, 0)
    os._exit(0)


def stay_as_root(channel):
    os.setresuid(0, 0, 0)
    WORKER.selector.unregister(channel.socket)


def handle_without_descriptor(channel):
    channel.send({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": {"take": "this"}})


def handle_with_descriptor(channel):
    ours, theirs = socket.socketpair()
    frame = {"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": {"take": "this"}}
    channel.send(frame, theirs.fileno())
    ours.close()
    theirs.close()


class Channel:
    """The worker's end of the socketpair."""

    def __init__(self):
        self.socket = socket.socket(fileno=int(os.environ["NODE_CHANNEL_FD"]))
        self.text = b""
        self.descriptors = []
        self.seq = 0
        self.hoards = False
        self.mutters = False

    def write(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # The master has closed its end.

    def send(self, frame, descriptor=None):
        data = json.dumps(frame).encode() + b"\n"
        if descriptor is None:
            return self.write(data)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
        self.socket.sendmsg([data], [rights])

    def say(self, **fields):
        self.send({"cmd": "NODE_CLUSTER", "seq": self.seq, **fields})
        self.seq += 1

    def receive(self):
        """The frames that have come, or None at the end of the channel."""
        try:
            data, controls, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(4))
        except ConnectionResetError:
            data, controls = b"", []
        for _, _, rights in controls:
            self.descriptors += array.array("i", rights)
        if not data:
            return None
        *lines, self.text = (self.text + data).split(b"\n")
        return [json.loads(line) for line in lines]


class Worker:
    def __init__(self):
        self.channel = Channel()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.channel.socket, selectors.EVENT_READ, self.on_channel)
        self.answers = []
        self.hoard = []
        self.keys = []
        self.errors = []
        self.channel.say(act="online")
        self.query = {
            "index": 0,
            "data": None,
            "address": "127.0.0.1",
            "port": int(os.environ["PORT"]),
            "addressType": 4,
            "backlog": 511,
        }
        self.channel.say(act="queryServer", **self.query)

    def run(self):
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def on_channel(self, channel):
        frames = self.channel.receive()
        if frames is None:
            if "--stay" not in sys.argv:
                sys.exit(0)
            self.selector.unregister(channel)
            channel.close()
            return
        for frame in frames:
            self.on_frame(frame)

    def on_frame(self, frame):
        inner = frame.get("msg", {})
        if inner.get("act") == "newconn":
            connection = socket.socket(fileno=self.channel.descriptors.pop(0))
            if self.channel.mutters:
                connection.setblocking(True)
                connection.recv(1)
                # A second descriptor is how others see that it was read.
                self.hoard += [connection, connection.dup()]
                return
            self.channel.send({"cmd": "NODE_HANDLE_ACK"})
            if self.channel.hoards:
                self.hoard.append(connection)
                return
            self.channel.say(ack=inner["seq"], accepted=True)
            self.selector.register(connection, selectors.EVENT_READ, self.on_request)
        elif frame.get("act") == "disconnect":
            sys.exit(0)
        elif "sockname" in frame:
            if not self.keys:
                self.channel.say(act="listening", **self.query)
            self.keys.append(frame["key"])
        elif frame.get("errno"):
            self.errors.append(frame["errno"])
        elif frame["cmd"].startswith("NODE_HANDLE_"):
            self.answers.append(frame["cmd"])

    def on_request(self, connection):
        try:
            head = connection.recv(65536)
        except OSError:
            head = b""
        if not head:
            self.selector.unregister(connection)
            connection.close()
            return
        path = head.split()[1].decode()
        servers = {"servers": len(self.keys), "errors": Counter(self.errors)}
        body = json.dumps({**ABOUT, **servers, "answers": self.answers}).encode()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        if path.startswith("/do/"):
            globals()[path.removeprefix("/do/")](self.channel)


WORKER = Worker()
WORKER.run()
