"Ports: what the inventory says, what was deployed, and where the proxy takes requests."

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import drift


@pytest.mark.parametrize(
    ("state", "listens", "wanted", "said"),
    [
        (8000, [8000], 8000, []),
        (8000, [8000], None, []),
        (None, [], 8000, []),
        (8000, [], None, ["the proxy does not take requests at port 8000, where it was deployed"]),
        (
            8000,
            [8011],
            None,
            ["the proxy does not take requests at port 8000, where it was deployed, but at 8011"],
        ),
        (
            8000,
            [8000, 8011],
            None,
            ["the proxy also takes requests at port 8011, where it was not deployed"],
        ),
        (
            8000,
            [8000],
            "8010",
            [
                "it is at port 8000, and the inventory says 8010: the next deploy moves it, and clients must know"
            ],
        ),
    ],
)
def test_a_port_that_is_not_where_it_should_be_is_named(state, listens, wanted, said):
    here = {"state": state and {"port": state}, "live": {"release": "flights-1"}, "listens": listens}
    assert drift.port_drift(here, wanted) == said
