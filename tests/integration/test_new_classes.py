"A target of three texts, from an empty folder to a live model that is judged, labeled and made again; LightGBM and stock clients are the judges."

import csv
import io
import json
import re
import urllib.request

import lightgbm
import numpy as np
import pandas as pd
import pyarrow
import pytest
from laptop import free_port
from sklearn.metrics import classification_report
from test_new import newcomer  # noqa: F401

ARROW, FLOAT64 = "application/vnd.apache.arrow.stream", "application/vnd.mlkit.float64"
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]


def penguins():
    "Like the penguins of the Palmer islands, with missing values in texts and numbers."
    random, rows = np.random.default_rng(3), 900
    place = random.choice(3, rows, p=[0.44, 0.2, 0.36])
    homes = np.array(
        [["Torgersen", "Biscoe", "Dream"], ["Dream", "Dream", "Biscoe"], ["Biscoe", "Biscoe", "Dream"]]
    )
    table = pd.DataFrame({"island": homes[place, random.integers(0, 3, rows)]})
    table["bill"] = (np.array([38.8, 48.8, 47.5])[place] + random.normal(0, 3, rows)).round(1)
    table["flipper"] = (np.array([190, 196, 217])[place] + random.normal(0, 7, rows)).round()
    table["sex"] = random.choice(np.array(["female", "male", None], object), rows, p=[0.48, 0.48, 0.04])
    for name in ("bill", "flipper"):
        table.loc[random.random(rows) < 0.05, name] = np.nan
    return table.assign(species=np.array(SPECIES)[place], grade=place + 1)


def asks(port, body, content_type="application/json", accept="", route="/predict"):
    "What a plain client of Python gets."
    headers = {"Content-Type": content_type} | ({"Accept": accept} if accept else {})
    request = urllib.request.Request(f"http://127.0.0.1:{port}{route}", body, headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def shares_by_lightgbm(project, rows):
    "What LightGBM's own package answers to these rows, asked with the codes that the bundle's record names."
    [model] = project.glob("store/models/*/model.txt")
    features = json.loads((model.parent / "bundle.json").read_text())["features"]
    columns = []
    for feature in features:
        cells = rows[feature["name"]]
        codes = (
            pd.Categorical(cells, feature["levels"]).codes.astype(float) if feature.get("levels") else None
        )
        columns.append(cells.to_numpy(float) if codes is None else np.where(codes < 0, np.nan, codes))
    return lightgbm.Booster(model_file=str(model)).predict(np.column_stack(columns))


def deployed(newcomer, command):  # noqa: F811
    "A project that went live by the commands of its README, its port, and what each command said."
    penguins().to_csv(newcomer.folder / "penguins.csv", index=False)
    said = [newcomer.types(command).stdout]
    project, port = newcomer.folder / "mine", free_port()
    settings = project / "settings.ini"
    settings.write_text(settings.read_text().replace("port = 8000", f"port = {port}"))
    said.append(newcomer.types("mlkit run explore", "mine").stdout)
    for line in re.findall(r"^\$ (.+)$", (project / "README.md").read_text(), re.M):
        said.append(newcomer.types(line, "mine").stdout)
    return project, port, said


def test_three_species_are_told_apart_live_as_lightgbm_tells_them_in_every_format(newcomer):  # noqa: F811
    project, port, said = deployed(
        newcomer, "mlkit new mine --data penguins.csv --target species --leave-out grade --yes"
    )
    assert "which species? (classes)" in said[0] and "Adelie, Chinstrap, Gentoo" in said[0]
    assert "pass  macro_f1 >= " in said[3] and "pass  log_loss <= " in said[3]

    table = penguins().sample(200, random_state=1)
    inputs = table[["island", "bill", "flipper", "sex"]]
    wanted = shares_by_lightgbm(project, inputs)
    names = [SPECIES[place] for place in wanted.argmax(axis=1)]
    rows = json.loads(inputs.to_json(orient="records"))
    body = json.dumps({"rows": rows}).encode()

    answer = json.loads(asks(port, body))
    told = answer["predictions"]
    assert [list(one["probabilities"]) for one in told] == [SPECIES] * 200
    assert np.array_equal([list(one["probabilities"].values()) for one in told], wanted)
    assert [one["prediction"] for one in told] == names
    one_by_one = [
        json.loads(asks(port, json.dumps({"rows": [row]}).encode()))["predictions"][0] for row in rows[:20]
    ]
    assert one_by_one == told[:20]
    lines = asks(port, "\n".join(map(json.dumps, rows)).encode(), "application/x-ndjson").splitlines()
    assert [{k: json.loads(line)[k] for k in ("prediction", "probabilities")} for line in lines] == told
    cells = list(
        csv.DictReader(io.StringIO(asks(port, inputs.to_csv(index=False).encode(), "text/csv").decode()))
    )
    columns = [f"probability_{name}" for name in SPECIES]
    assert np.array_equal([[float(line[c]) for c in columns] for line in cells], wanted)
    assert [line["prediction"] for line in cells] == names
    sink = io.BytesIO()
    arrow = pyarrow.Table.from_pandas(inputs, preserve_index=False)
    with pyarrow.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    got = pyarrow.ipc.open_stream(asks(port, sink.getvalue(), ARROW)).read_all().to_pandas()
    assert np.array_equal(got[columns], wanted) and got["prediction"].tolist() == names
    assert np.array_equal(np.frombuffer(asks(port, body, accept=FLOAT64)).reshape(-1, 3), wanted)

    labels = {
        "labels": [{"id": answer["id"], "row": n, "label": name} for n, name in enumerate(table["species"])]
    }
    assert json.loads(asks(port, json.dumps(labels).encode(), route="/labels")) == {"taken": 200}
    with pytest.raises(urllib.error.HTTPError) as refused:
        asks(
            port, json.dumps({"labels": [{"id": answer["id"], "label": "adelie"}]}).encode(), route="/labels"
        )
    assert "one of Adelie, Chinstrap, Gentoo" in refused.value.read().decode()
    newcomer.types("mlkit stop local", "mine")
    newcomer.types("mlkit compact", "mine")
    lookup = "from mlkit.store import Store; from mlkit.monitoring.predictions import labeled_predictions as read; "
    show = "f = read(Store('store'), 'mine'); print((f.prediction == f.label).mean(), f.probabilities[0])"
    right, _, first = newcomer.types(f'python -c "{lookup}{show}"', "mine").stdout.partition(" ")
    assert float(right) == np.mean(np.array(names) == table["species"]) and "'Adelie': " in first
    assert names[7] in newcomer.types(f"mlkit trace {answer['id']}", "mine").stdout


def test_the_verdict_on_classes_is_that_of_scikit_learn_and_the_model_is_made_again(newcomer):  # noqa: F811
    command = "mlkit new mine --data penguins.csv --target grade --kind classes --leave-out species --yes"
    project, port, _ = deployed(newcomer, command)
    newcomer.types("mlkit stop local", "mine")
    judged = """
from mlkit import find_project, frame_columns
from mlkit.data.dataset import read_dataset
from mlkit.data.split import read_split
from mlkit.registry import find_model, load_model
import json
project = find_project(); store = project.store
rows = read_split(project).parts(read_dataset(project, "mine")[0])[1]
bundle = load_model(store, find_model(store, "mine@champion", "mine"))
answers = bundle.signature.output.answers(bundle.predict(frame_columns(bundle.signature, rows)))
print(json.dumps([rows.grade.astype(str).tolist(), [one["prediction"] for one in answers]]))
"""
    (newcomer.folder / "judged.py").write_text(judged)
    came, told = json.loads(newcomer.types("python ../judged.py", "mine").stdout)
    report = classification_report(came, told, output_dict=True)
    [verdict] = map(json.loads, (path.read_text() for path in project.glob("store/verdicts/*/verdict.json")))
    assert verdict["metrics"]["accuracy"] == pytest.approx(report["accuracy"])
    assert verdict["metrics"]["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    for row in verdict["classes"]["table"]:
        assert row["f1"] == pytest.approx(report[row["class"]]["f1-score"])
        assert row["f1_interval"][0] <= row["f1"] <= row["f1_interval"][1]
    assert [row["class"] for row in verdict["classes"]["table"]] == ["1", "2", "3"]
    assert verdict["metrics"]["training_rows_judged"] == 0
    assert "`grade`, one of 1, 2, 3" in newcomer.types("mlkit card mine@champion", "mine").stdout

    [trained] = re.findall(r"^(\S+).* train ", newcomer.types("mlkit runs", "mine").stdout, re.M)
    assert newcomer.types(f"mlkit reproduce {trained}", "mine").stdout.strip() == f"{trained}: identical"
    settings = project / "settings.ini"
    settings.write_text(
        settings.read_text().replace(
            "[gates]\n", "[gates]\nf1_2 = >= 0.999\nlog_loss_against_champion = >= -0.5\n"
        )
    )
    newcomer.types("mlkit train -p trees 5", "mine")
    refused = newcomer.types("mlkit validate", "mine", check=False)
    assert refused.returncode == 1 and "FAIL  f1_2 >= 0.999" in refused.stdout
    swept = newcomer.types("mlkit sweep train -p num_leaves 4,15 -p trees 20", "mine").stdout
    assert "tuning_log_loss" in swept
