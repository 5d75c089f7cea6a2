// Tokens: those that there are, making one, revoking one.

import { byID, element, onCopy, say, show } from "./dom.js";
import { ask } from "./posthorn.js";

// start calls made with the text of each new token.
export function start(made) {
  byID("token-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const token = await ask("POST", "tokens", wanted());
      reveal(token);
      made(token.token);
    } catch (problem) {
      say("token-said", problem.message, true);
    }
  });
  onCopy(byID("copy-token"), () => byID("new-token-text").textContent);
}

// list shows the tokens that there are, or why there can be none.
export async function list() {
  try {
    const { tokens } = await ask("GET", "tokens");
    say("tokens-said", tokens.length ? "" : "You have none.");
    byID("token-list").replaceChildren(...tokens.map(item));
    show(true, "make-token");
  } catch (problem) {
    say("tokens-said", problem.message);
    show(false, "make-token");
  }
}

export function forget() {
  byID("token-list").replaceChildren();
  byID("token-form").reset();
  byID("new-token-text").textContent = "";
  byID("make-token").open = false;
  show(false, "new-token");
  say("token-said", "");
}

// wanted is the token that the form describes.
function wanted() {
  const words = (id) => byID(id).value.split(/[\s,]+/).filter(Boolean);
  const token = { name: byID("token-name").value, expires: byID("token-life").value };
  for (const limit of ["recipients", "templates"]) {
    if (words("token-" + limit).length) token[limit] = words("token-" + limit);
  }
  return token;
}

function reveal(token) {
  forget();
  byID("new-token-title").textContent = `The token ${token.name}:`;
  byID("new-token-text").textContent = token.token;
  show(true, "new-token");
  byID("new-token").focus();
  list();
}

function item(token) {
  const revoke = element("button", "plain danger", "Revoke");
  revoke.type = "button";
  revoke.setAttribute("aria-label", "Revoke " + token.name);
  revoke.addEventListener("click", () => confirmRevoking(token));
  return element("li", "row", element("div", "", element("b", "", token.name), element("p", "quiet", limits(token))), revoke);
}

const day = (time) => new Date(time).toLocaleDateString([], { dateStyle: "medium" });

function limits({ expires, used, recipients, templates, networks }) {
  const parts = [new Date(expires) < new Date() ? "expired" : "until " + day(expires), used ? "used " + day(used) : "not used yet"];
  if (recipients) parts.push("to " + recipients.join(", "));
  if (templates) parts.push("webhooks of " + templates.join(", "));
  if (networks) parts.push("from " + networks.join(", "));
  return parts.join(" · ");
}

function confirmRevoking(token) {
  const dialog = byID("confirm");
  byID("confirm-title").textContent = `Revoke ${token.name}?`;
  dialog.returnValue = "";
  dialog.onclose = async () => {
    if (dialog.returnValue !== "revoke") return;
    try {
      await ask("DELETE", "tokens/" + encodeURIComponent(token.name));
      await list();
    } catch (problem) {
      say("tokens-said", problem.message, true);
    }
  };
  dialog.showModal();
}
