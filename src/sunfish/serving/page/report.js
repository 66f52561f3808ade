// What is said of the work: how it goes, and what went wrong.

import { ServerError } from "./api.js";
import { byId, h } from "./dom.js";
import { FieldError } from "./settings.js";

/** Take down what was said of earlier work. */
export function clearErrors() {
  byId("error").hidden = true;
  for (const field of byId("form").querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Say what went wrong, where it is seen and heard. */
export function fail(error) {
  const box = byId("error");
  const known = error instanceof ServerError || error instanceof FieldError;
  if (!known) console.error(error);
  const field = error.param && byId("form").querySelector(`#${CSS.escape(error.param)}`);
  const again = () => byId("form").requestSubmit();
  box.replaceChildren(
    ...[
      h("strong", {}, titleOf(error)),
      h("span", {}, known ? error.message : `${error.name}: ${error.message}`),
      error.retryAfter && h("span", {}, `Try again in ${error.retryAfter} s.`),
      (error.status === 0 || error.status >= 429) &&
        h("button", { type: "button", click: again }, "Try again"),
    ].filter(Boolean),
  );
  box.hidden = false;
  field?.setAttribute("aria-invalid", "true");
  field?.focus();
}

function titleOf(error) {
  if (error instanceof FieldError) return "Not sent";
  const titles = { 0: "No answer", 400: "Refused", 401: "No token", 429: "Too much at once", 503: "Not now" };
  return `${titles[error.status] ?? "Failed"}${error.status ? ` (${error.status})` : ""}`;
}

/** Tell those who cannot see the texts how the work goes. */
export const say = (text) => {
  byId("status").textContent = text;
};
