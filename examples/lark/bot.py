"""The bot: a line of standard input is a message, as the component im-message puts it out; `ok` says that it is dealt with.

A message that was not confirmed comes again, so that each reply names its message in `uuid`: Lark takes one reply for it.
"""

import json
import os
import sys
import urllib.request


def call(path, body, token=None):
    request = urllib.request.Request(os.environ["LARK"] + path, json.dumps(body).encode())
    request.add_header("content-type", "application/json; charset=utf-8")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def reply(message):
    with open(os.environ["APP_SECRET_FILE"]) as secret:
        app = {"app_id": os.environ["APP_ID"], "app_secret": secret.read().strip()}
    token = call("/open-apis/auth/v3/tenant_access_token/internal", app)["tenant_access_token"]
    content = json.dumps({"text": "I have read: " + message.get("content", "nothing").split("\n")[0]})
    body = {"msg_type": "text", "content": content, "uuid": message["message_id"]}
    call(f"/open-apis/im/v1/messages/{message['message_id']}/reply", body, token)


for line in sys.stdin:
    reply(json.loads(line))
    print("ok", flush=True)
