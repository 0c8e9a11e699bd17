"""A stand-in for Lark's open platform: python3 lark.py [PORT [URL]]

It serves the part of Lark's API that the example needs, and sends the events of `events.ndjson` to the app's request URL as
Lark does: first the verification of the URL, then each event, encrypted and signed, again until it is answered with 200.
A URL `-` is read from standard input. What comes of it is on standard output, a line of JSON each: what the app has
subscribed to, and the bot's replies. Nothing but Python's own library and `openssl` is needed, and nothing of trommel.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

HERE = Path(__file__).parent
APP = {"app_id": "cli_9f5343c580712544", "app_secret": (HERE / "secrets/app-secret").read_text().strip()}
ENCRYPT_KEY = (HERE / "secrets/encrypt-key").read_text().strip()
TOKEN = "t-" + os.urandom(16).hex()
MAIL = {
    "message_id": "TUlh",
    "from": {"mail_address": "bob@example.com", "name": "Bob"},
    "subject": "Release 2.4",
    "snippet": "All green",
    "folder_id": "INBOX",
    "label_ids": ["IMPORTANT"],
    "body_text": "All green.",
}
replied = set()
lock = Lock()


def tell(**what):
    with lock:
        print(json.dumps(what), flush=True)


def answer(path, body, token):
    """Status and body of an answer of the API."""
    if path == "/open-apis/auth/v3/tenant_access_token/internal":
        if body != APP:
            return 400, {"code": 10014, "msg": "app secret invalid"}
        return 200, {"code": 0, "msg": "ok", "tenant_access_token": TOKEN, "expire": 7200}
    if token != f"Bearer {TOKEN}":
        return 400, {"code": 99991663, "msg": "Invalid access token for authorization."}
    if found := re.fullmatch(r"/open-apis/mail/v1/user_mailboxes/([^/]+)/event/(\w+)", path):
        tell(mailbox=found[1], event=found[2])
        return 200, {"code": 0, "msg": "success"}
    if re.fullmatch(r"/open-apis/mail/v1/user_mailboxes/[^/]+/messages/[^/]+\?format=metadata", path):
        return 200, {"code": 0, "data": {"message": MAIL}}
    if found := re.fullmatch(r"/open-apis/im/v1/messages/(\w+)/reply", path):
        if body["uuid"] not in replied:
            replied.add(body["uuid"])
            tell(reply_to=found[1], text=json.loads(body["content"])["text"])
        return 200, {"code": 0, "data": {"message_id": f"om_re_{found[1]}"}}
    return 404, {"code": 99991404, "msg": "not found"}


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, said = answer(self.path, json.loads(body or "{}"), self.headers.get("authorization"))
        said = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def log_message(self, *_):
        pass


def encrypted(text):
    """AES-256 in CBC mode, behind its initialisation vector."""
    key, vector = hashlib.sha256(ENCRYPT_KEY.encode()).digest(), os.urandom(16)
    command = ["openssl", "enc", "-aes-256-cbc", "-K", key.hex(), "-iv", vector.hex()]
    sealed = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
    return json.dumps({"encrypt": base64.b64encode(vector + sealed).decode()}).encode()


def send(url, text, signed=True):
    """The answer to a request, which is repeated until there is one with 200."""
    body = encrypted(text)
    for _ in range(100):
        headers = {"content-type": "application/json; charset=utf-8"}
        if signed:
            now, nonce = str(int(time.time())), os.urandom(8).hex()
            signature = hashlib.sha256((now + nonce + ENCRYPT_KEY).encode() + body).hexdigest()
            headers |= {"X-Lark-Request-Timestamp": now, "X-Lark-Request-Nonce": nonce, "X-Lark-Signature": signature}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
                return answer.read()
        except OSError as error:
            print(f"again in 300 ms: {error}", file=sys.stderr, flush=True)
            time.sleep(0.3)
    sys.exit(f"{url} does not answer")


def send_all(url):
    challenge = os.urandom(8).hex()
    asked = {"challenge": challenge, "token": "", "type": "url_verification"}
    if json.loads(send(url, json.dumps(asked), signed=False)) != {"challenge": challenge}:
        sys.exit("the request URL was not verified")
    events = (HERE / "events.ndjson").read_text().splitlines()
    for event in events:
        send(url, event)
    tell(sent=len(events))


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8490
url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8491/lark/" + APP["app_id"]
server = ThreadingHTTPServer(("127.0.0.1", port), Api)
print("listening on http://%s:%d" % server.server_address, file=sys.stderr, flush=True)
Thread(target=server.serve_forever, daemon=True).start()
try:
    send_all(sys.stdin.readline().strip() if url == "-" else url)
    while True:
        time.sleep(60)
except KeyboardInterrupt:
    pass
