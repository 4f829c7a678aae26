"""Typed clients, made from the live server's OpenAPI document by others' generators, compiled strictly and used.

    python bench/serve/clients.py

orval, openapi-typescript with openapi-fetch, swagger-typescript-api, openapi-python-client. Each client is generated into a
temporary folder, checked by `tsc --strict` (the libraries too) or `mypy --strict` together with a program that predicts one
row, asks why, reads the model and tells an outcome, without a cast; then the program is run against the server.
Needs node 20 with npm, uv, and the package registries. A word that fails ends it with that word's output.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/integration"), str(ROOT / "tests")]

from live_server import LiveServer, save_model  # noqa: E402

NPM = {
    "@types/node": "20.19.43",
    "openapi-fetch": "0.17.0",
    "openapi-typescript": "7.13.0",
    "orval": "7.13.2",
    "swagger-typescript-api": "13.13.0",
    "tsx": "4.23.15",
    "typescript": "5.9.3",
}
PYPI = ["openapi-python-client==0.29.1", "mypy==2.4.1", "attrs==26.1.0", "httpx==0.28.1"]
TSC = {
    "strict": True,
    "noEmit": True,
    "skipLibCheck": False,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": ["node"],
}

# What every TypeScript program does with its client. Each type is written down: `any` would be assignable, so it is refused.
CHECKS = """
type Known<T> = 0 extends 1 & T ? never : T; // never for `any`
export const known = <T>(value: Known<T>): T => value as T;
export const base = process.env.SERVER!;
export function report(client: string, late: number, shares: number[], name: string, taken: number): void {
  if (!(late > 0 && late < 1) || shares.length === 0 || name !== "flights" || taken !== 1) throw new Error(client);
  console.log(`${client}: ${late.toFixed(6)}, ${shares.length} shares, ${name}, ${taken} taken`);
}
"""
FETCH = """
import createClient from "openapi-fetch";
import type { paths } from "./schema";
import { base, known, report } from "./checks";
const client = createClient<paths>({ baseUrl: base });
const body = { rows: [{ distance: 3, temp: 1.5, carrier: "AA" as const }] };
const plain = await client.POST("/predict", { body });
if (plain.error) throw new Error(plain.error.detail);
const late: number = known(plain.data.predictions[0]);
const why = await client.POST("/predict", { body, params: { query: { explain: true } } });
if (why.error) throw new Error(why.error.detail);
const shares: number[] = known(why.data.contributions?.[0] ?? []);
const model = await client.GET("/model");
if (model.error) throw new Error(model.error.detail);
const inputs: unknown = model.data.signature.inputs;
if (!Array.isArray(inputs)) throw new Error("the signature has no inputs");
const told = await client.POST("/labels", { body: { labels: [{ id: plain.data.id, row: 0, label: 1 }] } });
if (told.error) throw new Error(told.error.detail);
report("openapi-fetch", late, shares, known(model.data.name), known(told.data.taken));
// @ts-expect-error: no such carrier
const refused = await client.POST("/predict", { body: { rows: [{ distance: 3, carrier: "XX" }] } });
if (refused.error?.status !== 400) throw new Error("not refused");
"""
ORVAL = """
import { labels, model, predict, type ByRows } from "./orval";
import { base, known, report } from "./checks";
const send = globalThis.fetch; // orval's addresses are relative, as in a page of the same host
globalThis.fetch = (path, options) => send(base + path, options);
const body: ByRows = { rows: [{ distance: 3, temp: 1.5, carrier: "AA" }] };
const plain = await predict(body);
if (plain.status !== 200) throw new Error(plain.data.detail);
const late: number = known(plain.data.predictions[0]);
const why = await predict(body, { explain: true });
if (why.status !== 200) throw new Error(why.data.detail);
const shares: number[] = known(why.data.contributions?.[0] ?? []);
const told = await labels({ labels: [{ id: plain.data.id, row: 0, label: 1 }] });
if (told.status !== 200) throw new Error(told.data.detail);
const about = await model();
if (about.status !== 200) throw new Error(about.data.detail);
report("orval", late, shares, known(about.data.name), known(told.data.taken));
// @ts-expect-error: no such carrier
const refused = await predict({ rows: [{ distance: 3, carrier: "XX" }] });
if (refused.status !== 400) throw new Error("not refused");
"""
SWAGGER = """
import { Api, type ByRows } from "./api";
import { base, known, report } from "./checks";
const api = new Api({ baseUrl: base });
const body: ByRows = { rows: [{ distance: 3, temp: 1.5, carrier: "AA" }] };
const plain = await api.predict.predict(body);
const late: number = known(plain.data.predictions[0]);
const why = await api.predict.predict(body, { explain: true });
const shares: number[] = known(why.data.contributions?.[0] ?? []);
const model = await api.model.model();
const told = await api.labels.labels({ labels: [{ id: plain.data.id, row: 0, label: 1 }] });
report("swagger-typescript-api", late, shares, known(model.data.name), known(told.data.taken));
// @ts-expect-error: no such carrier
const refused = await api.predict.predict({ rows: [{ distance: 3, carrier: "XX" }] }).catch((answer) => answer);
if (refused.error.status !== 400) throw new Error("not refused");
"""
PYTHON = """
import os

from flights_client import Client
from flights_client.api.default import labels, model, predict
from flights_client.models import Answer, ByRows, LabelsResponse200, Model, Outcome, Outcomes, Problem, Row, RowCarrier

client = Client(base_url=os.environ["SERVER"])
body = ByRows(rows=[Row(distance=3, temp=1.5, carrier=RowCarrier.AA)])
plain = predict.sync(client=client, body=body)
assert isinstance(plain, Answer), plain
late: float = plain.predictions[0]
why = predict.sync(client=client, body=body, explain=True)
assert isinstance(why, Answer) and why.contributions, why
about = model.sync(client=client)
assert isinstance(about, Model) and about.name == "flights" and about.signature["inputs"], about
told = labels.sync(client=client, body=Outcomes(labels=[Outcome(id=plain.id, row=0, label=1)]))
assert isinstance(told, LabelsResponse200) and told.taken == 1, told
unknown = labels.sync(client=client, body=Outcomes(labels=[Outcome(id="nothing", label=1)]))
assert isinstance(unknown, Problem) and unknown.status == 400, unknown
shares = why.contributions[0]
print(f"openapi-python-client: {late:.6f}, {len(shares)} shares, {about.name}, {told.taken} taken")
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        server = LiveServer(save_model(folder / "model"), folder, 1, MLKIT_PREDICTIONS=folder / "predictions")
        try:
            (folder / "openapi.json").write_bytes(server.get("/openapi.json")[1])
            address = f"http://127.0.0.1:{server.port}"
            use_typescript(folder, address)
            use_python(folder, address)
        finally:
            server.stop()


def use_typescript(folder: Path, address: str) -> None:
    package = {"private": True, "type": "module", "dependencies": NPM}
    programs = {"fetch.ts": FETCH, "orval_use.ts": ORVAL, "swagger.ts": SWAGGER}
    for name, text in {"checks.ts": CHECKS, **programs}.items():
        (folder / name).write_text(text)
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": TSC, "files": list(programs)}))
    run(folder, "npm", "install", "--no-audit", "--no-fund")
    run(folder, "npx", "openapi-typescript", "openapi.json", "-o", "schema.ts")
    run(folder, "npx", "orval", "--input", "openapi.json", "--output", "orval.ts", "--client", "fetch")
    run(folder, "npx", "swagger-typescript-api", "generate", "-p", "openapi.json", "-o", ".", "-n", "api.ts")
    run(folder, "npx", "tsc", "--project", ".")
    for program in programs:
        print(run(folder, "npx", "tsx", program, SERVER=address), end="")


def use_python(folder: Path, address: str) -> None:
    own = {"VIRTUAL_ENV": str(folder / "own"), "PATH": f"{folder / 'own/bin'}:{os.environ['PATH']}"}
    uv = Path(sys.executable).with_name("uv")
    run(folder, uv, "venv", "-q", "-p", sys.executable, "own")
    run(folder, uv, "pip", "install", "-q", *PYPI, **own)
    run(
        folder,
        "openapi-python-client",
        "generate",
        "--path",
        "openapi.json",
        "--output-path",
        "client",
        **own,
    )
    own |= {"PYTHONPATH": str(folder / "client"), "SERVER": address}
    (folder / "client/use.py").write_text(PYTHON)
    run(folder / "client", "mypy", "--strict", "flights_client", "use.py", **own)
    print(run(folder / "client", "python", "use.py", **own), end="")


def run(folder: Path, *words: str | Path, **environment: str) -> str:
    "What a command prints; what it says, if it fails."
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
