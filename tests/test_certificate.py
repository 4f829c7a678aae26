"Until when a certificate counts, and what is said about one that nobody renews."

import json
import subprocess
import time

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import certificate


@pytest.fixture
def pem(tmp_path):
    "A certificate for two names that lasts a hundred days."
    file = tmp_path / "chain.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 100 -subj /CN=a.test"
    names = ["-addext", "subjectAltName=DNS:b.test,DNS:a.test", "-keyout", tmp_path / "key.pem", "-out", file]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    return str(file)


def test_names_and_days_are_read(pem):
    read = certificate.read_certificate(pem)
    assert read["names"] == ["a.test", "b.test"]
    assert read["end"] - read["begin"] == 100 * 86400


@pytest.mark.parametrize(
    "days, said", [(10, []), (87, ["the certificate ends at"]), (101, ["the certificate ended at"])]
)
def test_a_certificate_is_complained_of_before_it_ends(pem, monkeypatch, days, said):
    now = time.time() + days * 86400
    monkeypatch.setattr(certificate.time, "time", lambda: now)
    found = certificate.complaints(pem, None)
    assert len(found) == len(said) and all(map(str.startswith, found, said))


@pytest.mark.parametrize("days, said", [(334, []), (336, ["the certificate ends at"])])
def test_one_that_lasts_a_year_is_complained_of_a_month_before_it_ends(tmp_path, monkeypatch, days, said):
    file = tmp_path / "year.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=a.test"
    subprocess.run(
        [*words.split(), "-keyout", tmp_path / "key.pem", "-out", file], check=True, capture_output=True
    )
    now = time.time() + days * 86400
    monkeypatch.setattr(certificate.time, "time", lambda: now)
    found = certificate.complaints(str(file), None)
    assert len(found) == len(said) and all(map(str.startswith, found, said))


def test_what_is_shown_of_one_is_its_names_its_last_day_and_how_many_are_left(pem):
    shown, wrong = certificate.look_at_certificate(pem)
    until = time.strftime("%Y-%m-%d", time.gmtime(certificate.read_certificate(pem)["end"]))
    assert shown == {"file": pem, "names": ["a.test", "b.test"], "until": until, "days": 99} and wrong == []
    assert certificate.look_at_certificate(None) == (None, [])


def test_a_failed_renewal_is_told_at_once_with_its_reason(pem, tmp_path):
    failed = tmp_path / "failed.json"
    assert certificate.complaints(pem, str(failed)) == []
    failed.write_text(json.dumps({"when": "2026-11-24T10:51:59Z", "why": "nobody answers"}))
    (said,) = certificate.complaints(pem, str(failed))
    assert said.startswith("the certificate could not be renewed (2026-11-24T10:51:59Z): nobody answers")


def test_what_is_no_certificate_is_named(tmp_path):
    assert certificate.complaints(str(tmp_path / "none.pem"), None)[0].endswith("none.pem cannot be read")
