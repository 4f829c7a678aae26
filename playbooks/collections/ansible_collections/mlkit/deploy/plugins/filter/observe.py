"What a Prometheus is told to ask of a host, as plain functions."


def scrape_targets(seen, target, labels, node):
    "Target groups as Prometheus reads them from a file: the host's proxy, its live services, and, with `node`, itself."

    def group(job, **more):
        return {"targets": [target], "labels": {"job": job, **labels, **more}}

    services = [
        group("mlkit-service", service=name, __metrics_path__=f"/service/{name}/metrics")
        for name, here in sorted(seen["services"].items())
        if here["live"]
    ]
    host = [group("mlkit-host", __metrics_path__="/node/metrics")] if node else []
    return [group("mlkit-proxy"), *services, *host]


class FilterModule:
    def filters(self):
        return {"scrape_targets": scrape_targets}
