// Asks /predict without leaving the page. Without this file the form posts and the page comes back.
"use strict";
const BARS = 10;
const form = document.getElementById("form");
const result = document.getElementById("result");
const golden = JSON.parse(form.dataset.golden);
const fields = [...form.querySelectorAll("[data-name]")];
let next = Number(form.dataset.next);
form.noValidate = true; // the server's words are better, and stand beside the field

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function bar(...rects) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["viewBox", "0 0 100 8"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]])
    svg.setAttribute(name, value);
  for (const [className, x, width] of rects) {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of [["class", className], ["x", x], ["width", width], ["height", 8]])
      rect.setAttribute(name, value);
    svg.append(rect);
  }
  return svg;
}

const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const short = (value) => String(Number(value.toPrecision(6)));
const percent = (value) => (100 * value).toFixed(1);

function cell(field) {
  if (field.tagName === "SELECT") return JSON.parse(field.value);
  if (field.validity.badInput) return "not a number";
  if (field.value === "") return null;
  return field.type === "number" ? Number(field.value) : field.value;
}

function readRow() {
  const row = Object.create(null);
  for (const field of fields) {
    const value = cell(field);
    if (value !== null || !("optional" in field.dataset)) row[field.dataset.name] = value;
  }
  return row;
}

function fill(row) {
  for (const field of fields) {
    const value = row[field.dataset.name] ?? null;
    field.value = field.tagName === "SELECT" ? choice(field, value) : value ?? "";
  }
}

function choice(field, value) {
  const option = [...field.options].find((o) => JSON.parse(o.value) === value);
  return option ? option.value : "";
}

function showProblems(problem) {
  const wrong = new Map((problem?.problems ?? []).map((p) => [p.column, `${p.problem}; expected ${p.expected}`]));
  for (const field of fields) {
    const text = wrong.get(field.dataset.name) ?? "";
    document.getElementById(`${field.id}-problem`).textContent = text;
    field.closest(".field").classList.toggle("wrong", text !== "");
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
  const alert = document.getElementById("alert");
  alert.hidden = !problem;
  if (!problem) return;
  const count = wrong.size === 1 ? "1 field needs" : `${wrong.size} fields need`;
  alert.textContent = wrong.size ? `${count} your attention.` : [problem.detail, problem.hint].filter(Boolean).join(": ");
  form.querySelector("[aria-invalid]")?.focus();
}

function scaleOf(classes, score) {
  const near = (a, b) => Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(a), Math.abs(b), 1e-3);
  if (classes.length === 1 && near(classes[0].share, score)) return "";
  return classes.length === 1 && near(classes[0].share, 1 / (1 + Math.exp(-score))) ? ", in log-odds" : ", in the model's raw score";
}

// The likeliest first. Classes of older models have no names.
function classesOf(prediction) {
  if (typeof prediction === "number") return [{ name: "", share: prediction }];
  if (prediction.quantiles) return [{ name: "", share: prediction.prediction }];
  const named = !Array.isArray(prediction);
  const classes = Object.entries(named ? prediction.probabilities : prediction);
  const found = classes.map(([key, share]) => ({ key, name: named ? key : `class ${key}`, share }));
  found.sort((a, b) => b.share - a.share);
  if (named) found.unshift(...found.splice(found.findIndex((c) => c.key === prediction.prediction), 1));
  return found;
}

function chart(answer, row, classes) {
  let shares = answer.contributions[0];
  if (classes.length > 1) shares = shares[classes[0].key];
  if (answer.predictions[0].quantiles) shares = shares["0.5"];
  const average = shares[shares.length - 1];
  const bars = shares.slice(0, -1).map((share, i) => ({ name: answer.features[i], share }));
  const score = shares.reduce((sum, share) => sum + share, 0);
  bars.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
  const rest = bars.splice(BARS);
  if (rest.length) bars.push({ name: `${rest.length} others`, share: rest.reduce((sum, b) => sum + b.share, 0) });
  const longest = Math.max(...bars.map((b) => Math.abs(b.share))) || 1;
  const items = bars.map(({ name, share }) => {
    const width = (50 * Math.abs(share)) / longest;
    const what = make("span", "what", name);
    what.title = name;
    if (row[name] !== undefined && row[name] !== null) what.append(" ", make("i", "", String(row[name])));
    const shape = bar([share < 0 ? "down" : "up", share < 0 ? 50 - width : 50, width], ["axis", 49.8, 0.4]);
    return make("li", "", what, shape, make("span", "number", signed(share)));
  });
  const words = `From ${signed(average)} (average) to ${signed(score)} (this row)${scaleOf(classes, score)}.`;
  const why = classes.length > 1 ? `Why ${classes[0].name}` : "Why";
  return [make("h2", "", why), make("p", "why", words), make("ol", "bars", ...items)];
}

// From the first to the last of them, and where each of them lies between.
function interval(quantiles) {
  const told = Object.entries(quantiles);
  const [low, high] = [told[0], told[told.length - 1]];
  const words = `${Number((100 * (high[0] - low[0])).toPrecision(6))} % are expected between ${short(low[1])} and ${short(high[1])}.`;
  const lines = told.flatMap(([level, value]) => {
    const at = high[1] > low[1] ? (100 * (value - low[1])) / (high[1] - low[1]) : 0;
    const share = `${Number((100 * level).toPrecision(6))} % below`;
    return [make("span", "what", share), bar(["track", 0, 100], ["up", 0, at]), make("span", "number", short(value))];
  });
  return [make("p", "why", words), make("div", "classes quantiles", ...lines)];
}

function curl(row) {
  const quote = (text) => `'${text.replaceAll("'", `'"'"'`)}'`;
  const address = quote(new URL(form.dataset.ask, location.href).href);
  return `curl ${address} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quote(JSON.stringify({ rows: [row] }))}`;
}

function showAnswer(answer, row) {
  const classes = classesOf(answer.predictions[0]);
  const best = classes[0];
  const probability = form.dataset.kind === "probability" && classes.length === 1;
  const title = `${{ probability: "Probability of", ranking: "Score for" }[form.dataset.kind] ?? "Predicted"} ${form.dataset.output}`;
  const number = probability ? percent(best.share) : short(best.share);
  const big = classes.length > 1 ? make("p", "big name", best.name) : make("p", "big", number);
  if (probability) big.append(make("small", "", " %"));
  const parts = [make("p", "eyebrow", title), big, make("p", "exact", String(best.share))];
  const { group } = form.dataset;
  if (group) parts.push(make("p", "why", `The row of a ${group} with the highest score stands first.`));
  if (answer.predictions[0].quantiles) parts.push(...interval(answer.predictions[0].quantiles));
  if (classes.length > 1) {
    const shown = classes.slice(0, BARS);
    const rest = classes.slice(BARS);
    if (rest.length) shown.push({ name: `${rest.length} others`, share: rest.reduce((sum, c) => sum + c.share, 0) });
    const lines = shown.flatMap(({ name, share }) => {
      const what = make("span", "what", name);
      what.title = name;
      return [what, bar(["track", 0, 100], ["up", 0, 100 * share]), make("span", "number", `${percent(share)} %`)];
    });
    parts.push(make("div", "classes", ...lines));
  }
  if (answer.contributions) parts.push(...chart(answer, row, classes));
  parts.push(make("dl", "", make("dt", "", "Prediction"), make("dd", "", make("code", "", answer.id))));
  const command = make("pre", "", curl(row));
  command.tabIndex = 0;
  parts.push(make("details", "", make("summary", "", "Ask the same with curl"), command));
  result.replaceChildren(...parts);
  if (matchMedia("(max-width: 60rem)").matches) result.scrollIntoView({ block: "nearest" });
}

async function predict(event) {
  event.preventDefault();
  const row = readRow();
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  const key = document.querySelector("#key input").value;
  if (key) headers.Authorization = `Bearer ${key}`;
  result.classList.add("busy");
  try {
    const answer = await fetch(form.dataset.ask, { method: "POST", headers, body: JSON.stringify({ rows: [row] }) });
    const said = await answer.json();
    if (answer.status === 401 || answer.status === 403) document.getElementById("key").hidden = false;
    showProblems(answer.ok ? null : said);
    if (answer.ok) showAnswer(said, row);
  } catch (error) {
    showProblems({ detail: `The server did not answer (${error.message})` });
  } finally {
    result.classList.remove("busy");
  }
}

form.addEventListener("submit", predict);
document.getElementById("golden").addEventListener("click", (event) => {
  event.preventDefault();
  fill(golden[next]);
  showProblems(null);
  next = (next + 1) % golden.length;
});
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue; // only where the page is trusted: https, or this machine
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  });
}
