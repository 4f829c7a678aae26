"Processes that do the same thing at the same moment, again and again. Started once: an interpreter costs a second."

import multiprocessing

from mlkit.errors import AlreadyThere
from mlkit.registry import promote
from mlkit.store import Store

MANY_AT_ONCE = multiprocessing.get_context("spawn")


def race(
    act,  # act(store, me, turn): what each does at each turn
    url,  # of the store
    racers,
    turns,
):
    "What became of each turn: for each racer what `act` gave, or the error with which it was told."
    barrier, results = MANY_AT_ONCE.Barrier(racers, timeout=60), MANY_AT_ONCE.Queue()
    processes = [
        MANY_AT_ONCE.Process(target=_run, args=(act, url, me, turns, barrier, results))
        for me in range(racers)
    ]
    for process in processes:
        process.start()
    try:
        by_racer = dict(results.get(timeout=120) for _ in processes)
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    return list(zip(*(by_racer[me] for me in range(racers)), strict=True))


def _run(act, url, me, turns, barrier, results):
    store, outcomes = Store(url), []
    store.has("warm")
    for turn in range(turns):
        barrier.wait()
        try:
            outcomes.append(act(store, me, turn))
        except AlreadyThere as error:
            outcomes.append(error.args[0])
    results.put((me, outcomes))


def put_new(store, me, turn):
    store.put(f"runs/{turn}", f"written by {me}".encode(), new=True)
    return me


def put_large(store, me, turn):
    "More than s3fs sends in one request if it is free to choose."
    store.put(f"data/{turn}", bytes([me]) * (101 * 2**20), new=True)
    return me


def promote_own(store, me, turn):
    "Each racer wants its own version to be what the turn's alias means."
    return promote(store, "flights", str(me + 1), f"turn_{turn}")
