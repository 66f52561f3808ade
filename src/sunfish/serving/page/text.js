// Where tokens and words stand in a text. Places count UTF-16 units, as strings do in a browser.

const HALF = "\uFFFD"; // stands for half a character

/**
 * The range [start, end] of each piece in a text that they make up.
 * Where pieces share a character, as tokens of bytes may, the first has its range and the others are empty.
 */
export function align(text, pieces) {
  const ranges = [];
  let place = 0;
  for (let i = 0; i < pieces.length;) {
    if (!pieces[i].includes(HALF) && text.startsWith(pieces[i], place)) {
      ranges.push([place, (place += pieces[i].length)]);
      i += 1;
      continue;
    }
    let next = i + 1;
    while (next < pieces.length && pieces[next].includes(HALF)) next += 1;
    const found = next < pieces.length ? text.indexOf(pieces[next], place) : text.length;
    const end = found < 0 ? text.length : found;
    ranges.push([place, end]);
    for (i += 1; i < next; i += 1) ranges.push([end, end]);
    place = end;
  }
  return ranges;
}

/** The ranges of the words of a text, and of its punctuation marks. */
export function wordsOf(text) {
  const words = text.matchAll(/[\p{L}\p{M}\p{N}]+(?:['’-][\p{L}\p{M}\p{N}]+)*|[^\s\p{L}\p{M}\p{N}]+/gu);
  return [...words].map((match) => [match.index, match.index + match[0].length]);
}

/** Neighboring words as one range each. `chosen` are numbers of words, in order. */
export function spansOf(words, chosen) {
  const spans = [];
  chosen.forEach((number, i) => {
    if (i > 0 && chosen[i - 1] === number - 1) spans.at(-1)[1] = words[number][1];
    else spans.push([...words[number]]);
  });
  return spans;
}

/** The same ranges in characters, as the server counts them. */
export function inCharacters(text, spans) {
  const count = (place) => [...text.slice(0, place)].length;
  return spans.map(([start, end]) => [count(start), count(end)]);
}

/** A text with a gap in the place of each range. */
export function withGaps(text, spans) {
  let gapped = "",
    place = 0;
  for (const [start, end] of spans) {
    gapped += `${text.slice(place, start)}[MASK]`;
    place = end;
  }
  return gapped + text.slice(place);
}

/** What stands around the gaps of a request, be they spans or [MASK]. */
export function piecesAround({ text, spans }) {
  if (!spans) return text.split(/\[MASK[^\]]*\]/);
  const characters = [...text],
    ends = [0, ...spans.flat(), characters.length];
  return ends.flatMap((from, i) => (i % 2 ? [] : [characters.slice(from, ends[i + 1]).join("")]));
}

/** The ranges of the fills between pieces; the space that a fill brings may be given already. */
export function rangesOfFills(text, pieces, fills) {
  let place = 0;
  return fills.map((fill, i) => {
    const start = place + pieces[i].length;
    place = start + (text.startsWith(fill, start) ? fill : fill.replace(/^ /, "")).length;
    return [start, place];
  });
}

/** A probability from its logarithm, short. */
export function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  if (share < 0.1) return "< 0.1%";
  return `${share.toFixed(share < 9.95 || share > 99 ? 1 : 0)}%`;
}

/** A log-likelihood in nats. */
export const nats = (value) => `${value.toFixed(1).replace("-", "−")} nats`;
