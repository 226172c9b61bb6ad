// state.js - the address is the whole state: #/VIEW?KEY=VALUE&... The keys that choose data are the
// collector's own parameters, so an address and a curl command say the same.
import {parseTime} from './format.js';

// What may be given several times.
export const SELECTORS = ['cluster', 'namespace', 'service', 'pod', 'container', 'image', 'node',
  'pid', 'thread', 'type'];
const KNOWN = new Set([...SELECTORS, ...SELECTORS.map((key) => `base.${key}`)]);

export const VIEWS = ['pods', 'profile', 'threads', 'compare'];

const listeners = new Set();
let current = read();

// {view, one: {key: value}, many: {key: [values]}}
function read() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const state = {view: VIEWS.includes(path) ? path : 'pods', one: {}, many: {}};
  for (const [key, value] of new URLSearchParams(query)) {
    if (!value) continue;
    if (KNOWN.has(key)) (state.many[key] ??= []).push(value);
    else state.one[key] = value;
  }
  return state;
}

function write(state) {
  const query = new URLSearchParams();
  for (const [key, values] of Object.entries(state.many))
    for (const value of values) query.append(key, value);
  for (const [key, value] of Object.entries(state.one))
    if (value !== '' && value !== null && value !== undefined) query.set(key, value);
  const text = query.toString();
  return `#/${state.view}${text ? `?${text}` : ''}`;
}

export const state = () => current;
export const get = (key, otherwise = '') => current.one[key] ?? otherwise;
export const getAll = (key) => current.many[key] ?? [];
export const isOn = (key, otherwise = false) => (current.one[key] ?? (otherwise ? '1' : '0')) === '1';

// The address of this state with changes: {view, key: value or array, ...}; '' leaves a key out.
export function address(changes, fresh = false) {
  const next = {
    view: changes.view ?? current.view,
    one: fresh ? keep(current.one, ['from', 'until', 'live']) : {...current.one},
    many: fresh ? {} : {...current.many},
  };
  for (const [key, value] of Object.entries(changes)) {
    if (key === 'view') continue;
    if (KNOWN.has(key)) next.many[key] = [].concat(value).filter(Boolean);
    else if (value === '' || value === null) delete next.one[key];
    else next.one[key] = String(value);
  }
  return write(next);
}

function keep(object, keys) {
  return Object.fromEntries(keys.filter((key) => key in object).map((key) => [key, object[key]]));
}

// Changes the state. A step that "back" should undo is pushed; typing and zooming replace.
export function go(changes, {replace = false, fresh = false} = {}) {
  const next = address(changes, fresh);
  if (next === location.hash) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', next);
  changed();
}

function changed() {
  const before = current;
  current = read();
  for (const listener of listeners) listener(current, before);
}

export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

addEventListener('popstate', changed);
addEventListener('hashchange', () => {
  if (write(current) !== location.hash) changed();
});

// --- the data that is chosen ---

// As the collector's parameters. The range is the chosen part of the timeline, where there is one;
// whole: the whole timeline.
export function selection({whole = false, base = false} = {}) {
  const query = new URLSearchParams();
  for (const key of SELECTORS)
    for (const value of getAll(key)) query.append(key, value);
  const [from, until] = whole ? outer() : range();
  query.set('from', from);
  if (until) query.set('until', until);
  if (base)
    for (const key of SELECTORS)
      for (const value of getAll(`base.${key}`)) query.append(`base.${key}`, value);
  return query;
}

export const outer = () => [get('from', '-1h'), get('until')];
export function range() {
  const part = get('part').split('~');
  return part.length === 2 && part.every((t) => parseTime(t) !== null) ? part : outer();
}

// Is the end of the range now? Then new data may come.
export const followsNow = () => !get('until') && !get('part');
