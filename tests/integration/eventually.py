"Waiting for what will be true soon, instead of sleeping for as long as it may take."

import time


def eventually(
    condition,  # asked again and again until its answer is true; that answer is returned
    seconds=30,  # how long it may take
    every=0.05,
):
    "Wait until `condition()` holds. An exception of the network's counts as not yet."
    deadline = time.monotonic() + seconds
    while True:
        try:
            if answer := condition():
                return answer
            last = "its last answer was false"
        except OSError as error:
            last = repr(error)
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {seconds} s: {condition.__name__}: {last}")
        time.sleep(every)
