// A text while it is written: every state that the server sends, kept so that one can scrub through them.

import { align, rangesOfFills } from "./text.js";

const MASK = "▒";

/** The states of one text, and what it has become. */
export class Recording {
  constructor() {
    this.frames = []; // each {tokens, settled, step}
    this.text = "";
    this.done = false;
    this.reason = null;
    this.written = []; // ranges of what was filled in, where the rest was given
    this.likelihood = null; // of the whole text, in nats
    this.tokens = []; // of the finished text: {piece, start, end, step, logprob, top}
    this.known = []; // log-probabilities of the tokens that are final, while the text is written
  }

  /** A choice that came whole: fills between `pieces`. */
  static of({ text, fills, log_likelihood }, pieces) {
    const written = rangesOfFills(text, pieces, fills);
    return Object.assign(new Recording(), { text, written, done: true, likelihood: log_likelihood });
  }

  /** Take in a choice of a chunk. */
  add(choice) {
    this.text = choice.text;
    if (choice.finish_reason !== null) this.finish(choice);
    this.known = choice.logprobs?.token_logprobs ?? this.known;
    const tokens = choice.tokens ?? [];
    const settled = this.done ? tokens.length : (choice.settled ?? 0);
    this.frames.push({ tokens, settled, step: choice.step ?? this.frames.length });
  }

  finish(choice) {
    this.done = true;
    this.reason = choice.finish_reason;
    this.tokens = tokensOf(this.text, choice.tokens ?? [], choice.logprobs);
    (choice.step_maps ?? []).forEach((step, i) => {
      this.tokens[i].step = step;
    });
  }

  /** What stands at a place of a frame: its text; whether it is noise, a draft, new; its token if it stays. */
  look(number, place) {
    const frame = this.frames[number];
    const text = frame.tokens[place];
    const last = this.tokens[place];
    const known = place < frame.settled ? this.known[place] : undefined;
    const live = known === undefined ? null : { step: null, logprob: known };
    return {
      text,
      noise: text === MASK,
      draft: place >= frame.settled,
      fresh: number > 0 && text !== this.frames[number - 1].tokens[place],
      token: this.done ? (last?.piece === text ? last : null) : live,
    };
  }

  /** Nats of a token, on average; null where nobody has counted. */
  get surprise() {
    const known = this.tokens.filter((token) => token.logprob !== null);
    return known.length ? -known.reduce((sum, token) => sum + token.logprob, 0) / known.length : null;
  }
}

/** The tokens of a text with their places and their likelihoods. */
export function tokensOf(text, pieces, logprobs) {
  return align(text, pieces).map(([start, end], i) => ({
    piece: pieces[i],
    start,
    end,
    step: null,
    logprob: logprobs?.token_logprobs[i] ?? null,
    top: Object.entries(logprobs?.top_logprobs[i] ?? {}).sort((a, b) => b[1] - a[1]),
  }));
}
