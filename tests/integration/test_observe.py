"""A Prometheus that watches a fleet, as playbooks/observe.yml sets both up.

The service has API keys. The tests run in this order: the last ones break what the others look at.
"""

import subprocess

import pytest
from conftest import ROOT, run
from deploy_lab import Hosts, changed
from eventually import eventually
from package_relay import PackageRelay
from prometheus_server import Prometheus

KEYS = ["-e", "service_keys_file=keys"]
OPEN = ["-e", "observe_address={{ ansible_host }}", "-e", "observe_node={{ inventory_hostname == 'h1' }}"]


@pytest.fixture(scope="module")
def hosts(make_fleet, ansible, release):
    "Two hosts that serve, guarded by keys, and are watched; of one the host itself is measured too."
    hosts = Hosts(make_fleet(2), ansible)
    ansible("mlkit", "key", "new", "shop", "--file", hosts.fleet.folder / "keys")
    deployed = hosts.deploy(release(1), *KEYS, limit="all")
    assert deployed.code == 0, deployed.output
    with PackageRelay(hosts.fleet, 1):
        watched = hosts.play("observe", *OPEN)
    assert watched.code == 0, watched.output
    return hosts


@pytest.fixture(scope="module")
def prometheus(hosts, tmp_path_factory):
    server = Prometheus(hosts.fleet.folder / "prometheus", tmp_path_factory.mktemp("prometheus"))
    yield server
    server.stop()


def test_the_files_are_what_prometheus_takes(hosts):
    run("promtool", "check", "config", hosts.fleet.folder / "prometheus/prometheus.yml")
    run("promtool", "test", "rules", ROOT / "tests/integration/rules_test.yml")


def test_every_proxy_service_and_host_is_asked(hosts, prometheus):
    def up():
        found = {
            (labels["job"], labels["host"], labels.get("service"))
            for labels, value in prometheus.query("up")
            if value
        }
        return found == {
            ("mlkit-proxy", "h1", None),
            ("mlkit-proxy", "h2", None),
            ("mlkit-service", "h1", "flights"),
            ("mlkit-service", "h2", "flights"),
            ("mlkit-host", "h1", None),
        }

    eventually(up)
    assert prometheus.query("node_uname_info")[0][0]["nodename"] == "h1"


def test_every_rule_is_evaluated_and_a_sound_fleet_raises_nothing(prometheus):
    eventually(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
    assert len(prometheus.rules()) == 6
    assert [rule["name"] for rule in prometheus.rules() if rule.get("lastError")] == []
    assert prometheus.ask("alerts")["alerts"] == []


def test_metrics_are_given_to_nobody_on_the_port_of_clients_and_nothing_else_on_theirs(hosts):
    def status(place):
        words = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            f"http://{hosts.fleet.address(1)}:{place}",
        ]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    assert status("8000/metrics") == "401"
    assert status("9101/service/flights/metrics") == "200"
    assert [status(f"9101{path}") for path in ("/", "/predict", "/service/churn/metrics")] == ["404"] * 3
    assert (
        hosts.fleet.ssh(1, 'grep -rlF "$(cat /var/lib/mlkit/flights/probe.key)" /etc/haproxy || true') == ""
    )


def test_observing_again_changes_nothing(hosts):
    played = hosts.play("observe", *OPEN, "--limit", "h2")
    assert played.code == 0 and changed(played.output) == 0, played.output


def test_hosts_that_cannot_be_told_apart_are_refused(hosts):
    played = hosts.play("observe", "-e", "observe_address=127.0.0.1", "--check")
    assert played.code == 2 and "h1, h2 give their metrics on 127.0.0.1:9101" in played.output


def test_metrics_follow_a_deployment_and_a_host_that_differs_is_told(hosts, prometheus, release):
    played = hosts.deploy(release(2), *KEYS)
    assert played.code == 0, played.output

    def seen():
        return {labels["host"]: labels["release"] for labels, _ in prometheus.query("mlkit_model_info")}

    eventually(lambda: seen() == {"h1": release(2).name, "h2": release(1).name})
    (alert,) = eventually(lambda: prometheus.firing("ReleasesDiffer"))
    assert alert["service"] == "flights" and alert["environment"] == "inventory"


def test_a_container_that_stopped_is_told(hosts, prometheus):
    name = hosts.only_container()
    hosts.fleet.ssh(1, f"docker stop {name}")
    (alert,) = eventually(lambda: prometheus.firing("ServiceNotReady"))
    assert (alert["host"], alert["service"]) == ("h1", "flights")
    assert [each["host"] for each in eventually(lambda: prometheus.firing("ServiceUnseen"))] == ["h1"]
    hosts.fleet.ssh(1, f"docker start {name}")
    eventually(lambda: not prometheus.firing("ServiceNotReady"))


def test_a_host_that_is_down_is_told(hosts, prometheus):
    hosts.fleet("kill", 2)
    assert [each["host"] for each in eventually(lambda: prometheus.firing("HostDown"))] == ["h2"]
