// api.js - questions to the collector. A question ends when a newer one of its place is asked or its
// view is left. Over TLS the collector wants a credential: the page asks for the read token, keeps
// it for this tab (sessionStorage) and sends it in a header, never in an address.

const PLACE = 'podspy.read-token';
let memory = '';

export class ApiError extends Error {
  constructor(status, code, message, hint) {
    super(message);
    Object.assign(this, {status, code, hint});
  }
}

export function token() {
  try {
    return sessionStorage.getItem(PLACE) ?? memory;
  } catch { // storage may be forbidden
    return memory;
  }
}

export function setToken(text) {
  memory = text;
  try {
    if (text) sessionStorage.setItem(PLACE, text);
    else sessionStorage.removeItem(PLACE);
  } catch { // the copy in memory serves
  }
}

const running = new Map(); // place -> AbortController

// Ends the questions of these places, or all.
export function cancel(...places) {
  for (const place of places.length ? places : [...running.keys()]) {
    running.get(place)?.abort();
    running.delete(place);
  }
}

// place: what shows the answer; null: nobody else asks for it.
export async function fetchAnswer(place, path, query) {
  const controller = new AbortController();
  if (place) {
    cancel(place);
    running.set(place, controller);
  }
  const headers = token() ? {Authorization: `Bearer ${token()}`} : {};
  let answer;
  try {
    answer = await fetch(url(path, query), {headers, signal: controller.signal});
    if (!answer.ok) throw await readError(answer);
    return answer;
  } catch (error) {
    if (error.name === 'AbortError' || error instanceof ApiError) throw error;
    throw new ApiError(0, 'unreachable', 'The collector does not answer.',
      'Is the collector running, and is the port-forward still open? The page asks again by itself ' +
      'while it is live.');
  }
}

export async function fetchJson(place, path, query) {
  const answer = await fetchAnswer(place, path, query);
  return answer.json();
}

async function readError(answer) {
  let error = {};
  try {
    ({error} = await answer.json());
  } catch { // an answer of something between the page and the collector
  }
  return new ApiError(answer.status, error?.code ?? 'error',
    error?.message ?? `The collector answered ${answer.status}.`, error?.hint ?? '');
}

export const isAbort = (error) => error?.name === 'AbortError';

// Relative, so that a proxy may serve the page below a path.
export function url(path, query) {
  const text = query?.toString();
  return `${path.replace(/^\//, '')}${text ? `?${text}` : ''}`;
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// The same question for a terminal.
export function curl(path, query, file) {
  const words = ['curl', '--compressed'];
  if (location.protocol === 'https:') words.push('--cacert ca.pem', '-H @read.header');
  if (file) words.push('-o', quote(file));
  words.push(quote(new URL(url(path, query), location.href.split('#')[0]).href));
  return words.join(' ');
}
