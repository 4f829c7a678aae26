"An interval as the answer, from an empty folder to a live model that is judged, labeled and made again; LightGBM, scikit-learn and stock clients are the judges."

import csv
import io
import json
import re

import lightgbm
import numpy as np
import pandas as pd
import pyarrow
from laptop import free_port
from sklearn.metrics import mean_pinball_loss
from test_new import newcomer  # noqa: F401
from test_new_classes import ARROW, FLOAT64, asks

from mlkit.testing import flats

LEVELS = (0.1, 0.5, 0.9)


def quantiles_by_lightgbm(project, rows):
    "What LightGBM's own package answers to these rows, one model for each quantile, in rising order."
    [bundle] = project.glob("store/models/*/bundle.json")
    columns = []
    for feature in json.loads(bundle.read_text())["features"]:
        cells, levels = rows[feature["name"]], feature.get("levels")
        columns.append(cells.map(levels.index).to_numpy(float) if levels else cells.to_numpy(float))
    files = [bundle.parent / f"quantile-{n}.txt" for n in (1, 2, 3)]
    answers = [lightgbm.Booster(model_file=str(file)).predict(np.column_stack(columns)) for file in files]
    return np.sort(np.column_stack(answers), axis=1)


def test_an_interval_is_live_judged_labeled_and_made_again(newcomer):  # noqa: F811
    frame, price = flats(1500)
    frame.assign(price=price).to_csv(newcomer.folder / "flats.csv", index=False)
    command = "mlkit new mine --data flats.csv --target price --kind quantiles --quantiles 0.1,0.5,0.9 --yes"
    assert "between what: price? (quantiles)" in newcomer.types(command).stdout
    project, port = newcomer.folder / "mine", free_port()
    settings = project / "settings.ini"
    settings.write_text(settings.read_text().replace("port = 8000", f"port = {port}"))
    newcomer.types("papermill explore.ipynb /dev/null", "mine/notebooks/pipelines")
    commands = re.findall(r"^\$ (.+)$", (project / "README.md").read_text(), re.M)
    assert commands[0] == "mlkit train" and commands[-1] == "mlkit deploy local"
    said = [newcomer.types(line, "mine").stdout for line in commands]
    assert "tuning_pinball_loss" in said[0] and "pass  coverage >= " in said[1]

    asked, came = (each[-200:] for each in flats(1500, seed=8))
    wanted = quantiles_by_lightgbm(project, asked)
    rows = json.loads(asked.to_json(orient="records"))
    body = json.dumps({"rows": rows}).encode()
    answer = json.loads(asks(port, body))
    told = answer["predictions"]
    assert [list(one["quantiles"]) for one in told] == [["0.1", "0.5", "0.9"]] * 200
    assert np.array_equal([list(one["quantiles"].values()) for one in told], wanted)
    assert [one["prediction"] for one in told] == wanted[:, 1].tolist()
    one_by_one = [
        json.loads(asks(port, json.dumps({"rows": [row]}).encode()))["predictions"] for row in rows[:9]
    ]
    assert one_by_one == [[one] for one in told[:9]]
    lines = asks(port, "\n".join(map(json.dumps, rows)).encode(), "application/x-ndjson").splitlines()
    assert [{k: json.loads(line)[k] for k in ("prediction", "quantiles")} for line in lines] == told
    columns = ["quantile_0.1", "quantile_0.5", "quantile_0.9"]
    text = asks(port, asked.to_csv(index=False).encode(), "text/csv").decode()
    cells = list(csv.DictReader(io.StringIO(text)))
    assert np.array_equal([[float(line[c]) for c in columns] for line in cells], wanted)
    sink, arrow = io.BytesIO(), pyarrow.Table.from_pandas(asked, preserve_index=False)
    with pyarrow.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    got = pyarrow.ipc.open_stream(asks(port, sink.getvalue(), ARROW)).read_all().to_pandas()
    assert np.array_equal(got[columns], wanted) and np.array_equal(got["prediction"], wanted[:, 1])
    assert np.array_equal(np.frombuffer(asks(port, body, accept=FLOAT64)).reshape(-1, 3), wanted)

    labels = {"labels": [{"id": answer["id"], "row": n, "label": label} for n, label in enumerate(came)]}
    assert json.loads(asks(port, json.dumps(labels).encode(), route="/labels")) == {"taken": 200}
    newcomer.types("mlkit stop local", "mine")
    newcomer.types("mlkit compact", "mine")
    lookup = "from mlkit.store import Store; from mlkit.monitoring.predictions import labeled_predictions as read; "
    inside = "q = f.quantiles.tolist(); print(sum(a['0.1'] <= y <= a['0.9'] for a, y in zip(q, f.label)))"
    found = newcomer.types(f"python -c \"{lookup}f = read(Store('store'), 'mine'); {inside}\"", "mine").stdout
    assert int(found) == ((wanted[:, 0] <= came) & (came <= wanted[:, 2])).sum()
    assert str(told[0]["prediction"]) in newcomer.types(f"mlkit trace {answer['id']}", "mine").stdout

    judged = """
from mlkit import find_project
from mlkit.data.dataset import read_dataset
from mlkit.data.split import read_split
rows = read_split(find_project()).parts(read_dataset(find_project(), "mine")[0])[1]
rows.to_json("../held_out.json", orient="records")
"""
    (newcomer.folder / "judged.py").write_text(judged)
    newcomer.types("python ../judged.py", "mine")
    held_out = pd.read_json(newcomer.folder / "held_out.json")
    guess, truth = quantiles_by_lightgbm(project, held_out), held_out["price"]
    [verdict] = map(json.loads, (path.read_text() for path in project.glob("store/verdicts/*/verdict.json")))
    losses = [mean_pinball_loss(truth, one, alpha=q) for one, q in zip(guess.T, LEVELS, strict=True)]
    assert np.isclose(verdict["metrics"]["pinball_loss"], np.mean(losses))
    assert np.isclose(
        verdict["metrics"]["coverage"], ((guess[:, 0] <= truth) & (truth <= guess[:, 2])).mean()
    )
    assert verdict["metrics"]["training_rows_judged"] == 0
    assert "`price`, the quantiles 0.1, 0.5, 0.9" in newcomer.types("mlkit card mine@champion", "mine").stdout
    [trained] = re.findall(r"^(\S+).* train ", newcomer.types("mlkit runs", "mine").stdout, re.M)
    assert newcomer.types(f"mlkit reproduce {trained}", "mine").stdout.strip() == f"{trained}: identical"
    swept = newcomer.types("mlkit sweep train -p num_leaves 4,15 -p trees 20", "mine").stdout
    assert "tuning_pinball_loss" in swept
