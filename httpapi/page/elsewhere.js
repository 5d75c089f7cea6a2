// The same message, or alerts to the same recipient, as configuration of other tools. There
// is never a password in it, but a token, or the word TOKEN.

import { byID, onCopy } from "./dom.js";
import { sample } from "./write.js";

const tools = byID("elsewhere").querySelectorAll("[name=tool]");
let account = "";
let token = "TOKEN";

const notes = {
  cron: "Every morning at six. A crontab has one line for it, so the text has too.",
  alertmanager: "In alertmanager.yml, beside a route to it.",
  grafana: "In /etc/grafana/provisioning/alerting/posthorn.yaml.",
};

// start keeps what is shown in step with the form.
export function start() {
  byID("write-form").addEventListener("input", update);
  for (const tool of tools) tool.addEventListener("input", update);
  onCopy(byID("copy-snippet"), () => byID("snippet").textContent);
}

// use says whose messages they are, by which token; without one the word TOKEN.
export function use(newAccount, newToken = "TOKEN") {
  account = newAccount;
  token = newToken;
  update();
}

export function update() {
  const tool = Array.from(tools).find((t) => t.checked).value;
  byID("snippet").textContent = snippets[tool](sample());
  const missing = token === "TOKEN" ? "Make a token below, for the place of TOKEN. " : "";
  byID("snippet-note").textContent = missing + (notes[tool] ?? "");
}

const snippets = {
  curl: (m) => ["curl " + shell(address(m)), "-u " + shell(`${account}:${token}`), "-H 'Content-Type: text/plain'", "--data-raw " + shell(m.body)].join(" \\\n  "),
  cron: (m) =>
    "0 6 * * * " +
    `curl -sSf -o /dev/null ${shell(address(m))} -u ${shell(`${account}:${token}`)} -H 'Content-Type: text/plain' --data-raw ${shell(m.body.replace(/\s*\n\s*/g, " "))}`
      .replaceAll("%", "\\%"), // else cron would end the command there
  alertmanager: (m) => `receivers:
  - name: posthorn
    webhook_configs:
      - url: ${yaml(hook("alertmanager", m))}
        http_config:
          basic_auth:
            username: ${yaml(account)}
            password: ${yaml(token)}`,
  grafana: (m) => `apiVersion: 1
contactPoints:
  - orgId: 1
    name: posthorn
    receivers:
      - uid: posthorn
        type: webhook
        settings:
          url: ${yaml(hook("grafana", m))}
          httpMethod: POST
          username: ${yaml(account)}
          password: ${yaml(token)}`,
};

const address = (m) => below(byID("write-form").getAttribute("action"), m);
const hook = (template, m) => below("hook/" + template, m);

// below is the absolute address of the message's recipients below a path.
function below(path, m) {
  const to = m.to.split(",").map((one) => encodeURIComponent(one.trim()).replaceAll("%40", "@").replaceAll("%2F", "/"));
  const url = new URL(`${path}/${to.join(",")}`, document.baseURI);
  if (m.type === "groupchat") url.search = "type=groupchat";
  return url.href;
}

// shell quotes for sh, in which nothing but the quote itself means anything then.
const shell = (word) => "'" + word.replaceAll("'", "'\\''") + "'";

// yaml quotes a word of one line.
const yaml = (word) => "'" + word.replaceAll("'", "''") + "'";
