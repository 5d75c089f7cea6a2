// The page: signing in and out, and looking how posthorn is while somebody is signed in.

import { byID, say, show } from "./dom.js";
import { ask, signIn, signOut } from "./posthorn.js";
import * as elsewhere from "./elsewhere.js";
import * as state from "./state.js";
import * as tokens from "./tokens.js";
import * as write from "./write.js";

const sections = ["who", "write", "elsewhere", "state", "last", "tokens"];
const interval = 10_000;

// Counts who was signed in, so that what was asked for one is not shown to another.
let turn = 0;
let timer = 0;

function enter(report) {
  document.body.className = "in";
  show(false, "sign-in");
  show(true, ...sections);
  byID("jid").textContent = report.jid;
  elsewhere.use(report.jid);
  tell(report);
  tokens.list();
  byID("to").focus();
}

// leave forgets all that belongs to who was signed in.
function leave(why = "") {
  turn++;
  clearTimeout(timer);
  signOut();
  document.body.className = "";
  show(false, ...sections);
  show(true, "sign-in");
  write.forget();
  tokens.forget();
  elsewhere.use("");
  byID("outcomes").replaceChildren();
  byID("password").value = "";
  byID("version").textContent = "";
  say("sign-in-said", why, true);
}

function tell(report) {
  state.tell(report);
  write.follow(report.outcomes);
  schedule();
}

function schedule() {
  clearTimeout(timer);
  timer = setTimeout(() => (document.hidden ? schedule() : look()), interval);
}

// look asks how posthorn is. Who is refused is signed out, and does not ask again: that would
// be guessing.
async function look() {
  const mine = turn;
  try {
    const report = await ask("GET", "status");
    if (mine === turn) tell(report);
  } catch (problem) {
    if (mine !== turn) return;
    if (problem.status === 401) return leave(problem.message);
    if (problem.status === 0) state.tellStream("silent");
    schedule();
  }
}

byID("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  const mine = ++turn;
  button.disabled = true;
  say("sign-in-said", "");
  signIn(byID("account").value.trim(), byID("password").value);
  try {
    const report = await ask("GET", "status");
    if (mine !== turn) return;
    byID("password").value = "";
    enter(report);
  } catch (problem) {
    if (mine !== turn) return;
    signOut();
    say("sign-in-said", problem.message, true);
    byID("password").select();
  } finally {
    button.disabled = false;
  }
});

byID("sign-out").addEventListener("click", () => {
  leave();
  byID("account").focus();
});

// A page that is left is kept by some browsers, and shown again to whoever goes back.
addEventListener("pagehide", () => leave());

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && document.body.className === "in") look();
});

write.onSend(look);
elsewhere.start();
tokens.start((token) => elsewhere.use(byID("jid").textContent, token));
show(false, "plain");
show(!isSecureContext, "insecure");
leave();
