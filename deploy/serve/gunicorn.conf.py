"""How gunicorn runs the server in a release. Each setting says why it is not gunicorn's own default.

The environment may set PORT (Cloud Run, Vertex AI), WEB_CONCURRENCY (the number of workers) and MLKIT_HOST
(127.0.0.1 where nobody else may ask).
"""

import os
import shutil
import tempfile
from pathlib import Path

# One OpenMP thread per process, and none that spins while it waits: two on two busy cores can be eight times
# slower than one. The workers inherit this, and LightGBM reads it when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def cpus_granted(cgroup=Path("/sys/fs/cgroup")):
    "The CPUs that this container may use at once. `os.cpu_count()` counts the machine's and ignores `--cpus`."
    cpus = len(os.sched_getaffinity(0))
    try:
        if (cgroup / "cpu.max").exists():  # cgroup version 2
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        if quota != "max" and int(quota) > 0:
            cpus = min(cpus, int(quota) // int(period))
    except FileNotFoundError:  # no cgroups here: no quota
        pass
    return cpus


bind = f"{os.environ.get('MLKIT_HOST', '0.0.0.0')}:{os.environ.get('PORT', '8000')}"

# Many processes with one thread each: a predictor belongs to one thread, and LightGBM to one process, since it
# hangs in a child when the parent has used it. So the app is loaded after the fork (no preload).
# At least two, so that health is answered while one worker is busy with a long batch.
worker_class = "gthread"
threads = 1
workers = int(os.environ.get("WEB_CONCURRENCY") or max(2, cpus_granted()))
preload_app = False

graceful_timeout = 30  # after SIGTERM: what was begun is finished
keepalive = 75  # longer than a proxy keeps its side open (60 s), so that we never close under its next request
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the heartbeat file, in memory: on a slow disk it would stall a worker
control_socket_disable = True  # nobody to talk to it in a container, and its folder is read-only

limit_request_line = 4094  # bytes: no route has a long address
limit_request_fields = 50
limit_request_field_size = 8190

accesslog = None  # the proxy's log and the metrics say it; a line per request would cost more than a prediction
errorlog = "-"

# Each worker writes its metrics to files of its own here, and /metrics adds them up.
# prometheus_client reads the name when it is imported, so it is set before the app is.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", f"{tempfile.gettempdir()}/mlkit-metrics-{os.getpid()}")


def on_starting(server):
    "Once, before the first worker: a restart begins to count anew. Never later, or a live worker loses its files."
    metrics = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(parents=True)


def child_exit(server, worker):
    "A dead worker's gauges would be shown for ever."
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
