"""A bundle answers as the booster that was trained, to the bit, and so does the forest: random models of every kind.

The rows are those that go wrong elsewhere: both zeros, the smallest and the largest numbers, NaN, infinity, categories
that were never seen, negative, broken or huge, and each threshold of the model with its two neighbors.
"""

import lightgbm
import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from mlkit.flavors.forest.kernel import Kernel
from mlkit.flavors.forest.lightgbm_text import NotKnown, read_trees
from mlkit.flavors.forest.questions import lay_out
from mlkit.flavors.lightgbm import MODEL, load, save

ODD = np.array(
    [0.0, -0.0, 5e-324, -5e-324, 1e-310, 1e-35, np.float32(1e-35), -np.float32(1e-35), 2e-35, 1e-20]
    + [1e308, -1e308, 1.8e308 / 2, np.inf, -np.inf, np.nan, -np.nan, np.float64(np.float32(0.1)), 0.1]
    + [-1, -0.5, 0.999999, 2.5, 7, 31, 32, 33, 1000, 65536, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 2, 2**63]
)
BASE = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 2, "min_data_in_bin": 1, "min_data_per_group": 2}


def half_squares(scores, rows):
    "An objective of one's own: the model answers raw scores."
    return scores - rows.get_label(), np.ones(len(scores))


REAL, BINARY, CLASSES = (lambda z: z), (lambda z: z > 0), (lambda z: np.digitize(z, [-0.5, 0.5]))
COUNT, GRADE = (lambda z: np.floor(np.exp(np.clip(z, -2, 2)))), (lambda z: np.digitize(z, [-1, 0, 1]))
KINDS = {  # training parameters, and the truth from a number
    "regression": ({"objective": "regression"}, REAL),
    "absolute": ({"objective": "regression_l1"}, REAL),
    "quantile": ({"objective": "quantile", "alpha": 0.8}, REAL),
    "poisson": ({"objective": "poisson"}, COUNT),
    "tweedie": ({"objective": "tweedie"}, COUNT),
    "square root": ({"objective": "regression", "reg_sqrt": True}, COUNT),
    "binary": ({"objective": "binary"}, BINARY),
    "unbalanced": ({"objective": "binary", "is_unbalance": True, "sigmoid": 0.7}, BINARY),
    "cross entropy": ({"objective": "cross_entropy"}, lambda z: 1 / (1 + np.exp(-z))),
    "lambda cross entropy": ({"objective": "cross_entropy_lambda"}, lambda z: 1 / (1 + np.exp(-z))),
    "multiclass": ({"objective": "multiclass", "num_class": 3}, CLASSES),
    "multiclass one against all": ({"objective": "multiclassova", "num_class": 3}, CLASSES),
    "lambdarank": ({"objective": "lambdarank"}, GRADE),
    "custom": ({"objective": half_squares, "metric": "l2"}, REAL),
    "linear trees": ({"objective": "regression", "linear_tree": True}, REAL),
    "linear trees, binary": ({"objective": "binary", "linear_tree": True, "linear_lambda": 0.1}, BINARY),
}
BOOSTING = [
    {},
    {"boosting": "dart", "drop_rate": 0.5},
    {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7},
    {"data_sample_strategy": "goss"},
]
CHOICES = {  # more of LightGBM's options, each there or not
    "zero_as_missing": [True],
    "use_missing": [False],
    "boost_from_average": [False],
    "max_bin": [2, 3, 15],
    "max_cat_to_onehot": [1, 64],
    "extra_trees": [True],
    "feature_fraction": [0.6],
    "path_smooth": [1.0],
    "use_quantized_grad": [True],
    "monotone": [True],
}
OPTIONS = st.fixed_dictionaries(
    {
        "num_leaves": st.integers(2, 15),
        "learning_rate": st.sampled_from([0.05, 0.3, 1.0]),
        "seed": st.integers(0, 1000),
    },
    optional={name: st.sampled_from(values) for name, values in CHOICES.items()},
)


def train(kind, options, boosting, random, early_stopped, continued, kept):
    "A booster, and the matrix that it was trained on."
    fixed, truth = KINDS[kind]
    rows, width = int(random.integers(40, 200)), int(random.integers(1, 6))
    matrix = random.normal(size=(rows, width))
    categorical = [c for c in range(width) if random.random() < 0.4]
    for column in categorical:
        matrix[:, column] = random.integers(0, random.integers(2, 40), rows)
    matrix[random.random(matrix.shape) < random.choice([0, 0.2])] = np.nan
    matrix[random.random(matrix.shape) < random.choice([0, 0.2])] = 0
    label = 1.0 * truth(np.nan_to_num(matrix).sum(axis=1) % 3 - 1.5 + random.normal(scale=0.3, size=rows))
    parameters = BASE | fixed | boosting | options
    if parameters.pop("monotone", False):
        parameters["monotone_constraints"] = [0 if c in categorical else 1 for c in range(width)]

    def dataset(label):
        group = [rows] if kind == "lambdarank" else None
        return lightgbm.Dataset(
            matrix, label, group=group, categorical_feature=categorical, params={"verbose": -1}
        )

    # kept: as it was trained, with all its trees; else LightGBM itself has written it to text and read it again
    more, rounds = {"keep_training_booster": kept}, int(random.integers(1, 20))
    if early_stopped:  # soon: nothing that is learnt holds for shuffled labels
        stop = lightgbm.early_stopping(2, verbose=False)
        more |= {"valid_sets": [dataset(random.permutation(label))], "callbacks": [stop]}
    try:
        booster = lightgbm.train(parameters, dataset(label), rounds, **more)
        if continued:
            booster = lightgbm.train(parameters, dataset(label), rounds, init_model=booster, **more)
    except lightgbm.basic.LightGBMError:
        reject()  # not every kind goes with every option
    return booster, matrix


def thresholds(booster):
    lines = booster.model_to_string().splitlines()
    words = [w for line in lines if line.startswith("threshold=") for w in line.partition("=")[2].split()]
    found = np.unique(np.array(words, float)) if words else np.zeros(1)
    return np.concatenate([found, np.nextafter(found, np.inf), np.nextafter(found, -np.inf)])


def odd_rows(booster, matrix, random):
    "Rows as they were trained on, with odd values and thresholds strewn over them."
    rows = matrix[random.integers(0, len(matrix), 60)].copy()
    for values, share in ((ODD, 0.3), (thresholds(booster), 0.3)):
        here = random.random(rows.shape) < share
        rows[here] = random.choice(values, here.sum())
    return rows


def bits(answers):
    "NaN equals itself and 0.0 is not -0.0."
    return np.ascontiguousarray(answers, dtype=np.float64).view(np.int64)


def forest_of(text, kind):
    "The forest; of linear trees, which it does not know, the library."
    try:
        return Kernel(lay_out(read_trees(text)))
    except NotKnown as said:
        assert kind.startswith("linear") and str(said) == "linear trees"
        return load({MODEL: text})


@pytest.mark.filterwarnings("ignore:Early stopping is not available in dart mode")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(OPTIONS, st.sampled_from(BOOSTING), st.integers(0, 2**32 - 1), *[st.booleans()] * 3)
def test_a_bundle_answers_as_the_booster_to_the_bit(
    kind, options, boosting, seed, early_stopped, continued, kept
):
    random = np.random.default_rng(seed)
    booster, matrix = train(kind, options, boosting, random, early_stopped, continued, kept)
    rows = odd_rows(booster, matrix, random)
    wanted, model = booster.predict(rows), load(save(booster))
    for answering in (model, forest_of(save(booster)[MODEL], kind)):
        assert np.array_equal(bits(answering.predict(rows)), bits(wanted))
        assert np.array_equal(bits(answering.predict(rows[:1])), bits(wanted[:1]))
        ask = answering.row_asker()
        assert np.array_equal(bits([ask(row) for row in rows.tolist()]), bits(wanted))
        assert np.array_equal(answering.leaves(rows), model.leaves(rows))
