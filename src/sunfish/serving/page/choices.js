// Texts to choose from, each with its share of the likelihood of all of them.

import { h } from "./dom.js";
import { nats, percent } from "./text.js";

/** Show the texts that were `found` and the `old` one, the likeliest first; `take(choice, pick)` hears of a click. */
export function showChoices(element, found, old, take) {
  const all = [...found.map((choice, pick) => ({ choice, pick })), { choice: old, pick: null }];
  all.sort((a, b) => b.choice.log_likelihood - a.choice.log_likelihood);
  const top = all[0].choice.log_likelihood;
  const total = all.reduce((sum, { choice }) => sum + Math.exp(choice.log_likelihood - top), 0);
  const items = all.map(({ choice, pick }) => {
    const parts = described(choice, choice.log_likelihood - top - Math.log(total));
    if (pick === null) return h("li", { class: "old" }, parts);
    return h("li", {}, h("button", { type: "button", click: () => take(choice, pick) }, parts));
  });
  const count = `${found.length} other ${found.length === 1 ? "text" : "texts"}, the likeliest first`;
  element.replaceChildren(
    h("p", { class: "help", role: "status" }, found.length ? count : "The model finds no other words for this place."),
    h("ol", {}, items));
}

/** The new words of a text, its share of the likelihood of all, and its likelihood. */
function described({ fills, log_likelihood }, logShare) {
  return [
    h("span", { class: "fill" }, fills.map((fill) => fill.trim()).join(" … ")),
    h("meter", { min: "0", max: "1", value: Math.exp(logShare).toFixed(4), "aria-hidden": "true" }),
    h("span", { class: "number" }, percent(logShare)),
    h("span", { class: "number" }, nats(log_likelihood)),
  ];
}
