// What the other files need of the document. Text goes into it as text, never as HTML.

export const byID = (id) => document.getElementById(id);

// element makes one with a class, which may be empty, and with children: elements or texts.
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// show shows or hides elements.
export function show(visible, ...ids) {
  for (const id of ids) byID(id).hidden = !visible;
}

// say puts a text where a screen reader announces it, and a failure in its colour.
export function say(id, text, failed = false) {
  byID(id).className = failed ? "note bad" : "quiet";
  byID(id).textContent = text;
}

const words = new Map();
for (const p of byID("words").content.children) {
  words.set(p.dataset.status, { title: p.firstElementChild.textContent, text: p.lastElementChild.textContent, mood: p.dataset.mood });
}

// wordFor tells what a status means; a failure's code may say more.
export const wordFor = (code, status) => words.get(code) ?? words.get(status) ?? words.get("failed");

// onCopy lets a button copy what text() gives.
export function onCopy(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text())) ? "Copied" : "Select it and copy";
    setTimeout(() => (button.textContent = label), 2000);
  });
  button.setAttribute("aria-live", "polite");
}

// copy also works where the page came without encryption, where browsers have no clipboard
// for pages.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", "unseen", text);
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}
