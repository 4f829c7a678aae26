"""Broken models and odd rows for a build of the forest with sanitizers: it refuses or answers, and never reads astray.

    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
      python tests/fuzz/forest.py KERNEL.so SECONDS MODEL.txt …

Texts are changed byte by byte and line by line, arrays bit by bit behind the parser's back.
"""

import dataclasses
import json
import random
import sys
import time
from pathlib import Path

import numpy as np

from mlkit.errors import CorruptRecord
from mlkit.flavors.forest.kernel import Kernel, open_library
from mlkit.flavors.forest.lightgbm_text import NotKnown, read_trees
from mlkit.flavors.forest.proof import rows_to_prove
from mlkit.flavors.forest.questions import lay_out


def ask(kernel, rows):
    kernel.predict(rows)
    kernel.leaves(rows[:17])
    kernel.row_asker()(rows[0].tolist())


def other_text(text, chance):
    "The text with some of its bytes, or of its numbers, changed."
    changed = bytearray(text.partition(b"\nparameters:")[0])
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(changed))
        if chance.random() < 0.5:
            changed[at] = chance.choice(b"0123456789-. \n=e")
        else:
            changed[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
    return bytes(changed)


def other_arrays(forest, chance):
    "The forest with one bit of its arrays, or one of its sizes, changed."
    name = chance.choice(["group", "root", "node", "threshold", "words", "features", "outputs", "iterations"])
    old = getattr(forest, name)
    if isinstance(old, int):
        return dataclasses.replace(forest, **{name: old ^ 1 << chance.randrange(20)})
    new = old.copy()
    octets = new.view(np.uint8).reshape(-1)
    if len(octets):
        octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
    return dataclasses.replace(forest, **{name: new})


def main(kernel, seconds, *models):
    loaded, chance = open_library(Path(kernel)), random.Random(1)
    texts = [Path(model).read_bytes() for model in models]
    counts = {"refused": 0, "answered": 0}
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end or min(counts.values()) <= 100:  # a slow machine takes longer for as many
        text = chance.choice(texts)
        try:
            if chance.random() < 0.5:
                forest = lay_out(read_trees(other_text(text, chance)))
            else:
                forest = other_arrays(lay_out(read_trees(text)), chance)
            if forest.features > 100 or forest.outputs > 100:
                continue  # as much memory as the rows have, and nothing of it is read
            built = Kernel(forest, loaded)
            sound = lay_out(read_trees(text))
            width = forest.features
            ask(built, np.resize(rows_to_prove(sound, np.zeros((1, sound.features)), 40), (40, width)))
            counts["answered"] += 1
        except (CorruptRecord, NotKnown):
            counts["refused"] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
