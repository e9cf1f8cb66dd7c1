"""Steers a master by its control socket, with nothing but a socket and JSON: each verb once.

usage: steer.py SOCKET, of a master with two workers of moods.js
"""

import json
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
lines = connection.makefile("r", encoding="utf-8")
greeting = json.loads(lines.readline())
assert greeting["protocol"] == 1, greeting
count = 0


def ask(verb, **parameters):
    """Sends a request and returns the line that answers it."""
    global count
    count += 1
    connection.sendall((json.dumps({"id": count, "verb": verb, **parameters}) + "\n").encode())
    for line in lines:
        said = json.loads(line)
        if said["id"] == count and ("ok" in said or "error" in said):
            return said
    raise SystemExit(f"{verb}: the master has closed the connection")


def done(verb, **parameters):
    said = ask(verb, **parameters)
    assert "ok" in said, f"{verb}: {said}"
    return said["ok"]


def workers():
    return {worker["slot"]: worker for worker in done("status")["workers"]}


first = workers()
assert sorted(first) == [0, 1], first

assert done("scale", by=1, wait=True) == {"from": 2, "to": 3}
assert done("scale", to=2, wait=True) == {"from": 3, "to": 2}

again = done("restart", worker=first[0]["id"], wait=True)
assert again["slot"] == 0 and again["worker"] != first[0]["id"], again

reloaded = done("reload", wait=True, batch="100%")
assert reloaded["generation"] == 2, reloaded
assert {worker["generation"] for worker in workers().values() if worker["state"] == "ready"} == {2}
assert ask("abort")["error"]["code"] == "refused"

forked = done("fork", env={"VERSION": "forked"}, wait=True)
assert forked["slot"] == 2, forked
ended = done("disconnect", worker=forked["worker"], wait=True)
assert ended["exit"] == {"code": 0}, ended

killed = done("kill", slot=1, signal="KILL", wait=True)
assert killed["exit"] == {"signal": 9}, killed
assert done("scale", to=2, wait=True)["to"] == 2

done("send", slot=0, message={"any": ["thing", None, 1.5]})
assert ask("send", slot=9, message=0)["error"]["code"] == "no_such_worker"

# Another client is told what this one does.
listener = socket.socket(socket.AF_UNIX)
listener.connect(sys.argv[1])
listener.sendall(b'{"id":"e","verb":"events"}\n')
told = listener.makefile("r", encoding="utf-8")
assert "pointsman" in json.loads(told.readline())
assert json.loads(told.readline()) == {"id": "e", "ok": {}}
done("restart", slot=0)
types = []
while "ready" not in types:
    types.append(json.loads(told.readline())["event"]["type"])
assert types[:2] == ["recycling", "fork"], types

logs = ask("logs", slot=0, lines=1)
if "ok" not in logs:
    assert logs["error"]["code"] == "failed", logs

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
lines = connection.makefile("r", encoding="utf-8")
lines.readline()
assert done("stop", wait=True) == {"workers": 0}
assert lines.readline() == "", "the master is gone"
