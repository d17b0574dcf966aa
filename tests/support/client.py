"""A client of kaval's wire protocol, written from README.md § Wire protocol and nothing else; and a tour that drives a supervisor with it.

    python3 client.py SOCKET LOCK      LOCK holds the supervisor's process id: the tour kills it once
"""

import os
import random
import signal
import socket
import struct
import sys
import time

import msgpack

FRAME_BYTES_MAX = 1 << 20
PATIENCE = 60


class Refused(Exception):
    def __init__(self, err):
        super().__init__(f"{err['code']}: {err['message']}")
        self.code = err["code"]


class Gone(Exception):
    """The connection ended."""


class Connection:
    """Frames, and answers by their request's number. Events of streams are kept until they are asked for."""

    def __init__(self, path, version=1):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.next = 1
        self.answers, self.events = {}, {}
        self.send({"kaval": version, "client": "python/1"})
        hello = self.receive()
        if "err" in hello:
            raise Refused(hello["err"])
        self.boot = hello["boot"]

    def send(self, message):
        self.send_bytes(msgpack.packb(message, use_bin_type=True))

    def send_bytes(self, body):
        try:
            self.socket.sendall(struct.pack(">I", len(body)) + body)
        except OSError as error:
            raise Gone from error

    def receive(self):
        (length,) = struct.unpack(">I", self.exactly(4))
        assert length <= FRAME_BYTES_MAX, length
        return msgpack.unpackb(self.exactly(length), raw=False)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionError as error:
                raise Gone from error
            if not piece:
                raise Gone
            data += piece
        return data

    def pump(self):
        """Takes one frame in."""
        frame = self.receive()
        if "ev" in frame:
            self.events.setdefault(frame["req"], []).append(frame)
        elif "req" in frame:
            self.answers[frame["req"]] = frame
        else:
            raise Refused(frame["err"])

    def request(self, op, **fields):
        req, self.next = self.next, self.next + 1
        self.send({"req": req, "op": op, **fields})
        return req

    def answer(self, req):
        while req not in self.answers:
            self.pump()
        frame = self.answers.pop(req)
        if "err" in frame:
            raise Refused(frame["err"])
        return frame["ok"]

    def call(self, op, **fields):
        return self.answer(self.request(op, **fields))

    def event(self, req):
        """The next event of a stream."""
        while not self.events.get(req):
            if req in self.answers:
                raise Refused(self.answers.pop(req)["err"])
            self.pump()
        return self.events[req].pop(0)

    def stream(self, req):
        """A stream's events to its end."""
        while (event := self.event(req))["ev"] != "end":
            yield event


class Watcher:
    """A terminal's output from one offset on, over connections."""

    def __init__(self, connection, term, start, mode="rw", **fields):
        self.offset, self.data = start, b""
        self.attach(connection, term, mode=mode, **fields)

    def attach(self, connection, term, **fields):
        self.connection = connection
        self.req = connection.request("attach", term=term, **{"from": self.offset}, **fields)
        return connection.answer(self.req)

    def until(self, text):
        while text not in self.data:
            event = self.connection.event(self.req)
            if event["ev"] == "output":
                assert event["offset"] == self.offset, (event["offset"], self.offset)
                self.offset += len(event["data"])
                self.data += event["data"]
            else:
                assert event["ev"] in ("screen", "resized"), event
                if event["ev"] == "screen":
                    assert event["offset"] == self.offset, (event["offset"], self.offset)


def refused(code, work, *args, **kwargs):
    try:
        work(*args, **kwargs)
    except Refused as error:
        assert error.code == code, error
    else:
        raise AssertionError(f"not refused with {code}")


def again(path):
    """Connects to a supervisor that is only just coming."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return Connection(path)
        except (OSError, Gone):
            assert time.monotonic() < deadline
            # As the README has it: a client asks again after a pause, since no event tells of a socket to come.
            time.sleep(0.01)


def tour(path, lock):
    refused("version", Connection, path, version=999)
    one = Connection(path)
    assert one.call("ls")["terms"] == []

    # A terminal, and the same again by its token.
    token = random.randrange(1, 1 << 64)
    shell = {"command": ["sh", "-c", "stty -echo; echo $WORD ready; exec cat"], "env": [["WORD", "very"]], "cwd": "/usr"}
    made = one.call("new", name="tour", token=token, size={"cols": 90, "rows": 30}, **shell)
    assert one.call("new", name="tour", token=token, **shell) == made
    assert made["name"] == "tour"
    refused("name_taken", one.call, "new", name="tour", command=["cat"])
    assert one.call("new", name="tour", command=["cat"], if_absent=True) == made
    refused("spawn_failed", one.call, "new", command=["/no/such/program"])
    refused("bad_request", one.call, "new", name="a b")

    # What happens, from the first number on.
    seen = one.request("events", **{"from": 0})
    one.answer(seen)

    def happened(connection, req, kind, last=-1):
        while True:
            event = connection.event(req)
            assert event["seq"] > last, event
            last = event["seq"]
            if event["kind"] == kind:
                return last

    last = happened(one, seen, "created")
    assert one.call("status")["boot"] == one.boot

    # Its screen, first and last.
    watcher = Watcher(one, made["id"], 0)
    watcher.until(b"very ready\r\n")
    other = Connection(path)
    drawn = other.request("attach", term="tour", mode="ro", **{"from": "screen"})
    attached = other.answer(drawn)
    assert attached == {**made, "answered": attached["answered"]}
    screen = other.event(drawn)
    assert (screen["ev"], screen["cols"], screen["rows"]) == ("screen", 90, 30)
    assert b"very ready" in screen["data"]

    # Input, numbered; what was taken is not taken twice, and a watcher may not type.
    me = f"python-{random.randrange(1 << 64):016x}"
    one.call("input", term="tour", data=b"first\n", client=me, seq=1)
    one.call("input", term="tour", data=b"first\n", client=me, seq=1)
    one.call("input", term="tour", data=b"second\n", client=me, seq=2)
    watcher.until(b"second\r\n")
    assert watcher.data.count(b"first") == 1, watcher.data
    refused("read_only", other.call, "input", term="tour", data=b"x")

    # Size: one who watches is told, and shown the screen.
    one.call("resize", term="tour", size={"cols": 100, "rows": 40})
    while (event := other.event(drawn))["ev"] != "resized":
        assert event["ev"] == "output"
    assert (event["cols"], event["rows"]) == (100, 40)
    assert other.event(drawn)["ev"] == "screen"
    refused("bad_request", one.call, "resize", term="tour", size={"cols": 0, "rows": 40})

    # A new name; streams and ids go on.
    one.call("rename", term="tour", name="renamed")
    refused("no_such_term", one.call, "screen", term="tour")
    text = one.call("screen", term="renamed")
    assert text["text"].startswith("very ready\nfirst\nsecond\n"), text
    cells = one.call("screen", term=made["id"], format="json")["screen"]
    assert (cells["cols"], cells["rows"], cells["lines"][0]) == (100, 40, "very ready")
    assert b"second" in one.call("screen", term=made["id"], format="ansi")["data"]
    (term,) = one.call("ls")["terms"]
    assert (term["name"], term["state"], term["exit"], term["clients"]) == ("renamed", "live", None, 2)
    assert (term["size"], term["cwd"], term["offset"]) == ({"cols": 100, "rows": 40}, "/usr", watcher.offset)

    last = happened(one, seen, "renamed", last)

    # History: as lines; every byte of it, and a piece.
    lines = one.request("history", term="renamed")
    one.answer(lines)
    text = b"".join(event["data"] for event in one.stream(lines))
    assert text.startswith(b"very ready\nfirst\nsecond\n"), text
    def history(**fields):
        req = one.request("history", term="renamed", format="raw", **fields)
        about = one.answer(req)
        return about, b"".join(event["data"] for event in one.stream(req))

    about, whole = history()
    assert (about, whole) == ({"floor": 0, "end": watcher.offset}, watcher.data)
    assert history(**{"from": 5, "to": 10})[1] == watcher.data[5:10]
    refused("bad_request", history, **{"from": 1 << 40})

    # Who watches; one of them is sent away, and what it is told.
    clients = one.call("clients", term="renamed")["clients"]
    assert [(client["mode"], client["client"], client["name"]) for client in clients] == [
        ("rw", "python/1", "renamed"),
        ("ro", "python/1", "renamed"),
    ]
    refused("no_such_client", one.call, "detach", term="renamed", client=1 << 40)
    assert one.call("detach", term="renamed", client=clients[1]["id"]) == {"detached": 1}
    assert [event["ev"] for event in other.stream(drawn)][-1] == "detached"
    own = one.request("attach", term="renamed")
    one.answer(own)
    assert one.call("detach", stream=own) == {"detached": 1}
    refused("bad_request", one.call, "detach", stream=own)

    # Administration.
    assert one.call("reload") == {"terms": [], "settings": []}
    one.call("log_level", level="debug")
    refused("bad_request", one.call, "log_level", level="loud")
    assert one.call("hibernate", term="renamed") == {"hibernated": 1}
    assert one.call("ls")["terms"][0]["state"] == "hibernated"

    # Rubbish: what can be answered is, and what cannot ends only its own connection.
    refused("unknown_op", one.call, "levitate")
    refused("bad_request", one.call, "screen", term=[1])
    refused("no_such_term", one.call, "kill", term="nobody")
    oversized = Connection(path)
    try:
        oversized.send_bytes(b"\x00" * (FRAME_BYTES_MAX + 1))
    except Gone:
        pass  # It hung up while we were still talking; what it said is there all the same.
    refused("frame_too_long", oversized.pump)

    # The supervisor is killed. The next one has the terminal; nothing is missed, and nothing typed twice.
    lost = one.request("input", term=made["id"], data=b"third\n", client=me, seq=3)
    one.answer(lost)
    with open(lock) as file:
        os.kill(int(file.read()), signal.SIGKILL)
    try:
        while True:
            watcher.until(b"never to come")
    except (Gone, Refused):
        pass
    two = again(path)
    assert two.boot != one.boot
    seen = two.request("events", **{"from": last + 1})
    two.answer(seen)
    last = happened(two, seen, "supervisor-restarted", last)
    watcher.attach(two, made["id"])
    two.call("input", term=made["id"], data=b"third\n", client=me, seq=3)
    two.call("input", term=made["id"], data=b"fourth\n", client=me, seq=4)
    watcher.until(b"fourth\r\n")
    assert watcher.data == b"very ready\r\nfirst\r\nsecond\r\nthird\r\nfourth\r\n", watcher.data

    # The end.
    refused("live", two.call, "rm", term="renamed")
    two.call("kill", term="renamed", signal=signal.SIGTERM)
    ends = [event for event in two.stream(watcher.req) if event["ev"] != "output"]
    assert [event["ev"] for event in ends] == ["exited"] and ends[0]["exit"] == {"signal": 15}, ends
    refused("ended", two.call, "input", term="renamed", data=b"x")
    assert two.call("ls")["terms"][0]["exit"] == {"signal": 15}
    two.call("rm", term="renamed")
    happened(two, seen, "removed", happened(two, seen, "exited", last))
    assert two.call("ls")["terms"] == []


if __name__ == "__main__":
    tour(*sys.argv[1:])
    print("the tour is done")
