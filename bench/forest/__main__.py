"""The forest beside LightGBM's C library: the same rows in turn, one core, ratios of CPU time; and equal to the bit.

python bench/forest                      the shapes of the table, a few minutes
python bench/forest --search SECONDS     random models and rows, until a bit differs or the time is over
python bench/forest --lightgbm FOLDER    with the library of another version, as `pip install --target FOLDER` puts it
"""

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {  # trees, leaves, numbers, categories, levels
    "500 trees × 63 leaves, 30 + 3 × 20": (500, 63, 30, 3, 20),
    "600 × 255, 30 + 3 × 20": (600, 255, 30, 3, 20),
    "200 × 63, 20 + 10 × 300": (200, 63, 20, 10, 300),
    "30 × 7, 10 + 0": (30, 7, 10, 0, 0),
}
ROWS, ONES, ROUNDS = 5000, 500, 5


def trained(trees, leaves, numbers, categories, levels):
    "A model of that shape, and different rows for it."
    import lightgbm

    lot = np.random.default_rng(1)
    matrix = lot.normal(size=(20_000, numbers + categories))
    if categories:
        matrix[:, numbers:] = lot.integers(0, levels, (len(matrix), categories))
    matrix[lot.random(matrix.shape) < 0.03] = np.nan
    weight = lot.normal(size=matrix.shape[1])
    score = np.nan_to_num(np.where(np.arange(matrix.shape[1]) < numbers, matrix, matrix % 7 - 3)) @ weight
    label = score + lot.normal(size=len(matrix)) * score.std() > 0
    rows = lightgbm.Dataset(
        matrix, label, categorical_feature=[*range(numbers, numbers + categories)], params={"verbose": -1}
    )
    settings = {"objective": "binary", "num_leaves": leaves, "num_threads": 2, "verbose": -1, "seed": 1}
    text = lightgbm.train(settings | {"min_data_in_leaf": 5}, rows, trees).model_to_string().encode()
    return text, matrix[lot.permutation(len(matrix))[:ROWS]]


def ratio(ask_library, ask_forest):
    "LightGBM's CPU time ÷ the forest's, the median of rounds in turn."
    ratios = []
    for _ in range(ROUNDS):
        times = []
        for ask in (ask_library, ask_forest):
            began = time.process_time()
            ask()
            times.append(time.process_time() - began)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def compare_shapes():
    from mlkit.flavors.forest.kernel import Kernel
    from mlkit.flavors.forest.lightgbm_text import read_trees
    from mlkit.flavors.forest.questions import lay_out
    from mlkit.flavors.lightgbm import Model

    print(f"{'shape':38} {'batch of 5,000':>15} {'one row':>9} {'read and laid out':>18} differ")
    for name, shape in SHAPES.items():
        text, rows = trained(*shape)
        began = time.process_time()
        kernel = Kernel(lay_out(read_trees(text)))
        made, library = time.process_time() - began, Model(text)
        wrong = (kernel.predict(rows) != library.predict(rows)).sum()
        batch = ratio(lambda m=library, r=rows: m.predict(r), lambda k=kernel, r=rows: k.predict(r))
        ones, slow, fast = rows[:ONES].tolist(), library.row_asker(), kernel.row_asker()
        wrong += sum(slow(row) != fast(row) for row in ones)
        one = ratio(lambda a=slow, r=ones: [*map(a, r)], lambda a=fast, r=ones: [*map(a, r)])
        print(f"{name:38} {batch:13.1f} × {one:7.1f} × {made:16.2f} s {wrong:6}", flush=True)


def search(seconds):
    "Random models of every kind, each with its rows that are chosen to tell the two apart."
    sys.path.insert(0, str(ROOT / "tests"))
    import test_lightgbm_equality as kinds
    from hypothesis.errors import UnsatisfiedAssumption

    from mlkit.flavors.forest.kernel import Kernel
    from mlkit.flavors.forest.lightgbm_text import read_trees
    from mlkit.flavors.forest.proof import rows_to_prove
    from mlkit.flavors.forest.questions import lay_out
    from mlkit.flavors.lightgbm import MODEL, Model, save

    seed, models, answers, end = random.randrange(2**32), 0, 0, time.monotonic() + seconds
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    known = [kind for kind in kinds.KINDS if not kind.startswith("linear")]
    while time.monotonic() < end:
        each = chance.randrange(2**32)
        kind, boosting = chance.choice(known), chance.choice(kinds.BOOSTING)
        options = {"num_leaves": chance.randint(2, 63), "learning_rate": chance.choice([0.05, 0.3, 1.0])}
        for name, value in kinds.CHOICES.items():
            if chance.random() < 0.3:
                options[name] = chance.choice(value)
        try:
            booster, matrix = kinds.train(
                kind,
                options,
                boosting,
                np.random.default_rng(each),
                *(chance.random() < 0.5 for _ in range(3)),
            )
        except UnsatisfiedAssumption:
            continue
        text = save(booster)[MODEL]
        forest, model = lay_out(read_trees(text)), Model(text)
        rows = np.concatenate([kinds.odd_rows(booster, matrix, np.random.default_rng(each)), matrix])
        rows = np.concatenate([rows, rows_to_prove(forest, matrix, 2000)])
        kernel = Kernel(forest)
        same = np.array_equal(kinds.bits(kernel.predict(rows)), kinds.bits(model.predict(rows)))
        if not same or not np.array_equal(kernel.leaves(rows), model.leaves(rows)):
            Path("differs.txt").write_bytes(text)
            raise SystemExit(
                f"differs: {kind}, {options}, {boosting}, rows of {each}; the model is in differs.txt"
            )
        models, answers = models + 1, answers + len(rows)
    print(
        f"{models:,} models of {len(known)} kinds, {answers:,} rows: no bit differs, in batches and in leaves"
    )


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--search", type=float, metavar="SECONDS")
    asked.add_argument("--lightgbm", metavar="FOLDER")
    said = asked.parse_args()
    if said.lightgbm:
        sys.path.insert(0, said.lightgbm)
    import lightgbm

    print(f"lightgbm {lightgbm.__version__}", flush=True)
    search(said.search) if said.search else compare_shapes()
