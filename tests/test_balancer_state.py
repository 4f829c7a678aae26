"What a balancer does beside what the inventory says: pieces of a configuration and rows of a proxy, no host."

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import balancer_state as state

PIECE = """listen mlkit-flights
  bind *:443 ssl crt /etc/haproxy/mlkit.tls/flights-0123456789ab.pem alpn h2,http/1.1
  balance leastconn
  server h1 10.0.0.1:8000 weight 100
  server h2 10.0.0.2:8000 weight 0

"""
PLAN = {
    "listen": 443,
    "servers": [
        {"name": "h1", "address": "10.0.0.1", "port": 8000},
        {"name": "h2", "address": "10.0.0.2", "port": 8000},
    ],
}


def seen(piece=PIECE, **status):
    "The service as a balancer with this piece shows it, with the state of each host."
    rows = [{"pxname": "mlkit-flights", "svname": host, "status": word} for host, word in status.items()]
    pieces = {
        "flights.cfg": piece,
        "00-global.cfg": "global\n",
        "churn.cfg": "listen mlkit-churn\n  bind *:9000\n",
    }
    (service,) = state.services_of(pieces, rows).items()
    assert service[0] == "flights"
    return service[1]


def test_ports_certificate_and_hosts_are_those_of_its_piece_and_their_state_is_the_proxys():
    here = seen(h1="UP 1/2", h2="DOWN")
    assert here["ports"] == [443]
    assert here["certificate"] == "/etc/haproxy/mlkit.tls/flights-0123456789ab.pem"
    assert here["hosts"] == {
        "h1": {"address": "10.0.0.1:8000", "drained": False, "state": "UP"},
        "h2": {"address": "10.0.0.2:8000", "drained": True, "state": "DOWN"},
    }


def test_a_balancer_as_the_inventory_says_does_not_drift_and_a_drained_host_is_meant():
    assert state.differences(seen(h1="UP", h2="UP"), PLAN) == []
    assert state.differences(seen(h1="UP", h2="UP"), None) == []


RUN = ": run playbooks/balancer.yml"


@pytest.mark.parametrize(
    ("piece", "plan", "said"),
    [
        (PIECE, PLAN | {"listen": 8443}, "it takes requests at port 443, and the inventory says 8443" + RUN),
        (
            PIECE,
            PLAN | {"servers": PLAN["servers"][:1]},
            "it leads to h2, which is not in the inventory" + RUN,
        ),
        (
            PIECE.replace("  server h2 10.0.0.2:8000 weight 0\n", ""),
            PLAN,
            "h2 is in the inventory, and it does not lead there" + RUN,
        ),
        (
            PIECE.replace("10.0.0.2", "10.0.0.9"),
            PLAN,
            "it leads to h2 at 10.0.0.9:8000, and the inventory says 10.0.0.2:8000" + RUN,
        ),
        (PIECE, {"refused": "h1 speaks TLS to its clients"}, "h1 speaks TLS to its clients"),
    ],
)
def test_each_difference_is_named_with_what_to_do(piece, plan, said):
    assert state.differences(seen(piece, h1="UP", h2="UP"), plan) == [said]


def test_a_host_that_is_down_and_a_proxy_that_does_not_run_are_said():
    assert state.differences(seen(h1="UP", h2="DOWN"), PLAN) == ["h2 does not answer it: DOWN"]
    here = state.services_of({"flights.cfg": PIECE}, None)["flights"]
    assert state.differences(here, None) == [
        "h1 does not answer it: its proxy does not run",
        "h2 does not answer it: its proxy does not run",
    ]


def test_a_balancer_that_leads_to_no_host_of_the_service_is_said():
    nowhere = {"ports": [], "certificate": None, "hosts": {}}
    (said,) = state.differences(nowhere, PLAN)
    assert said.startswith("the inventory names it as a balancer, and it does not lead to this service")
