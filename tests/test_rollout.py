"The numbers by which a rollout is judged, against a textbook's and against our own server's metrics."

import math
import random

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import rollout

METRICS = """# HELP mlkit_requests_total Requests answered
mlkit_requests_total{route="/predict",status="200"} 90.0
mlkit_requests_total{route="/predict",status="503"} 10.0
mlkit_requests_total{route="/readyz",status="200"} 7.0
mlkit_request_seconds_bucket{le="0.001",route="/predict"} 50.0
mlkit_request_seconds_bucket{le="0.01",route="/predict"} 98.0
mlkit_request_seconds_bucket{le="0.1",route="/predict"} 100.0
mlkit_request_seconds_bucket{le="+Inf",route="/predict"} 100.0
mlkit_request_seconds_bucket{le="0.1",route="/metrics"} 1000.0
"""


def test_the_metrics_of_a_container_are_understood():
    metrics = rollout.read_metrics(METRICS)
    assert rollout.answered(metrics) == (100, 10)
    assert rollout.p99(metrics) == pytest.approx(0.01 + 0.09 / 2)
    assert rollout.answered(rollout.since(metrics, metrics)) == (0, 0)
    assert rollout.p99({}) is None


def test_psi_is_that_of_the_textbook():
    expected, actual = [200, 300, 500], [300, 300, 400]
    shares = [(0.2, 0.3), (0.3, 0.3), (0.5, 0.4)]
    textbook = sum((a - e) * math.log(a / e) for e, a in shares)
    assert rollout.psi(expected, actual) == pytest.approx(textbook, abs=0.001)


def test_psi_tells_a_shift_from_chance():
    draw = random.Random(1)
    old, same = ([draw.betavariate(2, 5) for _ in range(1000)] for _ in "12")
    shifted = [draw.betavariate(4, 4) for _ in range(1000)]
    assert rollout.psi_of_values(old, same) < 0.1
    assert rollout.psi_of_values(old, shifted) > 0.25


@pytest.mark.parametrize("moved, far", [(0.431, False), (0.9, True), (0.1, True)])
def test_psi_of_requests_that_are_all_alike(moved, far):
    assert (rollout.psi_of_values([0.43] * 300, [moved] * 300) > 0.25) == far


def test_values_far_from_zero_and_outliers_do_not_hide_a_shift():
    draw = random.Random(2)
    old = [draw.gauss(1000, 10) for _ in range(1000)] + [1e9]
    assert rollout.psi_of_values(old, [value + 200 for value in old]) > 0.25
    assert rollout.psi_of_values([0.0], [0.0]) == 0


def test_a_gate_with_too_few_requests_is_not_judged():
    assert rollout.gate("psi", 9.0, 0.25, 10, enough=20)["passed"]
    assert rollout.gate("psi", None, 0.25, 100)["value"] is None
    failed = rollout.gate("psi", 9.0, 0.25, 20, enough=20)
    assert not failed["passed"] and rollout.in_words([failed]) == "psi 9 is over 0.25 (20 requests)"
