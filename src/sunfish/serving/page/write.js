// The page at /: from the form to texts that condense before one's eyes.

import { ask, events } from "./api.js";
import { byId } from "./dom.js";
import { LOGPROBS, Panel } from "./panel.js";
import { Player } from "./player.js";
import { Recording } from "./recording.js";
import { clearErrors, fail, say } from "./report.js";
import {
  currentMode,
  fitTo,
  fromHash,
  isLong,
  readForm,
  refit,
  requestsOf,
  seeded,
  setMode,
  toHash,
  writeForm,
} from "./settings.js";
import { share } from "./share.js";
import { piecesAround } from "./text.js";

const PATIENCE_MS = 300; // until what was written before makes room
const CALM_MS = 600; // between two states, for those who want no motion
const player = new Player();
let running = null; // the AbortController of what is being written
let link = ""; // of what is shown

/** Write or fill what the form says. */
async function write(values) {
  values = seeded(values);
  const requests = requestsOf(values);
  const signal = begin();
  const columns = requests.map((request) => panelsFor(request, values));
  const show = soon(() => {
    link = `#${toHash(values)}`;
    history.replaceState(null, "", link);
    layOut(columns);
  });
  const run = values.mode === "fill" ? fill : stream;
  const work = requests.map((request, i) => run(request.body, columns[i], signal, show.now));
  await finish(Promise.all(work), signal);
  show.never();
}

/** Do something once: after a moment, or with `now`. What is refused at once leaves the texts alone. */
function soon(action) {
  let timer = setTimeout(() => now(), PATIENCE_MS);
  const never = () => {
    clearTimeout(timer);
    timer = null;
  };
  const now = () => {
    if (timer === null) return;
    never();
    action();
  };
  return { now, never };
}

/** Do the work of a button: the form shows that it runs, then how it ended. */
async function finish(work, signal) {
  try {
    await work;
    const count = player.panels.length;
    say(count === 1 ? "The text is written." : `${count} texts are written.`);
  } catch (error) {
    if (running?.signal !== signal) return; // newer work has taken its place
    if (error.name === "AbortError") say("Stopped.");
    else fail(error);
    running.abort(); // the other texts, too
  }
  end();
}

/** Take down what was said of earlier work; returns the signal that ends the new one. */
function begin() {
  running?.abort();
  running = new AbortController();
  clearErrors();
  byId("stop").hidden = false;
  byId("texts").setAttribute("aria-busy", "true");
  say("Writing.");
  return running.signal;
}

function end() {
  running = null;
  byId("stop").hidden = true;
  byId("texts").removeAttribute("aria-busy");
  for (const panel of player.panels.filter((each) => !each.recording.done))
    panel.element.classList.add("partial");
  player.finished();
}

function panelsFor({ title, body }, values) {
  const count = body.n ?? 1;
  const path = "v1/completions";
  return Array.from({ length: count }, (_, pick) => {
    const name = [
      title,
      count > 1 || !title ? `${values.mode === "fill" ? "Filling" : "Text"} ${pick + 1}` : "",
    ];
    const panel = new Panel(
      name.filter(Boolean).join(", "),
      { path, body, pick },
      { share: showShare, gap: toGaps, fail },
    );
    panel.changed = () => player.grown();
    return panel;
  });
}

function layOut(columns) {
  const panels = byId("panels");
  const isRow = columns.length > 1;
  panels.classList.toggle("row", isRow);
  panels.classList.toggle("single", columns.flat().length === 1);
  panels.style.setProperty("--columns", String(columns.length));
  const inRows = isRow ? columns[0].flatMap((_, i) => columns.map((column) => column[i])) : columns.flat();
  byId("empty").hidden = true;
  panels.replaceChildren(...inRows.map((panel) => panel.element));
  player.take(inRows);
  const { top } = byId("texts").getBoundingClientRect();
  if (top > innerHeight / 2) byId("texts").scrollIntoView(); // a small screen, on which the form is above
}

async function stream(body, panels, signal, show) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let shown = 0;
  const asked = { ...body, stream: true, diffusing: true, step_maps: true };
  if (!isLong(body)) asked.logprobs = LOGPROBS;
  for await (const chunk of events("v1/completions", asked, signal)) {
    show();
    const quietly = calm && performance.now() - shown < CALM_MS;
    if (!quietly) shown = performance.now();
    for (const choice of chunk.choices) panels[choice.index].add(choice, quietly || !player.follows);
    player.grown();
  }
}

async function fill(body, panels, signal, show) {
  const answer = await ask("v1/completions", body, signal);
  show();
  for (const choice of answer.choices) {
    panels[choice.index].put(Recording.of(choice, piecesAround(body)));
  }
  await Promise.all(panels.map((panel) => panel.score(signal)));
}

/** A text that was rewritten, from its link. */
async function showRewritten({ body, pick }) {
  const signal = begin();
  const [panel] = panelsFor({ title: "Rewritten text", body: {} }, {});
  layOut([[panel]]);
  const work = ask("v1/rewrite", body, signal).then(({ choices }) => {
    panel.put(Recording.of(choices[pick], piecesAround(body)), { path: "v1/rewrite", body, pick });
    return panel.score(signal);
  });
  await finish(work, signal);
}

function showShare(panel) {
  const { source } = panel;
  const hash =
    source.path === "v1/rewrite"
      ? `#rewrite=${encodeURIComponent(JSON.stringify({ body: source.body, pick: source.pick }))}`
      : link;
  share(panel.recording.text, source, new URL(hash, location.href).href);
}

/** Take a text with gaps into the form. */
function toGaps(text) {
  setMode("fill");
  byId("text").value = text;
  byId("text").focus();
}

function insertGap() {
  const field = byId("text");
  field.focus();
  field.setRangeText("[MASK]", field.selectionStart, field.selectionEnd, "end");
}

function onSubmit(event) {
  event?.preventDefault();
  clearErrors();
  write(readForm()).catch(fail);
}

function onKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog[open]"))
    onSubmit(event);
  else if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) running.abort();
  else if (event.altKey && event.code === "KeyM" && currentMode() === "fill") {
    event.preventDefault();
    insertGap();
  }
}

function openLink() {
  const values = fromHash(location.hash);
  if (!values) return;
  if (values.rewrite) {
    try {
      showRewritten(JSON.parse(values.rewrite));
    } catch (error) {
      fail(error);
    }
    return;
  }
  writeForm(values);
  onSubmit();
}

async function start() {
  byId("form").addEventListener("submit", onSubmit);
  byId("form").addEventListener("change", refit);
  byId("stop").addEventListener("click", () => running?.abort());
  byId("gap").addEventListener("click", insertGap);
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", openLink);
  try {
    const card = (await ask("v1/models")).data[0];
    byId("model").textContent = `${card.id} · context of ${card.context_length} tokens`;
    fitTo(card);
    openLink();
  } catch (error) {
    fail(error);
  }
}

start();
