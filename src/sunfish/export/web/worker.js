// Owns the model: writes in a thread of its own, so that the page stays alive while a text is written.

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";
import { Model } from "./model.js";

ort.env.wasm.numThreads = 1; // more would need headers that static servers do not send
ort.env.wasm.wasmPaths = { wasm: new URL("runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

const tell = (kind, content) => postMessage({ kind, ...content });
const failed = (error) => tell("failed", { message: error.message });
const loading = Model.load(ort, "model/", (size) => tell("loading", { size }));
let current = 0; // the number of the text that is wanted

loading.then((model) => tell("ready", { scale: model.settings.sampling.guidance_scale })).catch(failed);

onmessage = async ({ data }) => {
  current = data.number;
  if (data.stop) return;
  try {
    const model = await loading;
    const { tokenizer, settings } = model;
    let final = [];
    for await (const { ids, draft } of model.stream(data.prompt, data.seed, data.scale)) {
      await new Promise((resolve) => setTimeout(resolve)); // lets a message in
      if (data.number !== current) return;
      final = ids;
      const text = tokenizer.decode(ids).replace(/\uFFFD+$/u, ""); // less a letter that is still to come
      const whole = tokenizer.decode([...ids, ...draft.filter((id) => id !== settings.end)]);
      tell("text", { number: data.number, text, draft: whole.slice(text.length) });
    }
    tell("done", { number: data.number, text: tokenizer.decode(final), tokens: final.length });
  } catch (error) {
    failed(error);
  }
};
