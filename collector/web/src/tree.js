// tree.js - call trees as columns of numbers, as the collector's "compact" format has them. No DOM.
//
// A tree has n nodes in depth-first order. Columns: parent, depth, frame, end (the place after the
// node's last descendant), and for each measure m self[m], total[m] and start[m] (where the node
// begins, if the root begins at 0). frames: name, file, line, kind, each an array. Measures of a
// profile are [time or samples, samples]; of a comparison [base, compared].
import {shortFile, shown} from './format.js';

export const PYTHON = 0, NATIVE = 1, MARKER = 2;

// The collector's answer as a tree.
export function readCompact(answer) {
  const {strings, frames, nodes} = answer;
  const n = nodes.depth.length;
  const texts = strings.map(shown);
  const table = {
    name: frames.name.map((i) => texts[i]), file: frames.file.map((i) => texts[i]),
    line: frames.line, kind: frames.kind,
  };
  const tree = allocate(n, 2, table);
  const depth = tree.depth, open = [];
  for (let i = 0; i < n; i++) {
    depth[i] = nodes.depth[i];
    tree.parent[i] = depth[i] ? open[depth[i] - 1] : -1;
    open[depth[i]] = i;
    tree.frame[i] = nodes.frame[i];
  }
  if (nodes.compared) {
    tree.self[0].set(nodes.self);
    tree.self[1].set(nodes.compared);
    tree.unit = 'samples';
  } else {
    readWeights(tree, nodes);
  }
  return splitStates(sum(tree));
}

// What threads are counted as, by the measures that a tree of states=1 has from STATES_FROM on.
export const STATE_KEYS = ['held', 'running', 'gil', 'cpu', 'gc', 'idle'];
export const STATES_FROM = 2;

// What a marker of states=1 says.
function stateOf(marker) {
  if (!/^\[(running|waiting|runnable|awaiting)[\],]/.test(marker)) return -1;
  const key = marker.includes('garbage') ? 'gc' : marker.includes('holds the GIL') ? 'held'
    : marker.includes('waits for the GIL') ? 'gil' : marker.startsWith('[runnable') ? 'cpu'
      : marker.startsWith('[running') ? 'running' : 'idle';
  return STATE_KEYS.indexOf(key);
}

// The markers of states=1 become measures of the frames that they stand below.
function splitStates(tree) {
  const {frames} = tree;
  const states = frames.name.map((name, f) => frames.kind[f] === MARKER ? stateOf(name) : -1);
  if (!states.some((state) => state >= 0)) return tree;
  const wide = allocate(tree.n, STATES_FROM + STATE_KEYS.length, frames);
  for (const key of ['depth', 'parent', 'frame']) wide[key].set(tree[key]);
  wide.self[0].set(tree.self[0]);
  wide.self[1].set(tree.self[1]);
  wide.unit = tree.unit;
  for (let i = 0; i < tree.n; i++) {
    const state = states[tree.frame[i]];
    if (state >= 0) wide.self[STATES_FROM + state][i] = tree.self[0][i];
  }
  return replaceFrames(sum(wide), frames, states.map((state, f) => state >= 0 ? -1 : f));
}

function readWeights(tree, nodes) {
  const {period_ns: period, self_ns: ns, self} = nodes;
  tree.unit = ns || period ? 'seconds' : 'samples';
  for (let i = 0; i < tree.n; i++) {
    tree.self[0][i] = ns ? ns[i] / 1e9 : period ? self[i] * period / 1e9 : self[i];
    tree.self[1][i] = self[i];
  }
}

function allocate(n, measures, frames) {
  const columns = () => Array.from({length: measures}, () => new Float64Array(n));
  return {
    n, frames, unit: 'samples', depth: new Uint32Array(n), parent: new Int32Array(n),
    frame: new Uint32Array(n), end: new Uint32Array(n), self: columns(), total: columns(),
    start: columns(),
  };
}

// Fills end, total and start from parent and self.
function sum(tree) {
  const {n, parent, end, self, total, start} = tree;
  for (let i = 0; i < n; i++) end[i] = i + 1;
  for (let i = n - 1; i > 0; i--) if (end[i] > end[parent[i]]) end[parent[i]] = end[i];
  for (let m = 0; m < self.length; m++) {
    total[m].set(self[m]);
    for (let i = n - 1; i > 0; i--) total[m][parent[i]] += total[m][i];
    const next = new Float64Array(n); // where the next child of a node begins
    for (let i = 1; i < n; i++) {
      const p = parent[i];
      start[m][i] = next[p];
      next[p] += total[m][i];
      next[i] = start[m][i];
    }
  }
  tree.height = n ? tree.depth.reduce((most, d) => d > most ? d : most, 0) + 1 : 0;
  return tree;
}

// --- a tree built node by node ---

class Builder {
  constructor(frames, measures, capacity) {
    this.frames = frames;
    this.width = frames.name.length;
    this.parent = [-1];
    this.frame = [0];
    this.first = [-1];
    this.sibling = [-1];
    this.self = Array.from({length: measures}, () => [0]);
    this.places = new Map();
    this.capacity = capacity;
  }

  child(parent, frame) {
    const key = parent * this.width + frame;
    const known = this.places.get(key);
    if (known !== undefined) return known;
    const node = this.parent.length;
    if (node >= this.capacity) return parent;
    this.places.set(key, node);
    this.parent.push(parent);
    this.frame.push(frame);
    this.first.push(-1);
    this.sibling.push(this.first[parent]);
    this.first[parent] = node;
    for (const column of this.self) column.push(0);
    return node;
  }

  add(node, tree, from, totals) {
    for (let m = 0; m < this.self.length; m++)
      this.self[m][node] += (totals ? tree.total : tree.self)[m][from];
  }

  // Depth first, the children of a node by the order of their frames' names, as the collector sorts.
  finish(unit) {
    const n = this.parent.length, tree = allocate(n, this.self.length, this.frames);
    const place = new Int32Array(n), stack = [0];
    let at = 0;
    tree.unit = unit;
    while (stack.length) {
      const node = stack.pop();
      place[node] = at;
      tree.frame[at] = this.frame[node];
      tree.parent[at] = node ? place[this.parent[node]] : -1;
      tree.depth[at] = node ? tree.depth[tree.parent[at]] + 1 : 0;
      for (let m = 0; m < this.self.length; m++) tree.self[m][at] = this.self[m][node];
      at++;
      this.pushChildren(node, stack);
    }
    return sum(tree);
  }

  pushChildren(node, stack) {
    const begin = stack.length, {name, line} = this.frames;
    for (let c = this.first[node]; c >= 0; c = this.sibling[c]) stack.push(c);
    if (stack.length - begin < 2) return;
    const children = stack.splice(begin);
    children.sort((a, b) => {
      const x = this.frame[a], y = this.frame[b];
      return name[y] < name[x] ? -1 : name[y] > name[x] ? 1 : line[y] - line[x];
    });
    for (const c of children) stack.push(c);
  }
}

const NODES_MAX = 1 << 20;

// A tree with frames replaced: to[f] is the new frame, or -1 to leave the frame out (its own part
// becomes its caller's). joined[f]: such a frame below itself is the same node.
export function replaceFrames(tree, frames, to, joined) {
  const builder = new Builder(frames, tree.self.length, NODES_MAX);
  const place = new Int32Array(tree.n);
  builder.frame[0] = Math.max(to[tree.frame[0]] ?? 0, 0);
  for (let i = 0; i < tree.n; i++) {
    if (i) {
      const parent = place[tree.parent[i]], f = to[tree.frame[i]];
      const same = f >= 0 && joined?.[f] && parent && builder.frame[parent] === f;
      place[i] = f < 0 || same ? parent : builder.child(parent, f);
    }
    builder.add(place[i], tree, i, false);
  }
  return builder.finish(tree.unit);
}

// The tree from the innermost frames out: below each function are its callers.
export function invert(tree) {
  const builder = new Builder(tree.frames, tree.self.length, NODES_MAX);
  builder.frame[0] = tree.frame[0];
  for (let i = 1; i < tree.n; i++) {
    if (!tree.self.some((column) => column[i])) continue;
    let node = 0;
    for (let j = i; j > 0; j = tree.parent[j]) node = builder.child(node, tree.frame[j]);
    builder.add(node, tree, i, false);
  }
  builder.add(0, tree, 0, false);
  return builder.finish(tree.unit);
}

// The outermost nodes whose frame is wanted: together they are each stack with such a frame, once.
export function outermost(tree, wanted) {
  const found = [];
  for (let i = 0; i < tree.n;) {
    if (wanted(tree.frame[i], i)) {
      found.push(i);
      i = tree.end[i];
    } else {
      i++;
    }
  }
  return found;
}

// What one function calls: its subtrees as one. The root is the function.
export function callees(tree, wanted, root) {
  const builder = new Builder(tree.frames, tree.self.length, NODES_MAX);
  const place = new Int32Array(tree.n);
  builder.frame[0] = root;
  for (const top of outermost(tree, wanted))
    for (let i = top; i < tree.end[top]; i++) {
      place[i] = i === top ? 0 : builder.child(place[tree.parent[i]], tree.frame[i]);
      builder.add(place[i], tree, i, false);
    }
  return builder.finish(tree.unit);
}

// Who calls one function, nearest first. The root is the function.
export function callers(tree, wanted, root) {
  const builder = new Builder(tree.frames, tree.self.length, NODES_MAX);
  builder.frame[0] = root;
  for (const top of outermost(tree, wanted)) {
    let node = 0;
    for (let j = tree.parent[top]; j > 0; j = tree.parent[j])
      node = builder.child(node, tree.frame[j]);
    builder.add(node, tree, top, true);
  }
  return builder.finish(tree.unit);
}

// --- functions ---

// functionOf[frame]: a number for the function, whatever its line.
export function functionsOf(frames) {
  const known = new Map(), of = new Uint32Array(frames.name.length), first = [];
  for (let f = 0; f < of.length; f++) {
    const key = `${frames.kind[f]}\0${frames.name[f]}\0${frames.file[f]}`;
    let id = known.get(key);
    if (id === undefined) {
      id = first.length;
      known.set(key, id);
      first.push(f);
    }
    of[f] = id;
  }
  return {of, first};
}

// Each function with its own part and its whole part, within the subtree of node `top`. A function
// that calls itself counts once.
export function topFunctions(tree, functions, top = 0) {
  const n = functions.first.length, m = tree.self.length;
  const self = Array.from({length: m}, () => new Float64Array(n));
  const total = Array.from({length: m}, () => new Float64Array(n));
  const until = new Uint32Array(n); // the end of the outermost node of a function that is open
  for (let i = top; i < tree.end[top]; i++) {
    const f = functions.of[tree.frame[i]];
    const outer = i >= until[f];
    if (outer) until[f] = tree.end[i];
    for (let k = 0; k < m; k++) {
      self[k][f] += tree.self[k][i];
      if (outer) total[k][f] += tree.total[k][i];
    }
  }
  const rows = [];
  for (let f = 0; f < n; f++)
    if (total.some((column) => column[f]) && tree.frames.kind[functions.first[f]] !== MARKER)
      rows.push({id: f, frame: functions.first[f], self: self.map((c) => c[f]),
        total: total.map((c) => c[f])});
  return rows;
}

// The lines of one function: [{line, self, total}], the heaviest first.
export function linesOf(tree, functions, id) {
  const lines = new Map(), {line} = tree.frames;
  for (const top of outermost(tree, (f) => functions.of[f] === id)) {
    const until = new Map(); // line -> the end of its outermost node
    for (let i = top; i < tree.end[top]; i++) {
      if (functions.of[tree.frame[i]] !== id) continue;
      const at = line[tree.frame[i]];
      const row = lines.get(at) ?? {line: at, self: 0, total: 0};
      row.self += tree.self[0][i];
      if (i >= (until.get(at) ?? 0)) {
        row.total += tree.total[0][i];
        until.set(at, tree.end[i]);
      }
      lines.set(at, row);
    }
  }
  return [...lines.values()].sort((a, b) => b.self - a.self || b.total - a.total);
}

// --- whose code it is ---

export const APP = 0, LIBRARY = 1, STANDARD = 2, MACHINE = 3, NOTE = 4;

// [whose, package] of a frame.
export function ownerOf(kind, file, name) {
  if (kind === MARKER) return [NOTE, ''];
  if (kind === NATIVE) return [MACHINE, (/([^/]+?)(?:\.so|\.cpython|-\d)[^/]*$/.exec(file) ??
    [0, shortFile(file) || name])[1]];
  const site = /(?:site-packages|dist-packages)\/([^/]+)/.exec(file);
  if (site) return [LIBRARY, site[1].replace(/\.py$/, '')];
  const standard = /\/lib(?:64)?\/python\d[\d.]*t?\/([^/]+)/.exec(file);
  if (standard) return [STANDARD, standard[1].replace(/\.py$/, '')];
  if (file.startsWith('<frozen')) return [STANDARD, 'importlib'];
  if (file.startsWith('<')) return [LIBRARY, file];
  if (/^\/(usr\/)?(local\/)?s?bin\/|\/bin\/[^/.]+$/.test(file)) return [LIBRARY, file.split('/').pop()];
  const folder = file.split('/').slice(-2, -1)[0];
  return [APP, folder ? `${folder}/${file.split('/').pop()}` : file];
}

const knownOwners = new WeakMap();

// {owner, part} by frame.
export function ownersOf(frames) {
  let owners = knownOwners.get(frames);
  if (!owners) knownOwners.set(frames, owners = findOwners(frames));
  return owners;
}

function findOwners(frames) {
  const owner = new Uint8Array(frames.name.length), part = [];
  for (let f = 0; f < owner.length; f++)
    [owner[f], part[f]] = ownerOf(frames.kind[f], frames.file[f], frames.name[f]);
  return {owner, part};
}

// --- views of one tree ---

// lines: one frame for each line, else for each function. native: with native frames. fold: the
// frames of each library that follow each other as one. Returns a tree, the same where nothing
// changes.
export function viewTree(tree, {lines, native, fold}) {
  if (lines && native && !fold) return tree;
  const {frames} = tree, n = frames.name.length;
  const table = {name: [], file: [], line: [], kind: []}, known = new Map();
  const to = new Int32Array(n), joined = [];
  const owners = fold ? ownersOf(frames) : null;
  const enter = (key, name, file, line, kind, join) => {
    let id = known.get(key);
    if (id === undefined) {
      id = table.name.length;
      known.set(key, id);
      table.name.push(name);
      table.file.push(file);
      table.line.push(line);
      table.kind.push(kind);
      joined.push(join);
    }
    return id;
  };
  for (let f = 0; f < n; f++) {
    const kind = frames.kind[f], name = frames.name[f], file = frames.file[f];
    if (!native && kind === NATIVE) to[f] = -1;
    else if (fold && owners.owner[f] !== APP && owners.owner[f] !== NOTE)
      to[f] = foldFrame(owners, f, enter);
    else {
      const line = lines ? frames.line[f] : 0;
      to[f] = enter(`${kind}\0${name}\0${file}\0${line}`, name, file, line, kind, false);
    }
  }
  return replaceFrames(tree, table, to, joined);
}

function foldFrame(owners, f, enter) {
  const part = owners.part[f];
  if (owners.owner[f] === STANDARD)
    return enter('\x01standard', 'standard library', '/lib/python3/', 0, PYTHON, true);
  if (owners.owner[f] === MACHINE) return enter('\x01native', 'native code', '', 0, NATIVE, true);
  return enter(`\x01${part}`, part, `site-packages/${part}`, 0, PYTHON, true);
}

// "function file:line"
export function labelOf(frames, f) {
  const file = frames.file[f];
  if (!file || frames.kind[f] === MARKER) return frames.name[f];
  const line = frames.line[f];
  return `${frames.name[f]} ${shortFile(file)}${line ? `:${line}` : ''}`;
}

// Frames that match, as bytes, and the share of `top` that stacks with such a frame have.
export function searchTree(tree, expression, top = 0) {
  const {frames} = tree, matches = new Uint8Array(frames.name.length);
  let n = 0;
  for (let f = 0; f < matches.length; f++)
    if (expression.test(`${frames.name[f]} ${frames.file[f]}`)) {
      matches[f] = 1;
      n++;
    }
  let weight = 0;
  for (let i = top; i < tree.end[top];) {
    if (matches[tree.frame[i]]) {
      weight += tree.total[0][i];
      i = tree.end[i];
    } else {
      i++;
    }
  }
  return {matches, n, share: tree.total[0][top] ? weight / tree.total[0][top] : 0};
}

// A node by its path: a short hash for each frame, so that an address can hold it and a zoom survives
// new data.
export function pathOf(tree, node) {
  const path = [];
  for (let i = node; i > 0; i = tree.parent[i]) path.unshift(hashFrame(tree.frames, tree.frame[i]));
  return path.join('.');
}

function hashFrame(frames, f) {
  const text = `${frames.name[f]}\0${frames.file[f]}\0${frames.line[f]}`;
  let n = 2166136261;
  for (let i = 0; i < text.length; i++) n = Math.imul(n ^ text.charCodeAt(i), 16777619);
  return (n >>> 0).toString(36);
}

// The deepest node whose path is a beginning of `path`.
export function nodeAt(tree, path) {
  let node = 0;
  for (const key of path.split('.').filter(Boolean)) {
    let found = -1;
    for (let i = node + 1; i < tree.end[node] && found < 0; i = tree.end[i])
      if (hashFrame(tree.frames, tree.frame[i]) === key) found = i;
    if (found < 0) break;
    node = found;
  }
  return node;
}

// The heaviest line of each function of `tree`: key of functionKey -> line. The tree has lines.
export function hottestLines(tree) {
  const weight = new Float64Array(tree.frames.name.length), best = new Map();
  for (let i = 0; i < tree.n; i++) weight[tree.frame[i]] += tree.self[0][i] || tree.total[0][i] * 1e-9;
  for (let f = 0; f < weight.length; f++) {
    const key = functionKey(tree.frames, f), known = best.get(key);
    if (tree.frames.line[f] && (!known || weight[f] > known.weight))
      best.set(key, {line: tree.frames.line[f], weight: weight[f]});
  }
  return best;
}

export const functionKey = (frames, f) => `${frames.name[f]}\t${frames.file[f]}`;
