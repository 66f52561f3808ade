// The color behind a token: how unlikely it is, or how late it came.

import { byId, h } from "./dom.js";

const NATS = 4; // of surprise, at which the color is full
const LEGENDS = {
  likelihood: [
    "Certain",
    "surprising",
    "The stronger the color, the less likely the word, given the prompt and all words before it.",
  ],
  step: ["Early", "late", "The stronger the color, the later the word took its value."],
  none: null,
};

/** How a token is shaded: 0 not at all, 1 fully; `steps` is how many steps the text took. */
export function shadeOf(token, kind, steps) {
  if (!token || kind === "none") return 0;
  if (kind === "step") return token.step === null ? 0 : token.step / Math.max(1, steps);
  return token.logprob === null ? 0 : Math.min(1, -token.logprob / NATS);
}

/** Shade an element. */
export function shade(element, amount, kind) {
  element.style.setProperty("--amount", amount.toFixed(2));
  element.classList.toggle("by-step", kind === "step");
}

/** Say what the colors mean. */
export function showLegend(kind) {
  const legend = byId("legend"),
    words = LEGENDS[kind];
  legend.hidden = !words;
  if (!words) return;
  const scale = [0, 0.25, 0.5, 0.75, 1].map((amount) => {
    const swatch = h("i", { class: "swatch" });
    shade(swatch, amount, kind);
    return swatch;
  });
  legend.replaceChildren(
    words[0],
    h("span", { class: "scale", "aria-hidden": "true" }, scale),
    `${words[1]}. ${words[2]}`,
  );
}
