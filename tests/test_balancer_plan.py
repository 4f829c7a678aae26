"What a balancer leads to, from an inventory alone."

import pytest
from ansible_collections.mlkit.deploy.plugins.filter import balancer

GROUPS = {"hosts": ["h1", "h2"], "balancers": ["front"]}


def planned(drained=(), groups=GROUPS, own="front", **variables):
    "The plan for flights; `variables` are those of each host that has some."
    hostvars = {name: variables.get(name, {}) for name in ("h1", "h2", "front")}
    return balancer.balancer_plan(
        "flights", groups, hostvars, own, list(drained) if drained != "h1," else drained
    )


def test_it_leads_to_every_host_where_the_host_is_and_listens_on_the_same_port():
    plan = planned(
        h1={"ansible_host": "192.0.2.11", "service_port": 8010},
        h2={
            "ansible_host": "192.0.2.12",
            "balancer_address": "10.0.0.12",
            "service_ports": {"flights": 8020},
        },
    )
    assert plan["listen"] == 8010
    assert [(each["name"], each["address"], each["port"]) for each in plan["servers"]] == [
        ("h1", "192.0.2.11", 8010),
        ("h2", "10.0.0.12", 8020),
    ]


def test_ports_by_name_may_be_text_as_in_settings():
    assert planned(front={"service_ports": '{"flights": 443}'})["listen"] == 443


def test_its_own_port_is_its_own():
    plan = planned(
        front={"service_ports": {"flights": 443}}, h1={"service_port": 8010}, h2={"service_port": 8010}
    )
    assert plan["listen"] == 443 and {each["port"] for each in plan["servers"]} == {8010}


@pytest.mark.parametrize("drained", [["h1"], "h1,"])
def test_a_drained_host_stays_known_and_gets_nothing(drained):
    assert [each["weight"] for each in planned(drained)["servers"]] == [0, 100]


@pytest.mark.parametrize(
    "words, refusal",
    [
        ({"drained": ["h3"]}, "balancer_drained names h3; the hosts are h1, h2"),
        ({"drained": ["h1", "h2"]}, "balancer_drained names all hosts"),
        ({"groups": {"balancers": ["front"]}}, "the group hosts of the inventory is empty"),
        ({"own": "h1"}, "h1 is in the groups hosts and balancers"),
        ({"h2": {"proxy_tls_certificate": "a.pem"}}, "h2 speaks TLS to its clients"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(words, refusal):
    assert planned(**words)["refused"].startswith(refusal)
