"A real S3 server (SeaweedFS), on ports and in a folder of its own, with one bucket and one identity."

import json
import subprocess
import sys
from pathlib import Path

import s3fs
from botocore.exceptions import BotoCoreError
from eventually import eventually
from laptop import free_port

WEED = Path(sys.executable).with_name("weed")
KEY, SECRET, BUCKET = "tester", "a secret of the tests", "mlkit"


class S3Server:
    "Started by the constructor; `kill()` is the power cut and the end, `start()` the return."

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.others = {name: free_port() for name in ("master", "volume", "filer")}
        self.grpc = {name: free_port() for name in ("master", "volume", "filer", "s3")}
        tester = {
            "name": "tester",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (folder / "identities.json").write_text(json.dumps({"identities": [tester]}))
        (folder / "data").mkdir()
        self.start()

    def url(self, prefix):
        return f"s3://{BUCKET}/{prefix}"

    @property
    def environment(self):
        "What a person sets to use this server."
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self):
        if self.process:
            self.kill()
        ports = [f"-{name}.port={port}" for name, port in self.others.items()]
        ports += [f"-{name}.port.grpc={port}" for name, port in self.grpc.items()]
        self.process = subprocess.Popen(
            [
                WEED,
                "server",
                f"-dir={self.folder}/data",
                "-ip=127.0.0.1",
                "-master.telemetry=false",
                "-master.electionTimeout=1s",  # after a kill it elects itself again
                "-master.volumeSizeLimitMB=256",
                "-volume.max=20",
                "-volume.preStopSeconds=0",
                "-filer",
                f"-filer.localSocket={self.folder}/filer.sock",
                "-s3",
                f"-s3.port={self.port}",
                f"-s3.config={self.folder}/identities.json",
                f"-s3.localSocket={self.folder}/s3.sock",
                "-s3.autoCreateBucket=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                *ports,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        eventually(self._writes, seconds=60)

    def _writes(self):
        "Whether the server takes and gives back an object in the bucket."
        client = s3fs.S3FileSystem(
            key=KEY,
            secret=SECRET,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={"retries": {"total_max_attempts": 1}},
        )
        client.retries = 1
        try:
            if not client.exists(BUCKET):
                client.mkdir(BUCKET)
            client.pipe_file(f"{BUCKET}/probe", b"a")
            return client.cat_file(f"{BUCKET}/probe") == b"a"
        except BotoCoreError as error:  # not an OSError: nobody listens yet
            raise OSError(str(error)) from None

    def kill(self):
        self.process.kill()
        self.process.wait()
