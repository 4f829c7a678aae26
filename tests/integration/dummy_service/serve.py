"A model server in the standard library alone: a prediction is the row's x, times a third, plus the model's number."

import collections
import hashlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL, BROKEN = os.environ["MODEL"], os.environ["BROKEN"]
PROBE = os.environ.get("MLKIT_PROBE", "")
NUMBER = int(MODEL[-4:], 16)
EDGES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, float("inf"))
running = threading.Semaphore(1000)
answered = 0
lock, seconds, statuses = threading.Lock(), [], collections.Counter()


def metrics():
    release = os.environ.get("MLKIT_RELEASE", "")
    lines = [f'mlkit_model_info{{name="dummy",digest="{MODEL}",release="{release}"}} 1']
    lines += [f'mlkit_requests_total{{route="/predict",status="{code}"}} {n}' for code, n in statuses.items()]
    for edge in EDGES:
        name = "+Inf" if edge == float("inf") else edge
        count = sum(each <= edge for each in seconds)
        lines.append(f'mlkit_request_seconds_bucket{{route="/predict",le="{name}"}} {count}')
    return "\n".join(lines).encode() + b"\n"


def may_read(headers):
    "Whether this is the deployment's own key: as a deployment sends it, or as Prometheus does."
    key = headers["X-Api-Key"] or (headers["Authorization"] or "").removeprefix("Bearer ")
    return PROBE in ("", "sha256:" + hashlib.sha256(key.encode()).hexdigest())


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
        if self.path == "/metrics" and not may_read(self.headers):
            self.answer(401, {"title": "an API key is needed", "status": 401})
        elif self.path == "/metrics":
            self.send_response(200)
            body = metrics()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif self.path == "/readyz" and BROKEN == "never ready":
            self.answer(503, {"title": "the model is not loaded", "status": 503})
        else:
            digest = "sha256:" + "0" * 64 if BROKEN == "wrong digest" else MODEL
            self.answer(200, {"status": "ready", "model": {"name": "dummy", "version": 1, "digest": digest}})

    def do_POST(self):
        global answered
        with running:
            began = time.monotonic()
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rows"]
            time.sleep(sum(row.get("sleep", 0) for row in rows))
            live = len(rows) < 10  # golden rows are more
            if BROKEN == "slow" and live:
                time.sleep(0.3)
            status = 500 if BROKEN == "fails live requests" and live else 200
            with lock:
                seconds.append(time.monotonic() - began)
                statuses[status] += 1
            self.answer(
                status,
                {"id": uuid.uuid4().hex, "model": MODEL, "predictions": [predict(row) for row in rows]},
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
