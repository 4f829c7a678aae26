"""How gunicorn runs the server in a release. Each setting says why it is not gunicorn's own default.

The environment may set PORT (Cloud Run, Vertex AI), WEB_CONCURRENCY (the number of workers) and MLKIT_HOST
(127.0.0.1 where nobody else may ask).
"""

import gc
import os
import shutil
import tempfile
from pathlib import Path

from mlkit.serve.borrowed import choose_worker

# One OpenMP thread per process, and none that spins while it waits: two on two busy cores can be eight times
# slower than one. The workers inherit this, and LightGBM reads it when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's: nothing here multiplies matrices


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


def memory_granted(cgroup=Path("/sys/fs/cgroup")):
    "The bytes that this container may use; infinite where nobody says."
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup version 2, and 1
        try:
            granted = (cgroup / name).read_text().strip()
        except OSError:
            continue
        if granted != "max":
            return int(granted)  # version 1 says a number beyond any machine where there is no limit
    return float("inf")


bind = f"{os.environ.get('MLKIT_HOST', '0.0.0.0')}:{os.environ.get('PORT', '8000')}"

# Many processes with one thread each: a predictor belongs to one thread, and LightGBM to one process, since it
# hangs in a child when the parent has used it. So the app and its model are loaded after the fork (no preload);
# the master imports the worker's module, and with it all code: the workers share its memory, and start at once.
# At least two, so that health is answered while one worker is busy with a long batch.
worker_class, why_stock = choose_worker()
workers = int(os.environ.get("WEB_CONCURRENCY") or max(2, cpus_granted()))
preload_app = False

# Bodies that are being received, of all workers together, may take a quarter of the memory.
os.environ.setdefault("MLKIT_MAX_HELD", str(int(min(256 * 2**20, memory_granted() / 4 / workers))))

timeout = 60  # seconds that a worker may be silent: longer than the longest batch (100,000 rows take 5 to 10)
graceful_timeout = 30  # after SIGTERM: what was begun is finished
keepalive = 75  # longer than a proxy keeps its side open (60 s), so that we never close under its next request
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the heartbeat file, in memory: on a slow disk it would stall a worker
control_socket_disable = True  # nobody to talk to it in a container, and its folder is read-only

limit_request_line = 4094  # bytes: no route has a long address
limit_request_fields = 50
limit_request_field_size = 8190

accesslog = None  # the proxy's log and the metrics say it; a line per request would cost more than a prediction
errorlog = "-"

# Each worker writes its metrics to files of its own here, and /metrics adds them up. A start begins to count anew;
# a reload (HUP) and an upgrade (USR2) must not: their old workers still write. A folder
# that nobody named gets a name that nobody can foresee: /tmp is everybody's.
if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="mlkit-metrics-")
    os.environ["MLKIT_METRICS_OF"] = os.environ["MLKIT_MASTER"] = str(os.getpid())
metrics = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
if os.environ.get("MLKIT_MASTER") != str(os.getpid()) and "GUNICORN_PID" not in os.environ:
    shutil.rmtree(metrics, ignore_errors=True)
os.environ["MLKIT_MASTER"] = str(os.getpid())
metrics.mkdir(mode=0o700, parents=True, exist_ok=True)
os.environ.setdefault("MLKIT_RATES", f"{metrics}/rates")  # where all workers count the requests of each API key


def on_starting(server):
    if why_stock:
        server.log.warning("%s: gunicorn's own answers, which is slower; see mlkit.serve.borrowed", why_stock)


def pre_fork(server, worker):
    "What is loaded by now is not looked through by the workers' garbage collectors, so that it stays shared."
    gc.collect()
    gc.freeze()


def on_exit(server):
    "Who made the folder takes it away, unless an upgrade (USR2) goes on with it."
    if os.environ.get("MLKIT_METRICS_OF") == str(os.getpid()) and not server.reexec_pid:
        shutil.rmtree(metrics, ignore_errors=True)
