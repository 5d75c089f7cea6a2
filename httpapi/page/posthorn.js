// What is asked of posthorn. The credential is in this file's memory and nowhere else: not
// in storage, not in a cookie, not in an address.

let authorization = "";

export function signIn(account, password) {
  const bytes = new TextEncoder().encode(account + ":" + password);
  authorization = "Basic " + btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));
}

export function signOut() {
  authorization = "";
}

// A Problem is an answer that is none of success. Its status is 0 where there was no answer.
export class Problem extends Error {
  constructor({ status = 0, code = "", detail, results }) {
    super(detail);
    Object.assign(this, { status, code, results });
  }
}

// What was asked for may have been done all the same.
const silence = { code: "unconfirmed", detail: "No answer from posthorn. Is it running, and are you online?" };

// A minute is as long as posthorn takes at most.
const patience = 70_000;

// ask gives the answer's JSON, or throws a Problem. Without credentials of the browser's own,
// which would ask for some itself when ours are wrong.
export async function ask(method, path, content) {
  const request = {
    method,
    headers: { Accept: "application/json", Authorization: authorization },
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    signal: AbortSignal.timeout(patience),
  };
  if (content !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(content);
  }
  let response, answer;
  try {
    response = await fetch(path, request);
    answer = response.status === 204 ? {} : await response.json();
  } catch {
    throw new Problem(response ? { ...silence, status: response.status, detail: `The answer, ${response.status}, is not one of posthorn's.` } : silence);
  }
  if (!response.ok) throw new Problem({ ...answer, status: response.status });
  return answer;
}
