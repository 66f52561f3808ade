// A link, a curl command and a Python program, each of which gives a text again.

import { byId, copy, h } from "./dom.js";
import { token } from "./token.js";

/** A word of a shell, quoted. */
const shellWord = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const address = (path) => new URL(path, document.baseURI.replace(/#.*/, "")).href;

/** The command that sends the request. */
export function curlOf({ path, body }) {
  const secret = token() ? ` -H "Authorization: Bearer $SUNFISH_TOKEN"` : "";
  const json = shellWord(JSON.stringify(body));
  return `curl ${address(path)} -H "Content-Type: application/json"${secret} -d ${json}`;
}

/** A program that prints the text. Python reads JSON as its own code, but for true, false and null. */
export function pythonOf({ path, body, pick }) {
  const secret = token() ? `, "Authorization": "Bearer " + os.environ["SUNFISH_TOKEN"]` : "";
  return `import json
${secret ? "import os\n" : ""}import urllib.request

body = ${JSON.stringify(body)}
headers = {"Content-Type": "application/json"${secret}}
request = urllib.request.Request("${address(path)}", json.dumps(body).encode(), headers)
with urllib.request.urlopen(request) as response:
    print(json.load(response)["choices"][${pick}]["text"])
`;
}

/** Show a text, its link and its programs. */
export function share(text, source, link) {
  const dialog = byId("share");
  const parts = [
    ["Text", text],
    ["Link", link],
    ["curl", curlOf(source)],
    ["Python", pythonOf(source)],
  ];
  dialog.replaceChildren(
    h("h2", { id: "share-title" }, "Share this text"),
    h("p", { class: "help" }, "With the same model, the link, the command and the program give it again."),
    ...parts.map(([name, text]) => part(name, text)),
    h("div", { class: "actions" }, h("button", { type: "button", click: () => dialog.close() }, "Close")),
  );
  dialog.showModal();
}

function part(name, text) {
  const id = `share-${name.toLowerCase()}`;
  const code = h("pre", { id, tabindex: "0", "aria-label": name }, text);
  const button = h(
    "button",
    {
      type: "button",
      "aria-label": `Copy ${name}`,
      click: async () => {
        button.textContent = (await copy(text, code)) ? "Copied" : "Press Ctrl+C";
      },
    },
    "Copy",
  );
  return h("section", { class: "snippet" }, h("header", {}, h("h3", {}, name), button), code);
}
