"The proxy of a host: TLS, HTTP/2, limits, health, and changes of its own that lose nothing."

import hashlib
import json
import ssl
import subprocess

import pytest
from conftest import cannot_run
from deploy_lab import PORT, Load, certificate, model_in
from eventually import eventually

ROWS = json.dumps({"rows": [{"x": 1.5}]})


@pytest.fixture
def beside(hosts):
    "The folder of the inventory, where certificates lie."
    return hosts.fleet.inventory.parent


def curl(*words):
    done = subprocess.run(["curl", "-sk", "--max-time", "20", *words], capture_output=True, text=True)
    return done.stdout


def common_name(address):
    pem = ssl.get_server_certificate((address, PORT))
    words = ["openssl", "x509", "-noout", "-subject"]
    return (
        subprocess.run(words, input=pem, capture_output=True, text=True, check=True)
        .stdout.split("=")[-1]
        .strip()
    )


def test_tls_http2_and_a_new_certificate_without_a_failed_request(hosts, serving, other, beside):
    address = hosts.fleet.address(1)
    tls = ["-e", f"proxy_tls_certificate={certificate(beside, 'one.test').name}"]
    played = hosts.deploy(other, *tls)
    try:
        assert played.code == 0, played.output
        said = curl("--http2", "-w", "%{http_version}", "-d", ROWS, f"https://{address}:{PORT}/predict")
        assert model_in(other) in said and said.endswith("2")
        assert common_name(address) == "one.test"
        with Load(address, tls=True) as load:
            tls = ["-e", f"proxy_tls_certificate={certificate(beside, 'two.test').name}"]
            changed = hosts.play("proxy", "-e", "service=flights", "--limit", "h1", *tls)
            assert changed.code == 0, changed.output
            eventually(lambda: common_name(address) == "two.test")
            again = hosts.deploy(serving, *tls)
        assert again.code == 0, again.output
        assert load.failures == [] and set(load.answers) == {model_in(serving), model_in(other)}
        kept = hosts.fleet.ssh(1, "stat -c %a%U /etc/haproxy/mlkit.tls /etc/haproxy/mlkit.tls/*").split()
        assert kept == ["700root", "600root"]
        told = hosts.play("status", "--limit", "h1").output
        assert "flights: certificate until " in told and "DRIFT" not in told, told
        assert "PRIVATE KEY" not in played.output + changed.output + again.output
    finally:
        assert hosts.play("proxy", "-e", "service=flights", "--limit", "h1").code == 0
    assert hosts.live() == model_in(serving)


def test_a_certificate_that_is_none_is_refused_and_nothing_changes(hosts, serving, beside):
    (beside / "broken.pem").write_text("no certificate")
    refused = hosts.play(
        "proxy", "-e", "service=flights", "-e", "proxy_tls_certificate=broken.pem", "--limit", "h1"
    )
    assert refused.code == 2 and "the proxy refuses its new configuration" in refused.output
    assert hosts.live() == model_in(serving)


def test_a_request_that_is_too_large_is_refused_by_the_proxy(hosts, serving, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b" " * (65 << 20))
    url = f"http://{hosts.fleet.address(1)}:{PORT}/predict"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "-T", large, "-X", "POST", url) == "413"


def newer_proxy(folder):
    "This machine's haproxy as a package of a newer version, whose own configuration file changed, and the index that apt reads."
    try:
        subprocess.run(["dpkg-repack", "haproxy"], cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        cannot_run("dpkg-repack is not installed, which makes a newer haproxy")
    package, content = next(folder.glob("haproxy_*.deb")), folder / "content"
    subprocess.run(["dpkg-deb", "-R", package, content], check=True)
    control, settings = content / "DEBIAN/control", content / "etc/haproxy/haproxy.cfg"
    lines = [
        line + "+newer" if line.startswith("Version: ") else line for line in control.read_text().splitlines()
    ]
    control.write_text("\n".join(lines) + "\n")
    settings.write_text(settings.read_text() + "# newer\n")
    newer = folder / "newer.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", content, newer], check=True, capture_output=True)
    fields = subprocess.run(["dpkg-deb", "-f", newer], check=True, capture_output=True, text=True).stdout
    data = newer.read_bytes()
    index = folder / "Packages"
    index.write_text(
        f"{fields}Filename: ./newer.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
    return newer, index


def test_an_upgrade_of_the_proxy_itself_loses_nothing(hosts, serving, tmp_path):
    for file in newer_proxy(tmp_path):
        hosts.fleet.copy(file, 1, f"/srv/newer/{file.name}")
    hosts.fleet.ssh(1, "echo 'deb [trusted=yes] file:/srv/newer ./' > /etc/apt/sources.list")
    # A package starts and reloads services here as where an init system runs.
    hosts.fleet.ssh(1, "printf '#!/bin/sh\nexit 0\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d")
    address = hosts.fleet.address(1)
    with Load(address) as load, Load(address, keep=False) as new:
        played = hosts.play("proxy", "-e", "service=flights", "-e", "proxy_upgrade=true", "--limit", "h1")
    assert played.code == 0, played.output
    assert load.failures == new.failures == [] and set(load.answers + new.answers) == {model_in(serving)}
    assert hosts.fleet.ssh(1, "dpkg-query -W -f '${Version}' haproxy").endswith("+newer")
    programs = "for each in $(pidof haproxy); do readlink /proc/$each/exe; done"
    # What runs from the old file is "(deleted)": it must have answered its last request soon.
    eventually(lambda: set(hosts.fleet.ssh(1, programs).splitlines()) == {"/usr/sbin/haproxy"})
    assert hosts.live() == model_in(serving)
