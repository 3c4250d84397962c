// Calls of the service: JSON in and out, with the token where one was given. Ids above 2^53 stay digits, as texts.

const KEY = "karec.token";

export class Problem extends Error {
  constructor(status, detail, field) {
    super(field ? `${field}: ${detail}` : detail);
    this.status = status;
  }
}

export const keepToken = (token) => sessionStorage.setItem(KEY, token);

// Called with why, once for all calls that wait; resolves when there is another token.
let askForToken = async () => {};
export const whenRefused = (ask) => { askForToken = ask; };

const exact = (_, value, context) =>
  typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && context ? context.source : value;

export async function call(path, { body, signal } = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token !== null) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "the service cannot be reached");
  }
  if (response.status === 401) {
    if (sessionStorage.getItem(KEY) === token) await askForToken(token === null ? "" : "The service does not take this token.");
    return call(path, { body, signal });
  }
  const text = await response.text();
  let told = {};
  try {
    told = JSON.parse(text, exact);
  } catch {
    if (response.ok) throw new Problem(response.status, "the answer is no JSON");
  }
  if (!response.ok) throw new Problem(response.status, told.detail || told.title || response.statusText, told.field);
  return told;
}
