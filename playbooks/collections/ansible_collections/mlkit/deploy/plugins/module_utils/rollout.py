"""What a rollout is judged by: numbers of the old release and of the new, and the gates between them.

scrape(port, key) -> {(name, labels): value}       of /metrics; None if it has none
p99(metrics) -> seconds or None                    of /predict, from the histogram
psi(expected, actual) -> float                     counts by bin
gate(name, value, threshold, requests) -> dict     one line of the journal's `gates`
"""

import json
import math
import re
import ssl
import urllib.error
import urllib.request

SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
BINS = 20
SMALLEST_SHARE = 0.05  # of a bin: with less in it, chance decides


def ask(port, path, key="", data=None, seconds=10, tls=False):
    "Status and body of an answer from this host; status 0 when nobody answers."
    headers = {"Content-Type": "application/json", **({"X-Api-Key": key} if key else {})}
    scheme = "https" if tls else "http"
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}{path}", data=data, headers=headers)
    # A certificate names the host as clients know it, never 127.0.0.1.
    context = ssl._create_unverified_context() if tls else None  # noqa: S323
    try:
        with urllib.request.urlopen(request, timeout=seconds, context=context) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)


def read_probe(path):
    "The key with which a deployment asks, or nothing where everybody may."
    if not path:
        return ""
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def read_metrics(text):
    "The samples of Prometheus' text format."
    found = {}
    for line in text.splitlines():
        match = None if line.startswith("#") else SAMPLE.match(line)
        if match:
            labels = frozenset(LABEL.findall(match[2] or ""))
            found[match[1], labels] = float(match[3])
    return found


def scrape(port, key=""):
    "The metrics of a container; None if it does not give them."
    status, body = ask(port, "/metrics", key)
    return read_metrics(body) if status == 200 else None


def since(now, before):
    "What was counted since `before`."
    return {sample: value - before.get(sample, 0.0) for sample, value in now.items()}


def histogram(metrics, name, **labels):
    "Counts by upper edge, ascending, summed over what is not named."
    summed = {}
    for (sample, theirs), value in metrics.items():
        given = dict(theirs)
        if sample == name + "_bucket" and all(given.get(key) == wanted for key, wanted in labels.items()):
            edge = float(given["le"])
            summed[edge] = summed.get(edge, 0.0) + value
    counts, below = {}, 0.0
    for edge in sorted(summed):
        counts[edge] = summed[edge] - below
        below = summed[edge]
    return counts


def answered(metrics):
    "Predictions asked for, and how many of them ended with 5xx."
    total = failed = 0.0
    for (name, labels), value in metrics.items():
        given = dict(labels)
        if name == "mlkit_requests_total" and given.get("route") == "/predict":
            total += value
            failed += value if given.get("status", "").startswith("5") else 0.0
    return total, failed


def p99(metrics):
    "The 99th percentile of /predict in seconds, linear within its bucket; None without a request."
    counts = histogram(metrics, "mlkit_request_seconds", route="/predict")
    wanted = 0.99 * sum(counts.values())
    lower = 0.0
    for edge, count in counts.items():
        if count and wanted <= count:
            return lower if math.isinf(edge) else lower + (edge - lower) * wanted / count
        wanted -= count
        lower = edge
    return None


def psi(expected, actual):
    """The population stability index between two lists of counts by bin.

    Bins are joined until each holds a twentieth of all, and half a count is added to each, so that an empty one does not
    make it infinite. 0.1 is a small shift, 0.25 a large one (Siddiqi, Credit Risk Scorecards, 2006).
    """
    joined, e, a = [], 0.0, 0.0
    for one, other in zip(expected, actual, strict=True):
        e, a = e + one, a + other
        if e / sum(expected) + a / sum(actual) >= 2 * SMALLEST_SHARE:
            joined.append((e, a))
            e = a = 0.0
    joined[-1] = (joined[-1][0] + e, joined[-1][1] + a)
    of_e, of_a = (sum(pair[side] + 0.5 for pair in joined) for side in (0, 1))
    return sum(
        ((a + 0.5) / of_a - (e + 0.5) / of_e) * math.log(((a + 0.5) / of_a) / ((e + 0.5) / of_e))
        for e, a in joined
    )


def psi_of_values(expected, actual):
    "The same between two lists of numbers, in twenty bins of equal width; 0 to 1 where all are probabilities."
    both = sorted([*expected, *actual])
    low, high = both[len(both) // 100], both[-1 - len(both) // 100]
    if both[0] >= 0 and both[-1] <= 1:
        low, high = 0.0, 1.0
    width = max(high - low, 0.2 * max(abs(low), abs(high)), 1e-300) / BINS
    counts = []
    for values in (expected, actual):
        bins = [0] * BINS
        for value in values:
            bins[min(BINS - 1, max(0, int((value - low) / width)))] += 1
        counts.append(bins)
    return psi(*counts)


def gate(name, value, threshold, requests, enough=1):
    "A gate's outcome; with too few requests it is not judged, and passes."
    if value is None or requests < enough:
        return {
            "gate": name,
            "value": None,
            "threshold": threshold,
            "requests": int(requests),
            "passed": True,
        }
    value = round(value, 6)
    return {
        "gate": name,
        "value": value,
        "threshold": threshold,
        "requests": int(requests),
        "passed": value <= threshold,
    }


def in_words(gates):
    "The gates that failed, in a sentence."
    return "; ".join(
        f"{each['gate']} {each['value']:.4g} is over {each['threshold']:.4g} ({each['requests']} requests)"
        for each in gates
        if not each["passed"]
    )


def predictions_in(body):
    "The predictions of an answer; None if it has none."
    try:
        found = json.loads(body)["predictions"]
        return found if isinstance(found, list) else None
    except (ValueError, KeyError, TypeError):
        return None
