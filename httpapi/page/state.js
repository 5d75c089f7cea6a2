// How posthorn is, and what became of one's last messages.

import { byID, element, show, wordFor } from "./dom.js";

const streams = {
  up: ["good", "connected"],
  down: ["bad", "not connected"],
  refused: ["bad", "refuses posthorn: for its administrator to change"],
  silent: ["bad", "unknown: no answer"],
};

// tell shows a report of /status.
export function tell(report) {
  tellStream(report.stream);
  byID("kept").textContent = waiting(report);
  byID("version").textContent = report.version;
  draw(report.minutes);
  byID("outcomes").replaceChildren(...report.outcomes.map(outcome));
  show(report.outcomes.length === 0, "no-outcomes");
}

// tellStream shows one of streams.
export function tellStream(stream) {
  const [mood, text] = streams[stream] ?? streams.silent;
  byID("stream").className = mood;
  byID("stream").textContent = text;
}

function waiting({ store, kept }) {
  if (store === "off") return "none: there is no store";
  const count = kept.all === 0 ? "none" : `${kept.all}, of which ${kept.yours} yours`;
  return store === "failing" ? count + "; the store fails" : count;
}

function outcome({ to, time, status, code, detail }) {
  const word = wordFor(code, status);
  const at = element("time", "quiet", clock(new Date(time)));
  at.dateTime = time;
  const item = element("li", "", element("p", "row", element("span", "to", to), element("span", "", element("b", word.mood, word.title), " ", at)));
  if (detail && word.mood === "bad") item.append(element("p", "detail quiet", detail));
  return item;
}

// clock is the time of day, with the date where that is not today's.
function clock(time) {
  const today = time.toDateString() === new Date().toDateString();
  return time.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

const height = 90;
const width = 10; // of a minute

// draw shows the messages of each minute as a bar, what failed on top.
function draw({ sent, failed }) {
  const most = Math.max(...sent.map((n, i) => n + failed[i]));
  const scale = height / Math.max(1, most);
  const bars = [];
  sent.forEach((n, i) => {
    const good = n * scale;
    const bad = failed[i] * scale;
    if (n) bars.push(bar("sent", i, height - good, good));
    if (failed[i]) bars.push(bar("failed", i, height - good - bad, bad));
  });
  byID("chart").replaceChildren(...bars);
  const total = (list) => list.reduce((a, b) => a + b, 0);
  byID("chart-text").textContent = `${total(sent)} sent and ${total(failed)} not sent in the last hour; at most ${most} in a minute.`;
}

function bar(className, minute, y, tall) {
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rect.setAttribute("class", className);
  for (const [name, value] of Object.entries({ x: minute * width + 1, y, width: width - 2, height: tall })) rect.setAttribute(name, value);
  return rect;
}
