"A real Prometheus, started with the files that playbooks/observe.yml writes, only more impatient."

import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from conftest import cannot_run


class Prometheus:
    "A running Prometheus; every second it asks its targets and judges its rules, and an alert waits for one second."

    def __init__(self, folder, data):
        if not shutil.which("prometheus"):
            cannot_run("there is no prometheus")
        for name in ("prometheus.yml", "mlkit.rules.yml"):
            text = (folder / name).read_text()
            text = re.sub(r"(?m)^(\s*)(for|scrape_interval|evaluation_interval): .*", r"\1\2: 1s", text)
            (folder / name).write_text(text)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.place = f"127.0.0.1:{free.getsockname()[1]}"
        words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={data}/tsdb"]
        with open(data / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", *words, f"--web.listen-address={self.place}"], stdout=log, stderr=log
            )

    def ask(self, route, **parameters):
        "What its API answers. Raises `OSError` while it starts."
        url = f"http://{self.place}/api/v1/{route}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # not yet
                raise
            raise AssertionError(error.read().decode()) from error

    def query(self, expression):
        "The labels and the value of each result."
        return [
            (each["metric"], float(each["value"][1]))
            for each in self.ask("query", query=expression)["result"]
        ]

    def rules(self):
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def firing(self, name):
        "The labels of the alerts of this name that are raised."
        return [
            alert["labels"]
            for alert in self.ask("alerts")["alerts"]
            if alert["labels"]["alertname"] == name and alert["state"] == "firing"
        ]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
