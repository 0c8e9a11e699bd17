"""Goes for the machine, one attempt a route, and tells what came of it."""

import os
import socket
import sys
import time

from trommel import define, replace


def read(_):
    with open("/etc/hostname") as file:
        return file.read()


def write(_):
    with open("/tmp/hostile", "w") as file:
        return file.write("x")


def flood(_):
    for _ in range(10_000):
        print("x" * 999)
    sys.stdout.flush()
    return "printed"


ATTEMPTS = {
    "read": read,
    "write": write,
    "list": lambda _: os.listdir("/etc"),
    "environment": lambda _: " ".join(sorted(os.environ)) or "nothing",
    "arguments": lambda _: " ".join(sys.argv[1:]) or "nothing",
    "lookup": lambda _: socket.getaddrinfo("localhost", 80),
    "connect": lambda params: socket.create_connection(("127.0.0.1", int(params["port"])), 5),
    "flood": flood,
}


class Hostile:
    def __init__(self, params, key):
        self.params = params

    def matches(self, event):
        print(f"clock {int(time.time())}, drew {os.urandom(4).hex()}", flush=True)
        return True

    def process(self, event):
        try:
            return replace(str(ATTEMPTS[self.params["try"]](self.params)))
        except Exception as error:
            return replace(f"refused: {type(error).__name__}: {error}")


Filter = define(Hostile, name="hostile", version="1.0.0")
