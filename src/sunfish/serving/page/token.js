// The token of a protected server, kept for as long as this tab is open.

import { byId, h } from "./dom.js";

const KEY = "sunfish-token";
let asking = null;

/** The token, or null. */
export const token = () => sessionStorage.getItem(KEY);

/** Forget a token that the server does not take. */
export const forgetToken = () => sessionStorage.removeItem(KEY);

/** Ask the user for the token; whether one was given. Requests that ask at once share the question. */
export function askToken() {
  asking ??= question().finally(() => {
    asking = null;
  });
  return asking;
}

function question() {
  const dialog = byId("token");
  const field = h("input", { id: "token-field", type: "password", autocomplete: "off", required: true });
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: "token-title" }, "This server needs its token"),
    h("p", { class: "help" }, "It is kept in this tab until you close it, and sent to this server alone."),
    h("div", { class: "field" }, h("label", { for: "token-field" }, "Token"), field),
    h(
      "div",
      { class: "actions" },
      h("button", { type: "submit", class: "main" }, "Use it"),
      h("button", { type: "button", click: () => dialog.close() }, "Cancel"),
    ),
  );
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, field.value.trim());
      dialog.close("given");
    });
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
}
