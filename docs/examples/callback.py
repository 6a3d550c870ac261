"""A callback for webhooks: SECRET=s3cret python3 docs/examples/callback.py PORT"""
import hashlib
import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SECRET = os.environ["SECRET"].encode()


def is_signed(body, header):
    """Whether these very bytes are from whoever knows the secret."""
    expected = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), (header or "").encode())


class Callback(BaseHTTPRequestHandler):
    def do_GET(self):
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        print(query["hub.mode"], query["hub.topic"], query.get("hub.reason", query["hub.events"]), flush=True)
        if query["hub.mode"] == "denied":
            self.answer(200)
        elif query["hub.topic"] == "demo":  # what you have asked for, and nothing else
            self.answer(200, query["hub.challenge"])
        else:
            self.answer(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not is_signed(body, self.headers["X-Hub-Signature"]):
            return self.answer(401)
        message = json.loads(body)
        print(message["event"]["hub.event"], message["id"], flush=True)
        self.answer(202)

    def answer(self, status, body=""):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass



server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Callback)
print("listening", flush=True)
server.serve_forever()
