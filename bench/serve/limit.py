"""The limit: the bare C call on the same rows, in a loop, with nothing around it. CPU µs a call.

    python bench/serve/limit.py MODEL SECONDS

In a process of its own. The rows are already numbers in a matrix; only pointers are passed.
"""

import ctypes
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

FLOAT64, ROW_MAJOR, NORMAL, ALL, ONE_THREAD = 1, 1, 0, -1, b"num_threads=1"


def main(model: Path, seconds: float) -> None:
    place = Path(find_spec("lightgbm").submodule_search_locations[0], "lib/lib_lightgbm.so")
    library, booster, trees = ctypes.CDLL(str(place)), ctypes.c_void_p(), ctypes.c_int()
    library.LGBM_BoosterCreateFromModelfile(
        str(model / "model.txt").encode(), ctypes.byref(trees), ctypes.byref(booster)
    )
    print(json.dumps({rows: per_call(library, booster, model, rows, seconds) for rows in (1, 100, 1000)}))


def per_call(library, booster, model: Path, rows: int, seconds: float) -> float:
    matrix = np.load(model / f"matrix-{rows}.npy")
    width, size = matrix.shape[1], matrix.itemsize * matrix.shape[1] * rows
    batches = [matrix.ctypes.data + at for at in range(0, matrix.nbytes, size)]
    answers, written = np.empty(rows), ctypes.c_int64()
    end = (ctypes.addressof(written), answers.ctypes.data)
    if rows == 1:
        fast = ctypes.c_void_p()
        library.LGBM_BoosterPredictForMatSingleRowFastInit(
            booster, NORMAL, 0, ALL, FLOAT64, ctypes.c_int32(width), ONE_THREAD, ctypes.byref(fast)
        )
        call = library.LGBM_BoosterPredictForMatSingleRowFast
        call.argtypes = [ctypes.c_void_p] * 4
        arguments = [(fast.value, batch, *end) for batch in batches]
    else:
        call, pointer, int32 = library.LGBM_BoosterPredictForMat, ctypes.c_void_p, ctypes.c_int32
        call.argtypes = [
            pointer,
            pointer,
            int32,
            int32,
            int32,
            *[ctypes.c_int] * 4,
            ctypes.c_char_p,
            pointer,
            pointer,
        ]
        shape = (FLOAT64, rows, width, ROW_MAJOR, NORMAL, 0, ALL, ONE_THREAD)
        arguments = [(booster.value, batch, *shape, *end) for batch in batches]
    calls, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        for each in arguments[calls % len(arguments) :][:50]:
            call(*each)
            calls += 1
    return (time.process_time() - cpu) / calls * 1e6


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
