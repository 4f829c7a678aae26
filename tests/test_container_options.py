"What a container is given beside its image: right options, or a sentence before any host is touched."

import pytest
from ansible_collections.mlkit.deploy.plugins.filter import container


def test_without_settings_a_container_is_what_it_was():
    assert container.container_options({}, [], 0) == {"options": []}


def test_variables_volumes_and_processors_are_options_in_an_order_of_their_own():
    given = container.container_options(
        {"B": 2, "A": "x = y"}, ["/srv/data:/data:ro", "/srv/out:/out"], "1.50"
    )
    assert given["options"] == [
        "--env=A=x = y",
        "--env=B=2",
        "--volume=/srv/data:/data:ro",
        "--volume=/srv/out:/out",
        "--cpus=1.5",
    ]
    assert container.container_options('{"A": "1"}', '["/a:/b"]', 0)["options"] == [
        "--env=A=1",
        "--volume=/a:/b",
    ]


@pytest.mark.parametrize(
    "variables, volumes, cpus, why",
    [
        ({"1A": "x"}, [], 0, "'1A' cannot be the name of a variable"),
        ({"A=B": "x"}, [], 0, "cannot be the name of a variable"),
        ({"A": "one\ntwo"}, [], 0, "A has a value that is not one line"),
        ({"A": {"b": 1}}, [], 0, "A has a value that is not one line"),
        ({"A": None}, [], 0, "A has a value that is not one line"),
        ({"MLKIT_KEYS": "/x"}, [], 0, "MLKIT_KEYS is set by service_keys_file"),
        ({"WEB_CONCURRENCY": 9}, [], 0, "WEB_CONCURRENCY is set by service_workers"),
        ("A=1", [], 0, "service_env is not a mapping"),
        (["A"], [], 0, "service_env is not a mapping"),
        ({}, "/a:/b", 0, "service_volumes is not a list"),
        ({}, ["data:/data"], 0, "is not /path/on/host:/path/in/container"),
        ({}, ["/a:/b:rw,Z"], 0, "is not /path/on/host:/path/in/container"),
        ({}, ["/a"], 0, "is not /path/on/host:/path/in/container"),
        ({}, ["/a:/model/x"], 0, "would hide /model/x"),
        ({}, ["/a:/"], 0, "would hide /"),
        ({}, ["/a:/data/../model"], 0, "is not /path/on/host:/path/in/container"),
        ({}, ["/a://model"], 0, "is not /path/on/host:/path/in/container"),
        ({}, ["/a:/./model"], 0, "is not /path/on/host:/path/in/container"),
        ({}, ["/../etc:/data"], 0, "is not /path/on/host:/path/in/container"),
        ({}, ["/a:/data:"], 0, "is not /path/on/host:/path/in/container"),
        ({}, ["/a:/run"], 0, "would hide /run"),
        ({}, ["/a:/var/run/secrets"], 0, "would hide /var/run/secrets"),
        ({}, ["/a:/usr/lib"], 0, "would hide /usr/lib"),
        ({"MLKIT_PROBE": "x"}, [], 0, "MLKIT_PROBE is set by the deployment"),
        ({}, [], "two", "service_cpus: 'two' is not a number of processors"),
        ({}, [], -1, "is not a number of processors"),
        ({}, [], "nan", "is not a number of processors"),
    ],
)
def test_what_no_container_can_be_given_is_refused_in_a_sentence(variables, volumes, cpus, why):
    assert why in container.container_options(variables, volumes, cpus)["refused"]
