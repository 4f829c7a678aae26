"A laptop whose project deploys to hosts of a fleet."

import http.client
import json

from laptop import Laptop

PORT = 8300


class Fleeted(Laptop):
    "A project with the environment `lab`: the first hosts of the fleet."

    def __init__(self, folder, fleet, base_images, hosts=1, **settings):
        super().__init__(folder)
        self.fleet, self.address = fleet, fleet.address(1)
        lines = fleet.inventory.read_text().splitlines()
        others = tuple(f"h{number} " for number in range(hosts + 1, 10))
        (folder / "inventory.ini").write_text(
            "\n".join(line for line in lines if not line.startswith(others))
        )
        lab = {"inventory": "inventory.ini", "service_port": PORT, "proxy_drain_seconds": 2} | settings
        self.lab(**lab)
        images = [argument.split("=", 1) for argument in base_images if "=" in argument]
        self.environment = {f"MLKIT_{name}": value for name, value in images}

    def lab(self, **settings):
        "Write the environment anew."
        file = self.folder / "settings.ini"
        before = file.read_text().partition("[environment lab]")[0]
        lines = [f"{key} = {value}" for key, value in settings.items()]
        file.write_text(before + "[environment lab]\n" + "\n".join(lines) + "\n")
        self.settings = settings

    def mlkit(self, *words, check=True, **environment):
        return super().mlkit(*words, check=check, **self.environment | environment)

    def release(self, model):
        "Register a model and build its release; give its id."
        self.mlkit("register", model)
        return json.loads(self.mlkit("release", model, "--json").stdout)["id"]

    def ask(self, path="/readyz", body=None, key=None):
        "Status and body of an answer of the host."
        connection = http.client.HTTPConnection(self.address, self.settings["service_port"], timeout=10)
        headers = {"Content-Type": "application/json"} | ({"X-Api-Key": key} if key else {})
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def live(self):
        return json.loads(self.ask()[1])["model"]["digest"]

    def journal(self, host=1):
        lines = self.fleet.ssh(host, "cat /var/lib/mlkit/flights/journal.jsonl").splitlines()
        return [json.loads(line) for line in lines]
