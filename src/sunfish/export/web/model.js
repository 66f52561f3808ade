// Owns the sampler of an export, as sample.py has it: speculative decoding over the graphs encode, draft and verify.

import { Random } from "./random.js";
import { Tokenizer } from "./tokenizer.js";

const BELOW_ONE = 1 - 2 ** -53;
const TINY = 1e-30;
const MIN_TEMPERATURE = 0.001;
const GRAPHS = ["encode", "draft", "verify"];
const { fround } = Math;

/** What tokens are drawn from, one Float32Array a position: the logits at a temperature, cut to their nucleus. */
export function probabilities(logits, size, { temperature, top_p: nucleus }) {
  const rows = [];
  for (let begin = 0; begin < logits.length; begin += size) {
    const row = logits.slice(begin, begin + size);
    if (temperature === 0) {
      const likeliest = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
      rows.push(row.fill(0).fill(1, likeliest, likeliest + 1));
      continue;
    }
    const scaled = atTemperature(row, temperature);
    rows.push(softmax(nucleus < 1 ? inNucleus(scaled, nucleus) : scaled, new Float32Array(size)));
  }
  return rows;
}

function atTemperature(row, temperature) {
  if (MIN_TEMPERATURE <= temperature && temperature <= 1 / MIN_TEMPERATURE) {
    return row.map((logit) => logit / temperature);
  }
  const largest = row.reduce((a, b) => Math.max(a, b)); // float32 may not hold the quotients
  return Float64Array.from(row, (logit) => (logit - largest) / temperature);
}

function inNucleus(logits, nucleus) {
  const exact = softmax(logits, new Float64Array(logits.length));
  const order = Array.from(exact.keys()).sort((a, b) => exact[b] - exact[a] || a - b);
  const kept = logits.slice().fill(-Infinity);
  let before = 0;
  for (const id of order) {
    if (before >= nucleus) break;
    kept[id] = logits[id];
    before += exact[id];
  }
  return kept;
}

function softmax(logits, result) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += result[i] = Math.exp(logits[i] - largest);
  for (let i = 0; i < logits.length; i++) result[i] /= total;
  return result;
}

/** An id drawn with weights that need not be normalized, by inversion of their sums in float64. */
export function draw(weights, uniform) {
  let total = 0;
  for (const weight of weights) total += weight;
  if (!(total > 0)) throw new Error("the network returned NaN: the export is damaged");
  const threshold = Math.min(uniform, BELOW_ONE) * total;
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i];
    if (sum > threshold) return i;
  }
  throw new Error("a sum of weights is below itself");
}

/** The start of a draft that the model accepts, and one more token. */
export function accept(drafted, drawnFrom, target, random, lenience) {
  const uniforms = random.uniforms(drafted.length);
  const kept = (i) => uniforms[i] * fround(lenience * drawnFrom[i][drafted[i]]) < target[i][drafted[i]];
  let accepted = 0;
  while (accepted < drafted.length && kept(accepted)) accepted++;
  let last = target[accepted];
  if (accepted < drafted.length) {
    last = last.map((p, i) => Math.max(0, p - fround(lenience * drawnFrom[accepted][i])) + TINY * p);
  }
  return [...drafted.slice(0, accepted), draw(last, random.uniform())];
}

export class Model {
  /** `ort` is onnxruntime-web; `folder` ends in a slash; `progress` gets the bytes that have come. */
  static async load(ort, folder, progress) {
    const json = async (name) => (await fetched(folder + name)).json();
    const settings = await json("settings.json");
    const tokenizer = new Tokenizer(await json("tokenizer.json"));
    const data = await bytes(await fetched(`${folder}weights.bin`), progress);
    const sessions = {};
    for (const name of GRAPHS) {
      sessions[name] = await ort.InferenceSession.create(`${folder}${name}.onnx`, {
        executionProviders: ["wasm"],
        externalData: [{ path: "weights.bin", data }],
      });
    }
    return new Model(ort, settings, tokenizer, sessions);
  }

  constructor(ort, settings, tokenizer, sessions) {
    Object.assign(this, { ort, settings, tokenizer, sessions });
  }

  integers(values, dims) {
    return new this.ort.Tensor("int64", BigInt64Array.from(values, BigInt), dims ?? [values.length]);
  }

  number(value) {
    return new this.ort.Tensor("float32", [value], []);
  }

  /** What every pass of a text gets: the rows of guidance's branches, and its numbers. */
  async condition(prompt, scale) {
    const { negative_prompt: negative, plausibility } = this.settings.sampling;
    scale = prompt || negative ? scale : 0; // else both branches are the same
    const without = scale > 1 ? negative : "";
    const rows = [...(scale !== 0 ? [prompt] : []), ...(scale !== 1 ? [without] : [])];
    const ids = rows.map((row) => this.tokenizer.encode(row));
    const width = Math.max(1, ...ids.map((row) => row.length));
    const limit = this.settings.prompt_length;
    if (ids[0].length > limit) {
      throw new Error(`the prompt has ${ids[0].length} tokens, but this model has room for ${limit}; shorten it`);
    }
    const dims = [rows.length, width];
    const places = ids.flatMap((row) => Array.from({ length: width }, (_, i) => row[i] ?? -1));
    const feeds = {
      prompts: this.integers(places.map((id) => Math.max(0, id)), dims),
      visible: new this.ort.Tensor("bool", Uint8Array.from(places, (id) => Number(id >= 0)), dims),
    };
    const encoded = await this.sessions.encode.run(feeds);
    return { ...encoded, scale: this.number(scale), plausibility: this.number(plausibility) };
  }

  async pass(name, ids, cache, known, condition) {
    const kept = this.integers(Array.from({ length: known }, (_, i) => i));
    return this.sessions[name].run({ ...ids, cache, kept, ...condition });
  }

  /** Yields, after each pass, the ids that are final and those that are drafted after them. */
  async *stream(prompt, seed, scale) {
    const { context_length: length, mask_id: mask, candidates, end, sampling } = this.settings;
    const [layers, heads, width] = this.settings.cache;
    const condition = await this.condition(prompt, scale);
    const random = new Random("sample", seed, 0);
    const dims = [layers, 2, condition.mask.dims[0], heads, 0, width];
    let cache = new this.ort.Tensor("float32", new Float32Array(0), dims);
    const warp = (logits) => probabilities(logits.data, logits.dims[1], sampling);
    const drafted = Math.min(sampling.block_length, length) - 1;
    const text = [end];
    while (text.length < length) {
      const known = text.length - 1;
      let [draft, drawnFrom] = [[], []];
      if (drafted > 0) {
        random.uniforms(drafted + 1); // the noise of the canvas: every position but the first is masked
        const canvas = this.integers([text[known], ...Array(drafted).fill(mask)]);
        const noise = random.uniforms(drafted * candidates).map((uniform) => -Math.log(-Math.log(uniform)));
        const feeds = {
          canvas,
          noise: new this.ort.Tensor("float32", Float32Array.from(noise), [drafted, candidates]),
          temperature: this.number(sampling.temperature),
          top_p: this.number(sampling.top_p),
        };
        const said = await this.pass("draft", feeds, cache, known, condition);
        draft = Array.from(said.drafted.data, Number);
        drawnFrom = warp(said.logits);
        yield { ids: text.slice(1), draft: draft.slice(0, length - text.length) };
      }
      const ids = this.integers([text[known], ...draft]);
      const { logits, grown } = await this.pass("verify", { ids }, cache, known, condition);
      cache = grown;
      let fresh = accept(draft, drawnFrom, warp(logits), random, sampling.lenience).slice(0, length - text.length);
      const ended = fresh.indexOf(end);
      if (ended >= 0) fresh = fresh.slice(0, ended);
      text.push(...fresh);
      yield { ids: text.slice(1), draft: [] };
      if (ended >= 0) return;
    }
  }
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be read: ${response.status} ${response.statusText}`);
  return response;
}

async function bytes(response, progress) {
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    progress((size += value.length));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
