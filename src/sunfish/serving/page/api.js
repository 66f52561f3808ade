// Requests to the server: the token, server-sent events, and errors in words.

import { askToken, forgetToken, token } from "./token.js";

const LOST = "The server does not answer. It was stopped, or the connection is lost.";

/** What went wrong; `status` is 0 where no answer came. */
export class ServerError extends Error {
  constructor(status, message, { param = null, code = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, param, code, retryAfter });
  }
}

/** The JSON that the server answers with. */
export async function ask(path, body, signal) {
  const response = await send(path, body, signal);
  try {
    return await response.json();
  } catch (error) {
    throw failure(error);
  }
}

/** The server-sent events of an answer, each as its JSON, up to the end of the stream. */
export async function* events(path, body, signal) {
  const response = await send(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        throw failure(error);
      });
      if (done) throw new ServerError(0, `${LOST} The text is not whole.`);
      waiting += value;
      const parts = waiting.split("\n\n");
      waiting = parts.pop();
      for (const part of parts) {
        const data = part.replace(/^data: /, "");
        if (data === "[DONE]") return;
        const content = JSON.parse(data);
        if (content.error) throw new ServerError(500, content.error.message, content.error);
        yield content;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function send(path, body, signal) {
  for (;;) {
    const response = await once(path, body, signal);
    if (response.ok) return response;
    const error = await errorOf(response);
    if (error.status !== 401) throw error;
    forgetToken();
    if (!(await askToken())) throw error;
  }
}

async function once(path, body, signal) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  const options = { headers, signal };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  try {
    return await fetch(path, options);
  } catch (error) {
    throw failure(error);
  }
}

function failure(error) {
  return error.name === "AbortError" || error instanceof ServerError ? error : new ServerError(0, LOST);
}

async function errorOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  let error = {};
  try {
    error = (await response.json()).error;
  } catch {
    /* an answer of a proxy, which is no JSON */
  }
  const message = error?.message ?? `The server answered ${response.status} ${response.statusText}.`;
  return new ServerError(response.status, message, { ...error, retryAfter });
}
