"By default a service's container answers the host's proxy and reaches nobody: not the host, no other one, no cloud metadata."

import json

import pytest
from deploy_lab import Hosts, Load, model_of, one
from eventually import eventually

ENGINES = {1: "podman", 2: "docker"}
METADATA = "169.254.169.254"
# What listens on a host, also where a cloud has its metadata
LISTEN = f"""ip address replace {METADATA}/32 dev lo
setsid python3 -m http.server 9000 >/dev/null 2>&1 </dev/null &"""
TRY = """
import json, socket, sys, threading

way = [line.split() for line in open("/proc/net/route")][1:]
[gateway] = [bytes.fromhex(line[2])[::-1] for line in way if line[1] == "00000000"]
places = json.loads(sys.argv[1]) | {"bridge": socket.inet_ntoa(gateway)}
found = {}

def attempt(name, address):
    try:
        socket.create_connection((address, 9000), 3).close()
        found[name] = True
    except OSError:
        found[name] = False

tries = [threading.Thread(target=attempt, args=place) for place in places.items()]
for each in tries:
    each.start()
for each in tries:
    each.join()
print(json.dumps(found))
"""
EVERYBODY = {"metadata", "host", "other host", "bridge"}


class Reaching(Hosts):
    "A host with podman and one with docker, and what their containers reach."

    def __init__(self, fleet, ansible):
        super().__init__(fleet, ansible)
        for number in ENGINES:
            self.listen(number)
        fleet.ssh(
            2, "rm /usr/sbin/nft"
        )  # on the host with podman nft closes the network, on this one iptables

    def listen(self, number):
        self.fleet.ssh(number, LISTEN)

    def inside(self, number, *words):
        "Run a command in the live container, once the one that it replaced is stopped."
        engine = ENGINES[number]
        listed = f"{engine} ps --quiet --filter label=mlkit.service=flights"
        container = eventually(lambda: one(self.fleet.ssh(number, listed).split()))
        return self.fleet.ssh(number, f"{engine} exec -i {container} {' '.join(words)}")

    def reached(self, number):
        "The names of what a program in the live container reaches."
        other = next(each for each in ENGINES if each != number)
        places = {
            "metadata": METADATA,
            "host": self.fleet.address(number),
            "other host": self.fleet.address(other),
        }
        words = f"python3 - '{json.dumps(places)}' <<'END'\n{TRY}\nEND"
        found = json.loads(self.inside(number, words))
        return {name for name, is_reached in found.items() if is_reached}


@pytest.fixture(scope="module")
def reaching(make_fleet, ansible, release):
    "Both serve the first release, as nobody has said what they may reach."
    fleet = make_fleet(1, "podman")
    fleet("up", 2)
    reaching = Reaching(fleet, ansible)
    played = reaching.deploy(release(1), limit="h1:h2")
    assert played.code == 0, played.output
    return reaching


@pytest.mark.parametrize("number", ENGINES)
def test_a_container_reaches_nobody_and_is_reached_by_the_proxy(reaching, number):
    assert reaching.reached(number) == set()
    assert reaching.live(number) == model_of(1)


@pytest.mark.parametrize("number", ENGINES)
def test_a_name_is_not_found_and_not_waited_for(reaching, number):
    ask = "import socket, time; start = time.time()\ntry: socket.getaddrinfo('example.com', 80)\nexcept OSError: pass\n"
    words = f"python3 - <<'END'\n{ask}print(time.time() - start < 4)\nEND"
    assert reaching.inside(number, words) == "True"


@pytest.mark.parametrize("number", ENGINES)
def test_one_that_may_reaches_everybody_and_closing_it_loses_no_request(reaching, release, number):
    def say(network):
        played = reaching.deploy(release(1), "-e", f"service_network={network}", limit=f"h{number}")
        assert played.code == 0, played.output

    with Load(reaching.fleet.address(number)) as load:
        say("open")
        assert reaching.reached(number) == EVERYBODY
        say("closed")
        assert reaching.reached(number) == set()
    assert load.failures == [] and load.answers


@pytest.mark.parametrize("number", ENGINES)
def test_after_a_power_cut_it_is_closed_before_it_answers(reaching, number):
    reaching.fleet("kill", number)
    reaching.fleet("start", number)
    eventually(lambda: reaching.serves(number) == model_of(1))
    reaching.listen(number)
    assert reaching.reached(number) == set()


def test_after_a_restart_of_docker_it_is_closed(reaching):
    before = reaching.fleet.ssh(2, "cat /var/run/docker.pid")
    reaching.fleet.ssh(2, "service docker restart")
    eventually(lambda: reaching.fleet.ssh(2, "cat /var/run/docker.pid") != before)
    eventually(lambda: reaching.serves(2) == model_of(1))
    assert reaching.reached(2) == set()


@pytest.mark.parametrize("number", ENGINES)
def test_a_rule_that_somebody_took_away_is_back_with_the_next_release(reaching, release, number):
    flush = {1: "nft delete table inet mlkit_closed", 2: "iptables -t mangle -F PREROUTING"}
    reaching.fleet.ssh(number, flush[number])
    assert EVERYBODY & reaching.reached(number)
    status = reaching.play("status", "--limit", f"h{number}").output
    assert (
        "the rule that closes its network is gone; /etc/init.d/closed-mlkit-network start puts it back"
        in status
    )
    played = reaching.deploy(release(2), limit=f"h{number}")
    assert played.code == 0 and reaching.reached(number) == set(), played.output


@pytest.mark.parametrize("number", ENGINES)
def test_a_host_on_which_it_cannot_be_closed_is_refused_in_words(reaching, release, number):
    before = reaching.live(number)
    place = reaching.fleet.ssh(number, "command -v nft iptables | head -n 1")
    reaching.fleet.ssh(number, f"mv {place} /root/kept")
    try:
        reaching.fleet.ssh(number, f"printf '#!/bin/sh\\nexit 1\\n' > {place}; chmod +x {place}")
        played = reaching.deploy(release(3), limit=f"h{number}")
    finally:
        reaching.fleet.ssh(number, f"mv /root/kept {place}")
    assert played.code == 2 and "cause: its network cannot be closed: " in played.output, played.output
    assert "service_network=open" in played.output and reaching.live(number) == before


def test_another_word_for_it_is_refused_before_a_host_is_touched(reaching, release):
    before = reaching.containers(2)
    played = reaching.deploy(release(3), "-e", "service_network=internal", limit="h2")
    assert played.code == 2 and "value of service_network must be one of: closed, open" in played.output
    assert reaching.containers(2) == before


@pytest.mark.parametrize("number", ENGINES)
def test_where_the_last_service_is_removed_nothing_is_left_but_its_journal(reaching, number):
    words = (
        f"{ENGINES[number]} network ls --format '{{{{.Name}}}}' | grep mlkit; ls -A /usr/local/lib/mlkit; ls -d /etc/init.d/*mlkit*; "
        "nft list ruleset | grep mlkit; iptables -t mangle -S PREROUTING | grep conntrack; cat /etc/haproxy/mlkit.deployments; "
        "ls -A /var/lib/mlkit/flights"
    )
    left = f"( {words} ) 2>/dev/null; true"
    before = reaching.fleet.ssh(number, left)
    assert "mlkit-closed" in before and "closed-mlkit-network" in before and "recover-mlkit-flights" in before
    assert ("table inet mlkit_closed" if number == 1 else "ctstate") in before
    named = ("-e", "service=flights", "-e", "with_predictions=true", "--limit", f"h{number}")
    played = reaching.play("remove", *named)
    assert played.code == 0 and "the closed network" in played.output, played.output
    assert reaching.fleet.ssh(number, left).split() == ["journal.jsonl"]
