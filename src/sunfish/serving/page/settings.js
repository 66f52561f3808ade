// The form: what the model can do, what the user asks for, and the same in a link.

import { byId, h } from "./dom.js";

const NUMBERS = ["n", "seed", "temperature", "num_steps", "block_length", "max_tokens", "top_p"];
const WORDS = ["prompt", "text", "guidance_scale", "sampler", "negative_prompt"];
const OF_TEXTS = ["sampler", "num_steps", "block_length", "negative_prompt"];
const MAX_SEED = 2 ** 31;
const VERIFIED = "verified";

/** A field that the page itself finds wrong. */
export class FieldError extends Error {
  constructor(name, message) {
    super(message);
    this.param = name;
  }
}

let model = null;

/** Show only what the model can do; its own settings stand in the empty fields. */
export function fitTo(card) {
  model = card;
  const own = card.settings;
  byId("sampler").replaceChildren(
    h("option", { value: "" }, `${own.sampler} (this model’s own)`),
    ...card.samplers.map((name) => h("option", { value: name }, name)),
  );
  for (const name of ["guidance_scale", "temperature", "num_steps", "block_length", "top_p"]) {
    if (own[name] !== undefined) byId(name).placeholder = String(own[name]);
  }
  byId("max_tokens").placeholder = String(card.context_length - 1);
  refit();
}

/** Show the fields that belong to the mode and the sampler. */
export function refit() {
  const mode = currentMode();
  const sampler = byId("sampler").value || model?.settings.sampler || VERIFIED;
  const have = {
    prompt: model?.prompt_length !== 0,
    samplers: model?.samplers.length !== 1,
    steps: !sampler.startsWith(VERIFIED),
  };
  for (const field of document.querySelectorAll("[data-mode], [data-needs]")) {
    const fits = (field.dataset.mode ?? mode) === mode && (have[field.dataset.needs] ?? true);
    field.hidden = !fits;
  }
  byId("prompt-help").textContent =
    mode === "fill"
      ? "What the text is about; it may be empty."
      : "What the text is about, not how it begins.";
  byId("go").textContent = mode === "fill" ? "Fill" : "Write";
}

export const currentMode = () => byId("form").elements.mode.value;

/** Choose a mode, as a click would. */
export function setMode(mode) {
  byId("form").elements.mode.value = mode;
  refit();
}

/** What the form says: {mode, and each field that is not empty and is shown}. */
export function readForm() {
  const values = { mode: currentMode() };
  for (const name of [...NUMBERS, ...WORDS]) {
    const field = byId(name);
    if (!field.closest("[hidden]") && field.value.trim() !== "") values[name] = field.value;
  }
  return values;
}

/** Put values into the form. */
export function writeForm(values) {
  setMode(values.mode === "fill" ? "fill" : "write");
  for (const name of [...NUMBERS, ...WORDS]) byId(name).value = values[name] ?? "";
  document.querySelector("details.more").open = ["max_tokens", "top_p", "negative_prompt"].some(
    (name) => values[name],
  );
  refit();
}

/** The values with a seed. */
export function seeded(values) {
  return values.seed === undefined
    ? { ...values, seed: String(Math.floor(Math.random() * MAX_SEED)) }
    : values;
}

/** The requests that the values ask for: one, or one for each guidance scale; {title, body}. */
export function requestsOf(values) {
  const body = {};
  if (values.mode === "fill") {
    if (!values.text?.includes("[MASK"))
      throw new FieldError("text", "There is no gap yet: put [MASK] where words are missing.");
    body.text = values.text;
  }
  if (values.prompt) body.prompt = values.prompt;
  for (const name of NUMBERS) {
    if (values[name] !== undefined) body[name] = number(name, values[name]);
  }
  if (values.mode === "fill") return [{ title: "", body }];
  for (const name of OF_TEXTS) {
    if (values[name] !== undefined && body[name] === undefined) body[name] = values[name];
  }
  const scales = (values.guidance_scale ?? "").split(/[,;\s]+/).filter(Boolean);
  if (!scales.length) return [{ title: "", body }];
  return scales.map((scale) => ({
    title: `Scale ${scale}`,
    body: { ...body, guidance_scale: number("guidance_scale", scale) },
  }));
}

function number(name, text) {
  const value = Number(text);
  const label = document.querySelector(`label[for=${name}]`).textContent;
  if (!Number.isFinite(value)) throw new FieldError(name, `${label} is “${text}”, which is no number.`);
  if (name === "seed" && !(Number.isSafeInteger(value) && value >= 0)) {
    throw new FieldError(
      name,
      `${label} is “${text}”: give a whole number from 0 to ${Number.MAX_SAFE_INTEGER}.`,
    );
  }
  return value;
}

/** Whether a text may be longer than the model sees at a time: its likelihood is not known. */
export const isLong = (body) => body.max_tokens > model.context_length - 1;

/** The part of a link after the #. */
export function toHash(values) {
  const { mode, ...rest } = values;
  return new URLSearchParams(mode === "fill" ? { mode, ...rest } : rest).toString();
}

/** The values that a link holds, or null; a link to a rewritten text has `rewrite`, its request. */
export function fromHash(hash) {
  const values = Object.fromEntries(new URLSearchParams(hash.replace(/^#/, "")));
  return Object.keys(values).length ? values : null;
}
