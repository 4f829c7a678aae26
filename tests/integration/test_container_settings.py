"A container's environment, folders and processors, as the inventory says."

import json

from deploy_lab import Load, model_of
from eventually import eventually

SETTINGS = {
    "service_env": {"SHOP": "north & south"},
    "service_volumes": ["/srv/shop:/shop:ro"],
    "service_cpus": 0.5,
}
INSPECT = (
    "docker inspect -f '{{json .HostConfig.NanoCpus}}' $(docker ps -q --filter label=mlkit.service=flights)"
)
INSIDE = "docker exec $(docker ps -q --filter label=mlkit.service=flights) "


def test_a_container_gets_what_the_inventory_says_and_a_change_of_it_is_a_deployment(hosts, release):
    assert hosts.deploy(release(1)).code == 0
    hosts.fleet.ssh(1, "mkdir -p /srv/shop && echo price > /srv/shop/list")
    with Load(hosts.fleet.address(1)) as load:
        played = hosts.deploy(release(1), "-e", json.dumps(SETTINGS))
        assert played.code == 0 and hosts.live() == model_of(1), played.output
    assert load.failures == []
    eventually(hosts.is_retired)
    assert hosts.fleet.ssh(1, INSIDE + "printenv SHOP").strip() == "north & south"
    assert hosts.fleet.ssh(1, INSIDE + "cat /shop/list").strip() == "price"
    assert "Read-only" in hosts.fleet.ssh(1, INSIDE + "sh -c 'echo x 2>&1 > /shop/x' 2>&1; true")
    assert json.loads(hosts.fleet.ssh(1, INSPECT)) == 500_000_000


def test_what_cannot_be_given_is_refused_before_the_host_is_touched(hosts, release):
    before = hosts.containers()
    played = hosts.deploy(release(2), "-e", json.dumps({"service_env": {"SHOP": "one\ntwo"}}))
    assert played.code != 0 and "SHOP has a value that is not one line" in played.output
    assert hosts.containers() == before


def test_a_secret_is_a_file_of_the_container_and_is_nowhere_else(hosts, release, tmp_path):
    planted, other = "planted-5d0c71aa-secret", "planted-77e0b41c-other"
    variables = tmp_path / "variables.json"

    def with_secrets(**secrets):
        variables.write_text(json.dumps({"service_secrets": secrets}))
        return "-e", f"@{variables}", "-vvv"

    played = hosts.deploy(release(1), *with_secrets(SHOP_PASSWORD=planted))
    assert played.code == 0 and planted not in played.output, played.output[-3000:]
    eventually(hosts.is_retired)
    assert hosts.fleet.ssh(1, INSIDE + "cat /run/secrets/SHOP_PASSWORD") == planted
    assert hosts.fleet.ssh(1, INSIDE + "stat -c '%a %u' /run/secrets/SHOP_PASSWORD").split() == [
        "400",
        "10001",
    ]
    assert planted not in hosts.fleet.ssh(1, "docker inspect $(docker ps -aq)")
    found = hosts.fleet.ssh(
        1, f"grep -rl {planted} /var/lib/mlkit /etc /root /tmp /var/log 2>/dev/null; true"
    ).split()
    assert found == ["/var/lib/mlkit/flights/secrets/SHOP_PASSWORD"]

    before = hosts.containers()
    change = ("secrets", "-e", "service=flights", "--limit", "h1")
    played = hosts.play(*change, *with_secrets(SHOP_KEY=other))
    assert played.code == 0 and other not in played.output, played.output[-3000:]
    assert (
        hosts.fleet.ssh(1, INSIDE + "ls /run/secrets").split() == ["SHOP_KEY"]
        and hosts.containers() == before
    )
    played = hosts.play(*change, *with_secrets(**{"../keys": planted}))
    assert (
        played.code != 0 and "'../keys' is not a file name" in played.output and planted not in played.output
    )
