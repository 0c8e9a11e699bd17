"""A receiver of webhooks: python3 receiver.py [PORT]

A secret that is added to its standard input, a line each, `NAME SECRET`, is known from then on for the path /NAME. Every
event that it believes is a line on standard output: the path, how many of the signatures are by secrets that it knows,
the id and the event. Nothing but Python's own library is needed, and nothing of trommel.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

TOLERANCE = 300  # seconds
secrets = defaultdict(list)
lock = Lock()


def believed(name, headers, body):
    """The number of signatures that are right."""
    sent = headers.get("webhook-timestamp", "")
    if not sent.isdecimal() or abs(time.time() - int(sent)) > TOLERANCE:
        return 0
    signed = f"{headers.get('webhook-id', '')}.{sent}.".encode() + body
    ours = set()
    for secret in secrets[name]:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        ours.add("v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode())
    return len(ours.intersection(headers.get("webhook-signature", "").split(" ")))


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.path.strip("/")
        with lock:
            count = believed(name, self.headers, body)
            if count:
                line = [name, count, self.headers["webhook-id"], json.loads(body)]
                print(json.dumps(line, separators=(",", ":")), flush=True)
        self.send_response(200 if count else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def learn():
    for line in sys.stdin:
        name, secret = line.split()
        with lock:
            secrets[name].append(secret)


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8477), Receiver)
print("listening on http://%s:%d" % server.server_address, file=sys.stderr, flush=True)
Thread(target=learn, daemon=True).start()
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
