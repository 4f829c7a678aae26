"A model server in the standard library alone: a prediction is the row's x, times a third, plus the model's number."

import json
import os
import signal
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL, BROKEN = os.environ["MODEL"], os.environ["BROKEN"]
NUMBER = int(MODEL[-4:], 16)
running = threading.Semaphore(1000)
answered = 0


def predict(row):
    wrong = BROKEN == "wrong golden answer" or BROKEN == "wrong after the first answer" and answered
    return row["x"] / 3 + NUMBER + (1e-9 if wrong else 0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/readyz" and BROKEN == "never ready":
            self.answer(503, {"title": "the model is not loaded", "status": 503})
        else:
            digest = "sha256:" + "0" * 64 if BROKEN == "wrong digest" else MODEL
            self.answer(200, {"status": "ready", "model": {"name": "dummy", "version": 1, "digest": digest}})

    def do_POST(self):
        global answered
        with running:
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rows"]
            time.sleep(sum(row.get("sleep", 0) for row in rows))
            self.answer(
                200, {"id": uuid.uuid4().hex, "model": MODEL, "predictions": [predict(row) for row in rows]}
            )
            answered += 1

    def log_message(self, *words):
        pass


def drain(*_):
    def finish():
        server.shutdown()
        for _ in range(1000):
            running.acquire()
        os._exit(0)

    threading.Thread(target=finish).start()


if BROKEN == "exits at start":
    print("cannot load the model: bundle.json is missing", flush=True)
    sys.exit(3)
server = ThreadingHTTPServer(("0.0.0.0", 8000), Handler)
signal.signal(signal.SIGTERM, drain)
print(f"serving {MODEL}", flush=True)
server.serve_forever()
