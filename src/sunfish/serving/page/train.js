// The page at /train: a run in progress, asked for every second.

import { ask } from "./api.js";
import { Chart } from "./chart.js";
import { byId, h } from "./dom.js";

const POLL_MS = 1000;
const RETRY_MS = 3000; // after an answer failed
const CHARTS = [
  {
    title: "Loss",
    about: "nats/token, in training; logarithmic",
    log: true,
    series: { loss: "loss", train_loss: "canvas", next_token: "next token" },
  },
  {
    title: "Bound",
    about: "nats/token, on held-out texts",
    log: true,
    series: {
      "validation/bound": "whole text",
      "validation/block_bound": "in blocks",
      "validation/next_token": "next token",
    },
  },
  {
    title: "What the right prompt is worth",
    about: "nats/token more with a wrong one, on held-out texts",
    series: { "validation/prompt_gain": "worth" },
  },
  { title: "Speed", about: "tokens/s in training", series: { tokens_per_second: "tokens/s" } },
];
const FIGURES = [
  ["step", "step"],
  ["minutes", "minutes"],
  ["loss", "loss"],
  ["validation/bound", "bound"],
  ["validation/next_token", "next token"],
  ["validation/prompt_gain", "worth of the prompt"],
];
const run = { after: 0, samplesAfter: 0, curves: new Map(), notes: [], samples: [], time: null };
let charts = null;
let follows = true; // shows the newest samples

/** Take in an answer. */
function take(answer) {
  if (answer.begin !== run.after) Object.assign(run, { curves: new Map(), notes: [] }); // begun anew
  for (const { step, time, note, ...values } of answer.records) {
    run.time = time ?? run.time;
    if (note) run.notes.push([step, note]);
    else addPoint("step", step, step);
    for (const [name, value] of Object.entries(values)) {
      if (typeof value === "number") addPoint(name, step, value);
    }
  }
  run.after = answer.end;
  if (answer.samples) run.samples = [...new Map(answer.samples.map((each) => [each.step, each])).values()];
  run.samplesAfter = answer.samples_end;
}

/** A run that was rolled back takes its steps once more: the later line holds. */
function addPoint(name, step, value) {
  if (!run.curves.has(name)) run.curves.set(name, []);
  const points = run.curves.get(name);
  while (points.length && points.at(-1)[0] >= step) points.pop();
  points.push([step, value]);
}

function draw(answer) {
  byId("empty").hidden = answer.exists;
  byId("content").hidden = !answer.exists;
  byId("waiting").textContent =
    `There is no run ${answer.name} yet. It is shown here as soon as it writes its first line.`;
  document.title = `${answer.name} · SunFish`;
  if (!answer.exists) return;
  charts ??= CHARTS.map((options) => new Chart(options));
  if (!byId("charts").children.length) byId("charts").append(...charts.map((chart) => chart.element));
  charts.forEach((chart, i) =>
    chart.show(
      Object.entries(CHARTS[i].series).map(([key, name]) => ({ name, points: run.curves.get(key) ?? [] })),
    ),
  );
  drawFigures(answer.name);
  drawSamples();
  drawNotes();
}

function drawFigures(name) {
  const known = FIGURES.filter(([key]) => run.curves.has(key));
  byId("figures").replaceChildren(
    ...known.map(([key, label]) => {
      const value = run.curves.get(key).at(-1)[1];
      const text = key === "step" ? value.toLocaleString("en") : value.toFixed(key === "minutes" ? 1 : 3);
      return h("div", {}, h("dt", {}, label), h("dd", {}, text));
    }),
  );
  const seconds = run.time === null ? null : Math.max(0, Date.now() / 1000 - run.time);
  byId("when").textContent = seconds === null ? name : `${name} · last line ${ago(seconds)} ago`;
}

function ago(seconds) {
  const units = [
    ["day", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const [unit, size] = units.find(([, each]) => seconds >= each) ?? units.at(-1);
  const count = Math.floor(seconds / size);
  return `${count} ${unit === "day" && count > 1 ? "days" : unit}`;
}

function drawSamples() {
  const slider = byId("when-sampled"),
    last = run.samples.length - 1;
  byId("samples").hidden = last < 0;
  if (last < 0) return;
  slider.max = String(last);
  if (follows || Number(slider.value) > last) slider.value = String(last);
  const { step, texts } = run.samples[Number(slider.value)];
  const label = `step ${step.toLocaleString("en")}`;
  if (byId("sampled").textContent === label && byId("shown").children.length === texts.length) return;
  byId("sampled").textContent = label;
  slider.setAttribute("aria-valuetext", label);
  byId("back").disabled = slider.value === "0";
  byId("on").disabled = slider.value === slider.max;
  byId("shown").replaceChildren(
    ...texts.map(({ prompt, text }) =>
      h("article", { class: "panel" }, h("header", {}, h("h3", {}, prompt)), h("p", { class: "text" }, text)),
    ),
  );
}

function drawNotes() {
  byId("notes").hidden = !run.notes.length;
  byId("notes")
    .querySelector("ul")
    .replaceChildren(
      ...run.notes.map(([step, note]) => h("li", {}, `step ${step.toLocaleString("en")}: ${note}`)),
    );
}

function goTo(number) {
  const slider = byId("when-sampled");
  slider.value = String(number);
  follows = slider.value === slider.max;
  drawSamples();
}

async function poll() {
  if (document.hidden) return POLL_MS;
  try {
    const answer = await ask(`v1/run?after=${run.after}&samples_after=${run.samplesAfter}`);
    take(answer);
    draw(answer);
    byId("error").hidden = true;
    return answer.more ? 0 : POLL_MS;
  } catch (error) {
    const box = byId("error");
    if (error.code === "no_run") byId("waiting").textContent = "";
    box.replaceChildren(
      h("strong", {}, error.status === 0 ? "No answer" : `Failed (${error.status})`),
      h("span", {}, error.message),
    );
    box.hidden = false;
    return error.status === 401 ? Infinity : RETRY_MS;
  }
}

async function start() {
  const slider = byId("when-sampled");
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  byId("back").addEventListener("click", () => goTo(Number(slider.value) - 1));
  byId("on").addEventListener("click", () => goTo(Number(slider.value) + 1));
  for (let pause = 0; pause < Infinity;) {
    pause = await poll();
    if (pause < Infinity) await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

start();
