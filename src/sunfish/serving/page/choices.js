// What else might stand somewhere: tokens at a place, and texts to choose from, with their likelihoods.

import { h } from "./dom.js";
import { nats, percent } from "./text.js";

/** Show the texts `found` and the `old` one, the likeliest first; a click calls `take(choice, pick)`. */
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
    h(
      "p",
      { class: "help", role: "status" },
      found.length ? count : "The model finds no other words for this place.",
    ),
    h("ol", {}, items),
  );
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

/** Show the tokens of a word, each with the likeliest in its place. */
export function showTokens(element, tokens) {
  const known = tokens.filter((token) => token.top.length);
  const row = (text, logprob, name) =>
    h("div", { class: name }, h("dt", {}, visible(text)), h("dd", {}, percent(logprob)));
  const tables = known.map(({ piece, logprob, top }) => {
    const others = top.filter(([text]) => text !== piece);
    return h(
      "dl",
      { class: "token-table" },
      row(piece, logprob, "it"),
      others.map((other) => row(...other)),
    );
  });
  const caption = h("p", { class: "help" }, "Likeliest here, given the prompt and all words before");
  element.replaceChildren(...(known.length ? [caption] : []), ...tables);
}

/** A token whose space and line breaks show. */
const visible = (text) => text.replace(/^ /, "␣").replaceAll("\n", "⏎") || "∅";
