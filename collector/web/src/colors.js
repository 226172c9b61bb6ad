// colors.js - what a frame is painted with. The application has the accent colour, libraries and the
// machine greys, so that one sees whose code it is. The style sheet has the numbers, for both themes.
import {APP, LIBRARY, STANDARD, MACHINE, NOTE, MARKER, STATE_KEYS, STATES_FROM, ownersOf}
  from './tree.js';

export const COLORINGS = [
  ['module', 'Module', 'The application in colour, libraries in grey'],
  ['state', 'State', 'By what the threads did'],
  ['thread', 'Thread', 'A colour for each thread'],
];

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function hash(text) {
  let n = 2166136261;
  for (let i = 0; i < text.length; i++) n = Math.imul(n ^ text.charCodeAt(i), 16777619);
  return n >>> 0;
}

// Shades are few, so that a canvas seldom changes its colour.
const SHADES = 5;

function shadeList(hue, saturation, light, spread) {
  const shades = [];
  for (let i = 0; i < SHADES; i++)
    shades.push(`hsl(${hue} ${saturation}% ${light + (i - (SHADES - 1) / 2) * spread}%)`);
  return shades;
}

const numbers = (name) => css(name).split(/\s+/).map(Number);

function palette() {
  const shades = {};
  for (const [owner, name] of [[APP, '--flame-app'], [LIBRARY, '--flame-library'],
    [STANDARD, '--flame-standard'], [MACHINE, '--flame-native'], [NOTE, '--flame-note']])
    shades[owner] = shadeList(...numbers(name));
  return shades;
}

// By frame: strings. One for each frame of the table.
function byModule(frames) {
  const {owner, part} = ownersOf(frames), shades = palette();
  return Array.from(owner, (whose, f) => shades[whose][hash(part[f]) % SHADES]);
}

export const STATES = [
  ['held', 'GIL held', '--state-held'],
  ['running', 'Running without the GIL', '--state-running'],
  ['gil', 'Waiting for the GIL', '--state-gil'],
  ['cpu', 'Waiting for a CPU', '--state-cpu'],
  ['gc', 'Collecting garbage', '--state-gc'],
  ['idle', 'Idle', '--state-idle'],
];

export const stateColor = (name) => css(STATES.find(([key]) => key === name)[2]);

// By node: the state in which most of the node's time was; needs the measures of states=1.
function byState(tree) {
  const plain = css('--flame-plain'), sums = tree.total.slice(STATES_FROM);
  const colors = STATE_KEYS.map(stateColor);
  return (i) => {
    let best = -1;
    for (let s = 0; s < sums.length; s++)
      if (sums[s][i] > 0 && (best < 0 || sums[s][i] > sums[best][i])) best = s;
    return best < 0 ? plain : colors[best];
  };
}

// By node: the thread that the node is in; needs the tree of threads=1.
function byThread(tree) {
  const plain = css('--flame-plain'), [saturation, light] = numbers('--flame-thread');
  const of = new Array(tree.n).fill(plain);
  for (let i = 1; i < tree.n; i++) {
    const f = tree.frame[i], name = tree.frames.name[f];
    of[i] = tree.frames.kind[f] === MARKER && name.startsWith('thread (')
      ? `hsl(${hash(name) % 24 * 15} ${saturation}% ${light}%)` : of[tree.parent[i]];
  }
  return (i) => of[i];
}

// By node: what grew and what shrank, pale up to a point and strong above five. Grey: may be chance.
function byChange(tree, cutoff) {
  const [a, b] = tree.total.map((column) => column[0]);
  const names = ['--shrank-3', '--shrank-2', '--shrank-1', '--grew-1', '--grew-2', '--grew-3'];
  const colors = names.map(css), plain = css('--flame-plain');
  return (i) => {
    if (!isSignificant(tree.total[0][i], a, tree.total[1][i], b, cutoff)) return plain;
    const change = tree.total[1][i] / b - tree.total[0][i] / a, size = Math.abs(change);
    const step = size > 0.05 ? 2 : size > 0.01 ? 1 : 0;
    return colors[change > 0 ? 3 + step : 2 - step];
  };
}

// The test of the collector: two proportions with a pooled share.
export function zOf(x, a, y, b) {
  if (!a || !b) return 0;
  const p = (x + y) / (a + b);
  if (Math.min(a, b) * Math.min(p, 1 - p) < 5) return 0;
  return (y / b - x / a) / Math.sqrt(p * (1 - p) * (1 / a + 1 / b));
}

export const isSignificant = (x, a, y, b, cutoff) =>
  cutoff !== null && Math.abs(zOf(x, a, y, b)) >= cutoff;

// (node) -> color.
export function painter(tree, coloring, cutoff) {
  if (coloring === 'change') return byChange(tree, cutoff);
  if (coloring === 'state') return byState(tree);
  if (coloring === 'thread') return byThread(tree);
  const colors = byModule(tree.frames), {frame} = tree;
  return (i) => colors[frame[i]];
}
