// One text on the page: its states, its words, what is known of them, and what can be done with it.

import { ask } from "./api.js";
import { h } from "./dom.js";
import { Editor } from "./editor.js";
import { Recording, tokensOf } from "./recording.js";
import { shade, shadeOf } from "./shading.js";
import { nats, wordsOf } from "./text.js";

export const LOGPROBS = 5; // likeliest tokens that are named at each place
const NOISE = 12; // positions that are shown before the first state is there
let count = 0;

/** A text with its heading, its facts and its tools. */
export class Panel {
  /** `source`: the request that gives this text, {path, body, pick}; `tools`: {share, gap, fail}. */
  constructor(title, source, tools) {
    this.id = `text-${(count += 1)}`;
    this.title = title;
    this.source = source;
    this.tools = tools;
    this.recording = new Recording();
    this.kind = "likelihood";
    this.shown = -1; // the frame; -1: the text itself
    const noise = Array.from({ length: NOISE }, (_, place) =>
      h("span", { class: `noise width-${(place * 7) % 5}` }),
    );
    this.body = h("div", { class: "text", id: this.id }, noise);
    this.facts = h("p", { class: "facts" });
    this.menu = h(
      "div",
      { class: "tools", hidden: true },
      h("button", { type: "button", "aria-pressed": "false", click: () => this.editor.toggle() }, "Edit"),
      h("button", { type: "button", click: () => tools.share(this) }, "Share"),
    );
    this.editor = new Editor(this);
    this.element = h(
      "article",
      { class: "panel", "aria-labelledby": `${this.id}-title` },
      h("header", {}, h("h2", { id: `${this.id}-title` }, title), this.menu, this.facts),
      this.body,
      this.editor.element,
    );
  }

  /** A new state of the text; `quietly`: it need not be shown. */
  add(choice, quietly) {
    this.recording.add(choice);
    if (this.recording.done) this.settle();
    if (!quietly) this.show(this.steps);
  }

  /** Show another text. */
  put(recording, source) {
    this.recording = recording;
    this.source = source ?? this.source;
    this.settle();
    this.show(this.steps);
  }

  /** Ask how likely a text that came whole is, word by word. */
  async score(signal) {
    const { recording } = this;
    const asked = { text: recording.text, prompt: this.source.body.prompt, logprobs: LOGPROBS };
    try {
      const { logprobs, log_likelihood } = await ask("v1/score", asked, signal);
      recording.tokens = tokensOf(recording.text, logprobs.tokens, logprobs);
      recording.likelihood = log_likelihood;
    } catch (error) {
      this.tools.fail(error);
    }
    if (recording !== this.recording) return; // another text has taken its place
    this.showFacts();
    this.show(this.steps);
  }

  /** The text is whole: it can be edited and shared. */
  settle() {
    this.menu.hidden = false;
    this.words = wordsOf(this.recording.text);
    this.showFacts();
  }

  get steps() {
    return Math.max(0, this.recording.frames.length - 1);
  }

  /** Show the state after a step; the last one is the text itself, whose words can be chosen. */
  show(number) {
    const last = number >= this.steps;
    if (last && this.recording.done) this.paintWords();
    else if (this.recording.frames.length) this.paintFrame(Math.min(number, this.steps));
    this.editor.frozen(!last);
  }

  /** Shade words by `kind`. */
  shadeBy(kind, number) {
    this.kind = kind;
    this.show(number);
  }

  paintFrame(number) {
    const { body, recording } = this;
    if (this.shown < 0) body.replaceChildren();
    this.shown = number;
    const places = recording.frames[number].tokens.length;
    while (body.children.length > places) {
      body.lastElementChild.previousSibling.remove();
      body.lastElementChild.remove();
    }
    while (body.children.length < places) body.append(document.createTextNode(""), h("span"));
    for (let place = 0; place < places; place += 1) this.paintPlace(body.children[place], number, place);
  }

  paintPlace(span, number, place) {
    const look = this.recording.look(number, place);
    const text = look.noise ? "" : look.text;
    const [space] = text.match(/^\s*/u); // is not shaded
    if (span.previousSibling.data !== space) span.previousSibling.data = space;
    if (span.textContent !== text.slice(space.length)) span.textContent = text.slice(space.length);
    const names = [
      "token",
      look.noise ? `noise width-${(place * 7 + number * 3) % 5}` : "",
      !look.noise && look.draft ? "draft" : "",
      !look.noise && look.fresh ? "fresh" : "",
    ];
    span.className = names.filter(Boolean).join(" ");
    shade(span, look.noise ? 0 : shadeOf(look.token, this.kind, this.lastStep), this.kind);
  }

  get lastStep() {
    return Math.max(0, ...this.recording.tokens.map((token) => token.step ?? 0));
  }

  paintWords() {
    this.shown = -1;
    const { text, tokens } = this.recording;
    const children = [];
    let place = 0;
    this.words.forEach(([start, end], number) => {
      children.push(text.slice(place, start));
      children.push(
        this.word(
          number,
          tokens.filter((t) => t.start < end && t.end > start),
          start,
          end,
        ),
      );
      place = end;
    });
    children.push(text.slice(place));
    this.body.replaceChildren(...children);
    this.editor.painted();
  }

  word(number, tokens, start, end) {
    const { text } = this.recording;
    const isNew = this.recording.written.some(([from, to]) => from < end && to > start);
    const word = h("span", {
      class: isNew ? "word new" : "word",
      id: `${this.id}-${number}`,
      "data-word": String(number),
    });
    if (!tokens.length) word.append(text.slice(start, end));
    for (const token of tokens) {
      const part = h(
        "span",
        { class: "token" },
        text.slice(Math.max(start, token.start), Math.min(end, token.end)),
      );
      shade(part, shadeOf(token, this.kind, this.lastStep), this.kind);
      word.append(part);
    }
    return word;
  }

  showFacts() {
    const { recording } = this;
    const surprise = recording.surprise;
    const { seed } = this.source.body;
    const facts = seed === undefined ? [] : [`seed ${seed}`];
    if (recording.tokens.length) facts.push(`${recording.tokens.length} tokens`);
    if (surprise !== null) facts.push(`${surprise.toFixed(2)} nats/token`);
    if (recording.likelihood !== null) facts.push(nats(recording.likelihood));
    if (recording.reason === "length") facts.push("cut at its length");
    this.facts.textContent = facts.join(" · ");
  }
}
