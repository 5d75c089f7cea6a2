// Writing a message, and what became of it.

import { byID, element, wordFor } from "./dom.js";
import { ask } from "./posthorn.js";

const form = byID("write-form");

// The results that are shown, of the message with this id; "" where there is none to follow.
let shown = { id: "", results: [] };

// The text that was sent last.
let last = "";

function message() {
  return { to: form.elements.to.value.trim(), type: form.elements.type.value, body: form.elements.body.value };
}

// sample is a message like the one in the form, or the one before.
export function sample() {
  const m = message();
  return { to: m.to || "user", type: m.type, body: m.body || last || "Hello" };
}

// onSend calls sent after each message, whatever became of it.
export function onSend(sent) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    byID("outcome").replaceChildren(element("p", "quiet", "Sending …"));
    tell(await send());
    button.disabled = false;
    sent();
  });
}

// send gives the message's id and its results, one for each recipient.
async function send() {
  const m = message();
  try {
    const answer = await ask("POST", form.getAttribute("action"), m);
    last = m.body;
    if (form.elements.body.value === m.body) form.elements.body.value = "";
    return { id: answer.id, results: answer.results ?? [{ to: answer.to, status: answer.status }] };
  } catch (problem) {
    const one = { to: m.to, status: "failed", code: problem.code, detail: problem.message };
    return { id: "", results: problem.results ?? [one] };
  }
}

// follow shows what has become of the message meanwhile.
export function follow(outcomes) {
  const now = shown.results.map((r) => outcomes.find((o) => o.id === shown.id && o.to === r.to) ?? r);
  if (shown.id && now.some((r, i) => r.status !== shown.results[i].status)) tell({ id: shown.id, results: now });
}

export function forget() {
  last = "";
  shown = { id: "", results: [] };
  byID("outcome").replaceChildren();
  form.reset();
}

function tell(what) {
  shown = what;
  byID("outcome").replaceChildren(...what.results.map(result));
}

function result({ to, status, code, detail }) {
  const word = wordFor(code, status);
  return element("div", "outcome " + word.mood, element("p", "", element("b", "", word.title), " – ", to), element("p", "detail", detail || word.text));
}
