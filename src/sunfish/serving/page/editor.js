// Choosing words of a text with the mouse, by touch or by keyboard, and rewriting them.

import { ask } from "./api.js";
import { showChoices, showTokens } from "./choices.js";
import { h } from "./dom.js";
import { Recording } from "./recording.js";
import { inCharacters, piecesAround, spansOf, withGaps } from "./text.js";

const ALTERNATIVES = 6;

/** The words of a panel that are chosen, and what is done with them. */
export class Editor {
  constructor(panel) {
    this.panel = panel;
    this.chosen = new Set();
    this.active = 0; // the word that the keyboard is at
    this.anchor = 0; // where a range begins
    this.on = false;
    this.past = []; // texts to go back to
    this.actions = h("div", { class: "actions", role: "group", "aria-label": "Chosen words" });
    this.tokens = h("div", { class: "alternatives-of-tokens" });
    this.choices = h("div", { class: "choices" });
    this.element = h("div", { class: "editor", hidden: true }, this.actions, this.tokens, this.choices);
    const { body } = panel;
    body.addEventListener("pointerdown", (event) => this.press(event));
    body.addEventListener("keydown", (event) => this.key(event));
  }

  /** Let words be chosen, or no more. */
  toggle(on = !this.on) {
    this.on = on;
    if (!on) this.chosen.clear();
    this.element.hidden = !on;
    this.panel.menu.firstElementChild.setAttribute("aria-pressed", String(on));
    this.painted();
    if (on) this.panel.body.focus({ preventScroll: true });
  }

  /** While an earlier state is shown there is nothing to choose. */
  frozen(is) {
    if (is && this.on) this.toggle(false);
    this.panel.menu.firstElementChild.disabled = is;
  }

  /** The words were drawn anew: mark those that are chosen. */
  painted() {
    const { body, title } = this.panel;
    const names = {
      role: "listbox",
      "aria-multiselectable": "true",
      tabindex: "0",
      "aria-label": `Words of ${title}`,
    };
    for (const [name, value] of Object.entries(names)) {
      if (this.on) body.setAttribute(name, value);
      else body.removeAttribute(name);
    }
    body.removeAttribute("aria-activedescendant");
    for (const word of body.querySelectorAll(".word")) {
      const number = Number(word.dataset.word);
      if (this.on) word.setAttribute("role", "option");
      else word.removeAttribute("role");
      if (this.on) word.setAttribute("aria-selected", String(this.chosen.has(number)));
      else word.removeAttribute("aria-selected");
      word.classList.toggle("chosen", this.chosen.has(number));
      word.classList.toggle("active", this.on && number === this.active);
      if (this.on && number === this.active) body.setAttribute("aria-activedescendant", word.id);
    }
    if (this.on) this.offer();
  }

  /** A click or a drag begins, which may end outside of the text; one that scrolls is canceled. */
  press({ button }) {
    if (button !== 0) return;
    const over = new AbortController();
    const end = (event) => {
      over.abort();
      if (event.type === "pointerup") this.point(event);
    };
    for (const name of ["pointerup", "pointercancel"]) {
      document.addEventListener(name, end, { signal: over.signal });
    }
  }

  point(event) {
    if (this.panel.shown >= 0 || !this.panel.recording.done) return;
    const picked = this.dragged() ?? this.under(event.target);
    if (picked === null) return;
    const [first, last] = picked;
    if (!this.on) this.toggle(true);
    if (first !== last || event.shiftKey) this.chooseRange(event.shiftKey ? this.anchor : first, last);
    else if (this.chosen.has(first)) this.chosen.delete(first);
    else this.chosen.add(first);
    this.active = last;
    if (!event.shiftKey) this.anchor = first;
    getSelection().removeAllRanges();
    this.painted();
  }

  under(target) {
    const word = target.closest(".word");
    if (!this.panel.body.contains(word)) return null;
    return [Number(word.dataset.word), Number(word.dataset.word)];
  }

  /** The first and last word of what the mouse was drawn over, or null. */
  dragged() {
    const selection = getSelection();
    if (selection.isCollapsed || !selection.toString().trim()) return null;
    const touched = [...this.panel.body.querySelectorAll(".word")].filter((word) =>
      selection.containsNode(word, true),
    );
    return touched.length > 1 ? [Number(touched[0].dataset.word), Number(touched.at(-1).dataset.word)] : null;
  }

  chooseRange(from, to) {
    for (let i = Math.min(from, to); i <= Math.max(from, to); i += 1) this.chosen.add(i);
  }

  key(event) {
    if (!this.on || event.ctrlKey || event.altKey || event.metaKey) return;
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      const last = this.panel.words.length - 1;
      this.active = Math.max(0, Math.min(last, this.active + moves[event.key]));
      if (event.shiftKey) this.chooseRange(this.anchor, this.active);
      else this.anchor = this.active;
    } else if (event.key === " ") {
      if (!this.chosen.delete(this.active)) this.chosen.add(this.active);
    } else if (event.key === "Enter") this.rewrite();
    else if (event.key === "Escape") this.toggle(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (this.on) this.painted();
  }

  get spans() {
    return spansOf(
      this.panel.words,
      [...this.chosen].sort((a, b) => a - b),
    );
  }

  /** What can be done with the chosen words, and what else might have stood at the active one. */
  offer() {
    const count = this.chosen.size;
    const words = `${count} ${count === 1 ? "word" : "words"}`;
    const help = h(
      "p",
      { class: "help" },
      "Choose words: click or drag; or arrow keys, Space, Shift with arrows.",
    );
    this.actions.replaceChildren(
      ...(count
        ? [
            h("button", { type: "button", class: "main", click: () => this.rewrite() }, `Rewrite ${words}`),
            h(
              "button",
              { type: "button", click: () => this.gap() },
              count === 1 ? "Make it a gap" : "Make them gaps",
            ),
            h(
              "button",
              {
                type: "button",
                click: () => {
                  this.chosen.clear();
                  this.painted();
                },
              },
              "Choose none",
            ),
          ]
        : [help, h("button", { type: "button", click: () => this.gap() }, "Put gaps into it")]),
      ...(this.past.length ? [h("button", { type: "button", click: () => this.undo() }, "Undo")] : []),
    );
    const [start, end] = this.panel.words[this.active] ?? [0, 0];
    const tokens = this.panel.recording.tokens.filter((token) => token.start < end && token.end > start);
    showTokens(this.tokens, tokens);
  }

  gap() {
    this.panel.tools.gap(withGaps(this.panel.recording.text, this.spans));
  }

  /** Ask for other words in the place of the chosen ones; all others stay. */
  async rewrite() {
    if (!this.chosen.size) return;
    const { panel, spans } = this;
    const { text } = panel.recording;
    const { seed, prompt } = panel.source.body;
    const body = { text, spans: inCharacters(text, spans), n: ALTERNATIVES, seed, prompt };
    this.choices.replaceChildren(h("p", { class: "help", role: "status" }, "Writing other words …"));
    try {
      const [answer, known] = await Promise.all([ask("v1/rewrite", body), ask("v1/score", { text, prompt })]);
      const old = {
        fills: spans.map(([start, end]) => text.slice(start, end)),
        log_likelihood: known.log_likelihood,
      };
      showChoices(this.choices, answer.choices, old, (choice, pick) => this.take(choice, body, pick));
      (this.choices.querySelector("button") ?? panel.body).focus({ preventScroll: true });
    } catch (error) {
      this.choices.replaceChildren();
      panel.tools.fail(error);
    }
  }

  take(choice, body, pick) {
    const { panel } = this;
    this.past.push([panel.recording, panel.source]);
    this.become(Recording.of(choice, piecesAround(body)), { path: "v1/rewrite", body, pick });
    panel.score();
  }

  undo() {
    this.become(...this.past.pop());
  }

  become(recording, source) {
    this.chosen.clear();
    this.choices.replaceChildren();
    this.panel.put(recording, source);
    this.active = Math.min(this.active, this.panel.words.length - 1);
    this.painted();
    this.panel.body.focus({ preventScroll: true });
    this.panel.changed?.();
  }
}
