// Owns the page: what is asked for, and the text as it is drawn.

const at = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
let number = 0; // of the text that is shown
let begin = 0;
const draft = document.createElement("span");
draft.className = "draft";

function say(text) {
  at("status").textContent = text;
}

function writing(active) {
  const focused = document.activeElement;
  at("write").hidden = active;
  at("stop").hidden = !active;
  at("text").setAttribute("aria-busy", String(active));
  if (focused === at(active ? "write" : "stop")) at(active ? "stop" : "write").focus();
}

function show(text, drafted) {
  draft.textContent = drafted;
  at("text").replaceChildren(text, draft);
}

const heard = {
  loading: ({ size }) => say(`Loading the model: ${(size / 1e6).toFixed(1)} MB …`),
  ready({ scale }) {
    at("scale").value ||= scale;
    at("write").disabled = false;
    say("Ready.");
  },
  text({ text, draft: drafted }) {
    show(text, drafted);
  },
  done({ text, tokens }) {
    show(text, "");
    const seconds = (performance.now() - begin) / 1000;
    say(`${tokens} tokens in ${seconds.toFixed(1)} s.`);
    writing(false);
  },
  failed({ message }) {
    say(`Error: ${message}`);
    writing(false);
  },
};

worker.onmessage = ({ data }) => {
  if (data.number === undefined || data.number === number) heard[data.kind](data);
};
worker.onerror = (event) => heard.failed({ message: event.message || "the model could not be started" });

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [prompt, seed, scale] = [at("prompt").value, Number(at("seed").value), Number(at("scale").value)];
  location.hash = new URLSearchParams({ prompt, seed, scale });
  [number, begin] = [number + 1, performance.now()];
  show("", "");
  say("Writing …");
  writing(true);
  worker.postMessage({ number, prompt, seed, scale });
});

at("stop").addEventListener("click", () => {
  number += 1;
  worker.postMessage({ number, stop: true });
  draft.textContent = "";
  say("Stopped.");
  writing(false);
});

at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!at("write").disabled && !at("write").hidden) at("form").requestSubmit();
});

for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if (["prompt", "seed", "scale"].includes(name)) at(name).value = value;
}
