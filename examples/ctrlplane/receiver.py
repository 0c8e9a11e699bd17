"""A receiver of webhooks that believes only what is signed: python3 receiver.py [PORT]

It has one path for each webhook, /NAME, and that webhook's secret in secrets/NAME. Every event that it believes is a
line on standard output. Nothing but Python's own library is needed.
"""

import base64
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

SECRETS = Path(__file__).parent / "secrets"
TOLERANCE = 300  # seconds
LARGEST = 1 << 20  # bytes

keys = {
    f"/{file.name}": base64.b64decode(file.read_text().strip().removeprefix("whsec_"))
    for file in SECRETS.iterdir()
}
seen = set()
lock = Lock()


def doubt(key, headers, body):
    """Why a message is not to be believed; None if it is."""
    sent = headers.get("webhook-timestamp", "")
    if not sent.isdecimal() or abs(time.time() - int(sent)) > TOLERANCE:
        return "it was not sent just now"
    signed = b".".join([headers.get("webhook-id", "").encode(), sent.encode(), body])
    ours = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    # While a secret is being replaced there are two signatures.
    theirs = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(ours.encode(), one.encode()) for one in theirs):
        return "it was not signed with our secret"
    return None


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LARGEST:
            self.close_connection = True
            return self.answer(413, "too large")
        body = self.rfile.read(length)
        key = keys.get(self.path)
        if key is None:
            return self.answer(404, "there is no such webhook here")
        reason = doubt(key, self.headers, body)
        if reason is not None:
            return self.answer(401, reason)
        with lock:
            # Deliveries come at least once, and a repeat has the same id.
            delivery = self.headers["webhook-id"]
            if delivery not in seen:
                seen.add(delivery)
                event = {"webhook": self.path[1:], "event": json.loads(body)}
                print(json.dumps(event, separators=(",", ":")), flush=True)
        self.answer(200, "thank you")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8477), Receiver)
print("listening on http://%s:%d" % server.server_address, file=sys.stderr, flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
