// Owns byte-level BPE: text to ids and back, from a tokenizer.json.

// Each byte as the character that vocabularies write it with: printable ones as themselves, the others from 256 on.
const CHARACTERS = [];
for (let byte = 0, other = 256; byte < 256; byte++) {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  CHARACTERS.push(String.fromCodePoint(printable ? byte : other++));
}
const BYTES = new Map(CHARACTERS.map((character, byte) => [character, byte]));

/** A pattern of the tokenizers library as JavaScript writes it. */
function expression(pattern) {
  const translated = pattern
    .replaceAll(/\\x\{([0-9A-Fa-f]+)\}/g, "\\u{$1}")
    .replaceAll("\\s", "\\p{White_Space}")
    .replaceAll("\\S", "\\P{White_Space}");
  return new RegExp(translated, "gu");
}

export class Tokenizer {
  constructor(content) {
    this.vocabulary = new Map(Object.entries(content.model.vocab));
    this.tokens = new Map([...this.vocabulary].map(([token, id]) => [id, token]));
    this.ranks = new Map(content.model.merges.map((pair, rank) => [pair.join(" "), rank]));
    this.pieces = expression(content.pre_tokenizer.pretokenizers[0].pattern.Regex);
  }

  encode(text) {
    const ids = [];
    for (const [piece] of text.matchAll(this.pieces)) {
      const characters = Array.from(new TextEncoder().encode(piece), (byte) => CHARACTERS[byte]);
      ids.push(...this.merged(characters).map((token) => this.vocabulary.get(token)));
    }
    return ids;
  }

  /** The characters of a piece with its pairs merged, the one that was learned first before all others. */
  merged(parts) {
    for (;;) {
      let best = Infinity;
      let place = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
        if (rank < best) [best, place] = [rank, i];
      }
      if (place < 0) return parts;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
  }

  decode(ids) {
    const characters = Array.from(ids.map((id) => this.tokens.get(id)).join(""));
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(characters, (character) => BYTES.get(character)));
  }
}
