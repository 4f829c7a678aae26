"A balancer in front of two hosts: releases are deployed, a host loses its power, a host is maintained, all under load."

import csv
import http.client
import json
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from deploy_lab import PORT, Load, certificate, model_of
from eventually import eventually

SHOW = """python3 -c "
import socket
with socket.socket(socket.AF_UNIX) as link:
    link.connect('/run/haproxy.sock')
    link.sendall(b'show stat\\n')
    print(link.makefile().read().lstrip('# '))
" """


@pytest.fixture(scope="module")
def inventory(hosts):
    "h1 and h2 are hosts; h3 stands in front of them and speaks TLS."
    whole = hosts.fleet.inventory.read_text().splitlines()
    third = next(line for line in whole if line.startswith("h3 "))
    text = "\n".join(line for line in whole if line != third).replace("[hosts:vars]", "[all:vars]")
    pem = certificate(hosts.fleet.inventory.parent, "balancer.test").name
    own = f"\n[balancers]\n{third}\n[balancers:vars]\nproxy_tls_certificate={pem}\nproxy_drain_seconds=5\n"
    file = hosts.fleet.inventory.parent / "balanced.ini"
    file.write_text(text + "\n" + own)
    return file


@pytest.fixture(scope="module")
def play(hosts, inventory):
    "Run a playbook on these hosts; it must succeed."

    def run(name, *words):
        played = hosts.play(name, *words, inventory=inventory)
        assert played.code == 0, played.output

    return run


@pytest.fixture(scope="module")
def balanced(hosts, play, release):
    "The address of the balancer, when the first release is live on both hosts."
    play("deploy", "-e", f"release={release(1)}")
    play("balancer", "-e", "service=flights")
    return hosts.fleet.address(3)


def behind(hosts):
    "What the balancer says of each host: its state, how many requests it was sent, and how many it is answering."
    rows = csv.DictReader(hosts.fleet.ssh(3, SHOW).splitlines())
    return {
        row["svname"]: (row["status"], int(row["stot"]), int(row["scur"]))
        for row in rows
        if row["pxname"] == "mlkit-flights" and row["svname"].startswith("h")
    }


def test_a_release_is_deployed_to_both_hosts_without_a_failed_request(hosts, balanced, play, release):
    with Load(balanced, tls=True) as load, Load(balanced, tls=True, clients=2, keep=False) as new:
        play("deploy", "-e", f"release={release(2)}")
    assert load.failures == new.failures == []
    assert set(load.answers) == set(new.answers) == {model_of(1), model_of(2)}
    assert all(state == "UP" and requests > 20 for state, requests, _ in behind(hosts).values())


def test_the_status_says_where_it_leads_and_how_that_differs_from_the_inventory(hosts, balanced, inventory):
    told = hosts.play("status", "-e", "own=flights", inventory=inventory).output
    assert f"flights: port {PORT} -> h1 UP, h2 UP; certificate until " in told and "DRIFT" not in told, told
    moved = '{"service_ports": {"flights": 8011}}'
    told = hosts.play("status", "-e", "own=flights", "-e", moved, inventory=inventory).output
    said = f"DRIFT: it takes requests at port {PORT}, and the inventory says 8011: run playbooks/balancer.yml"
    assert said in told, told
    assert f"DRIFT: it is at port {PORT}, and the inventory says 8011" in told
    lost = inventory.with_name("lost.ini")
    lost.write_text(
        re.sub(r"^(h[12] ansible_host=)\S+", r"\g<1>127.0.0.2", inventory.read_text(), flags=re.M)
    )
    told = hosts.play("status", "-e", "own=flights", inventory=lost).output
    assert told.count("UNREACHABLE!") == 2 and f"flights: port {PORT} -> h1 UP, h2 UP" in told, told


def ask_slowly(address, seconds):
    "Whether a request that takes so long was answered, and after how many seconds."
    context, began = ssl._create_unverified_context(), time.monotonic()
    connection = http.client.HTTPSConnection(address, PORT, timeout=60, context=context)
    try:
        connection.request("POST", "/predict", json.dumps({"rows": [{"x": 1, "sleep": seconds}]}))
        return connection.getresponse().status == 200, time.monotonic() - began
    except OSError:
        return False, time.monotonic() - began


def test_power_loss_of_a_host_costs_what_it_was_answering_and_nothing_else(hosts, balanced):
    with ThreadPoolExecutor() as clients:
        slow = [clients.submit(ask_slowly, balanced, 15) for _ in range(2)]
        eventually(lambda: [running for _, _, running in behind(hosts).values()] == [1, 1])
        with Load(balanced, tls=True) as load:
            eventually(lambda: load.answers.total() > 50)
            hosts.fleet(
                "cut", 1
            )  # a machine without power says nothing, where killed processes would close their connections
            hosts.fleet("kill", 1)
            eventually(lambda: behind(hosts)["h1"][0] == "DOWN")
            answered = load.answers.total()
            eventually(lambda: load.answers.total() > answered + 100)
            eventually(lambda: any(each.done() for each in slow))
            hosts.fleet("start", 1)
            eventually(lambda: behind(hosts)["h1"][0] == "UP")
            lost, before = len(load.failures), behind(hosts)["h1"][1]
            eventually(lambda: behind(hosts)["h1"][1] > before + 20)
    assert lost <= 4  # one at most for each of the clients
    assert len(load.failures) == lost, load.failures
    answers = dict(each.result() for each in slow)
    assert set(answers) == {True, False}  # the other host answered
    assert answers[False] < 12  # and who waited for the dead one was told before an answer could have come


def test_a_host_that_is_drained_can_be_switched_off_without_a_failed_request(hosts, balanced, play):
    with Load(balanced, tls=True) as load:
        play("balancer", "-e", "service=flights", "-e", "balancer_drained=h1")
        assert behind(hosts)["h1"][:2] == ("UP", 0)
        hosts.fleet("kill", 1)
        hosts.fleet("start", 1)
        eventually(lambda: behind(hosts)["h1"][0] == "UP")
        play("balancer", "-e", "service=flights")
        eventually(lambda: behind(hosts)["h1"][1] > 20)
    assert load.failures == []


def test_what_cannot_be_balanced_is_refused(hosts, inventory):
    nobody = hosts.play("balancer", "-e", "service=flights")
    assert nobody.code == 2 and "the inventory has no group balancers" in nobody.output
    strange = hosts.play(
        "balancer", "-e", "service=flights", "-e", "balancer_drained=h9", inventory=inventory
    )
    assert strange.code == 2 and "balancer_drained names h9; the hosts are h1, h2" in strange.output
