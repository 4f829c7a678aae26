"A host's certificate from a real ACME server, Debian's caddy: got during a deployment, renewed under load, kept when it cannot be."

import os
import socket
import ssl
import subprocess

import pytest
from conftest import cannot_run
from deploy_lab import PORT, Load, model_of
from eventually import eventually

NAME = "flights.test"  # of h1 and h2 together, and it leads to h2: h2 must answer for h1, too
RENEW = "python3 /usr/local/lib/mlkit/renew_certificate.py"


class Authority:
    "An ACME server on this machine, at the address of the fleet's bridge, in whose eyes NAME is h2."

    def __init__(self, folder, fleet):
        self.folder, self.address = folder, fleet.address(1).rpartition(".")[0] + ".1"
        (folder / "hosts").write_text(f"{fleet.address(2)} {NAME}\n{fleet.address(3)} third.test\n")
        with socket.socket() as free:
            free.bind((self.address, 0))
            self.port = free.getsockname()[1]
        (folder / "Caddyfile").write_text(
            "{\n admin off\n skip_install_trust\n auto_https disable_redirects\n}\n"
            f"https://{self.address}:{self.port} {{\n tls internal\n acme_server\n}}\n"
        )
        self.directory = f"https://{self.address}:{self.port}/acme/local/directory"
        self.root = folder / "caddy/pki/authorities/local/root.crt"
        self.start()

    def start(self):
        script = "mount --bind hosts /etc/hosts && exec caddy run --config Caddyfile --adapter caddyfile"
        environ = {**os.environ, "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        with open(self.folder / "log", "a") as log:
            words = ["unshare", "--mount", "sh", "-c", script]
            self.process = subprocess.Popen(words, cwd=self.folder, env=environ, stdout=log, stderr=log)
        eventually(self.answers)

    def answers(self):
        words = ["curl", "-s", "--max-time", "5", "--cacert", str(self.root), self.directory]
        return b"newOrder" in subprocess.run(words, capture_output=True).stdout

    def stop(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def authority(hosts, tmp_path_factory):
    try:
        subprocess.run(["caddy", "version"], check=True, capture_output=True)
    except FileNotFoundError:
        cannot_run("caddy is not installed, whose ACME server gives the certificates")
    server = Authority(tmp_path_factory.mktemp("authority"), hosts.fleet)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def acme(hosts, authority):
    "The words that make a playbook get certificates, with one account for all hosts."
    beside = hosts.fleet.inventory.parent
    subprocess.run(
        ["openssl", "genrsa", "-out", beside / "account.pem", "2048"], check=True, capture_output=True
    )
    (beside / "authority.pem").write_text(authority.root.read_text())
    words = {
        "proxy_acme_directory": authority.directory,
        "proxy_acme_names": NAME,
        "proxy_acme_account": "account.pem",
        "proxy_acme_authority": "authority.pem",
        "proxy_drain_seconds": 2,
    }
    return [word for name, value in words.items() for word in ("-e", f"{name}={value}")]


@pytest.fixture(scope="module")
def served(hosts, authority):
    "The serial of the certificate that a client gets from a host, who trusts this authority alone."

    def ask(number):
        context = ssl.create_default_context(cafile=authority.root)
        with socket.create_connection((hosts.fleet.address(number), PORT), timeout=10) as link:
            with context.wrap_socket(link, server_hostname=NAME) as tls:
                return tls.getpeercert()["serialNumber"]

    return ask


@pytest.fixture(scope="module")
def certified(hosts, release, acme):
    "h1 and h2 serve the first release, with certificates that they got while it was deployed."
    played = hosts.deploy(release(1), *acme, limit="h1,h2")
    assert played.code == 0, played.output
    assert "PRIVATE KEY" not in played.output
    return played


def test_hosts_behind_one_name_get_certificates_during_a_deployment(hosts, certified, served):
    assert served(1) != served(2)
    kept = hosts.fleet.ssh(
        1, "stat -c %a%U /etc/mlkit/acme/account.pem $(readlink -f /etc/haproxy/mlkit.tls/*.pem)"
    )
    assert set(kept.split()) == {"600root"}
    status = hosts.play("status", "--limit", "h1")
    assert "DRIFT" not in status.output, status.output


def test_renewals_and_a_deployment_under_load_lose_nothing(hosts, certified, served, release, acme):
    before = served(1), served(2)
    cron = "sed -i 's/^[0-9]* /* /' /etc/cron.d/mlkit-acme && rm /etc/mlkit/acme/issued_for"
    hosts.fleet.ssh(2, cron)  # due, and its cron looks every minute
    with Load(hosts.fleet.address(1), tls=True) as load, Load(hosts.fleet.address(2), tls=True) as other:
        hosts.fleet.ssh(1, f"{RENEW} --force")
        eventually(lambda: served(1) != before[0])
        renewed = served(1)
        again = hosts.deploy(release(2), *acme)
        eventually(lambda: served(2) != before[1], seconds=75)
    assert again.code == 0, again.output
    assert served(1) == renewed  # what is not due is not asked for
    assert load.failures == other.failures == []
    assert set(load.answers) == {model_of(1), model_of(2)} and set(other.answers) == {model_of(1)}


def test_without_its_authority_a_host_serves_on_and_says_so(
    hosts, certified, served, release, authority, acme
):
    before = served(1)
    authority.stop()
    try:
        failed = hosts.fleet.ssh(1, f"{RENEW} --force", check=False)
        assert '"counts": true' in failed and "Problem connecting to server" in failed
        assert served(1) == before
        status = hosts.play("status", "--limit", "h1")
        assert "DRIFT: the certificate could not be renewed" in status.output
        again = hosts.deploy(release(1), *acme)
        assert again.code == 0, again.output
        assert served(1) == before
        words = [word.replace(NAME, "third.test") for word in acme]
        refused = hosts.deploy(release(1), *words, limit="h3")
        assert refused.code == 2 and "gave no certificate for third.test" in refused.output
        assert hosts.containers(3) == {}
    finally:
        authority.start()
    assert '"renewed": "asked for"' in hosts.fleet.ssh(1, f"{RENEW} --force")
    assert served(1) != before and "failed.json" not in hosts.fleet.ssh(1, "ls /etc/mlkit/acme")


def test_a_certificate_for_nobody_or_from_two_places_is_refused(hosts, release):
    words = ["-e", "proxy_acme_directory=https://example.test/directory"]
    nameless = hosts.deploy(release(1), *words)
    assert nameless.code == 2 and "no name for the certificate" in nameless.output
    both = hosts.deploy(
        release(1), *words, "-e", "proxy_acme_names=a.test", "-e", "proxy_tls_certificate=a.pem"
    )
    assert both.code == 2 and "take one of them away" in both.output
