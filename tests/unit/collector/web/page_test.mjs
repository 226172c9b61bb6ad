// page_test.mjs - what the page derives from the collector's answers: trees and the rows of pods.
import assert from 'node:assert/strict';
import test from 'node:test';
import {callees, callers, functionKey, functionsOf, hottestLines, invert, linesOf, nodeAt, ownerOf, pathOf,
  readCompact, searchTree, STATES_FROM, topFunctions, viewTree, APP, LIBRARY, MACHINE, STANDARD}
  from '../../../../collector/web/src/tree.js';
import {flatten, readPods, searchPods} from '../../../../collector/web/src/pods.js';
import {parseTime, shortCommand, shortFile, shown} from '../../../../collector/web/src/format.js';

const SITE = '/usr/lib/python3/dist-packages/web/app.py';

// nodes: [depth, name, file, line, kind, self] each, in depth-first order.
function answerOf(nodes, extra = {}) {
  const strings = [''], number = (text) => {
    if (!strings.includes(text)) strings.push(text);
    return strings.indexOf(text);
  };
  const keys = [], frames = {name: [], file: [], line: [], kind: []};
  const columns = {depth: [], frame: [], self: [], period_ns: 10_000_000};
  for (const [depth, name, file, line, kind, self] of nodes) {
    const key = JSON.stringify([name, file, line, kind]);
    if (!keys.includes(key)) {
      keys.push(key);
      for (const [k, v] of [['name', number(name)], ['file', number(file)], ['line', line], ['kind', kind]])
        frames[k].push(v);
    }
    columns.depth.push(depth);
    columns.frame.push(keys.indexOf(key));
    columns.self.push(self);
  }
  return {strings, frames, nodes: {...columns, ...extra}};
}

const NODES = [
  [0, 'all', '', 0, 2, 0],
  [1, 'main', '/srv/a.py', 1, 0, 5],
  [2, 'route', SITE, 7, 0, 0],
  [3, 'send', SITE, 9, 0, 10],
  [4, 'hot', '/srv/a.py', 20, 0, 30],
  [4, 'hot', '/srv/a.py', 21, 0, 50],
  [5, 'hot', '/srv/a.py', 20, 0, 100], // calls itself
  [6, 'write', '/lib/libc.so.6', 0, 1, 5],
];
const tree = () => readCompact(answerOf(NODES));
const named = (t, name) => [...Array(t.n).keys()].filter((i) => t.frames.name[t.frame[i]] === name);

test('totals and places follow from the columns', () => {
  const t = tree();
  assert.equal(t.unit, 'seconds');
  assert.equal(t.total[1][0], 200);
  assert.ok(Math.abs(t.total[0][0] - 2) < 1e-9);
  for (let i = 1; i < t.n; i++) {
    const p = t.parent[i];
    assert.ok(t.start[1][i] >= t.start[1][p]);
    assert.ok(t.start[1][i] + t.total[1][i] <= t.start[1][p] + t.total[1][p]);
  }
});

test('each view of a tree keeps its total', () => {
  const t = tree();
  for (const lines of [false, true])
    for (const native of [false, true])
      for (const fold of [false, true]) {
        const v = viewTree(t, {lines, native, fold});
        assert.equal(v.total[1][0], 200);
        assert.equal(invert(v).total[1][0], 200);
        assert.equal(named(v, 'write').length, native && !fold ? 1 : 0);
        assert.equal(named(v, 'web').length, fold ? 1 : 0); // two frames of one library are one
        assert.equal(named(v, 'hot').length, lines ? 3 : 2);
      }
});

test('a function that calls itself counts once', () => {
  const t = tree(), functions = functionsOf(t.frames);
  const hot = topFunctions(t, functions).find((row) => t.frames.name[row.frame] === 'hot');
  assert.equal(hot.self[1], 180);
  assert.equal(hot.total[1], 185);
  const lines = linesOf(t, functions, hot.id);
  assert.deepEqual(lines.map(({line}) => line), [20, 21]);
  assert.ok(Math.abs(lines[0].self - 1.3) < 1e-9 && Math.abs(lines[0].total - 1.35) < 1e-9);
  assert.equal(hottestLines(t).get(functionKey(t.frames, hot.frame)).line, 20);
});

test('callers and callees have the whole of a function', () => {
  const t = viewTree(tree(), {lines: false, native: true, fold: false}), functions = functionsOf(t.frames);
  const frame = t.frame[named(t, 'hot')[0]], wanted = (f) => functions.of[f] === functions.of[frame];
  const up = callers(t, wanted, frame), down = callees(t, wanted, frame);
  assert.equal(up.total[1][0], 185);
  assert.equal(down.total[1][0], 185);
  assert.deepEqual([1, 2, 3].map((i) => up.frames.name[up.frame[i]]), ['send', 'route', 'main']);
  assert.equal(named(down, 'write').length, 1);
});

test('markers of states become measures and take nothing from the frames', () => {
  const t = readCompact(answerOf([
    [0, 'all', '', 0, 2, 0], [1, 'f', '/srv/a.py', 1, 0, 0], [2, '[running, holds the GIL]', '', 0, 2, 30],
    [2, '[waiting, waits for the GIL]', '', 0, 2, 12], [2, '[waiting]', '', 0, 2, 58]]));
  assert.equal(t.n, 2);
  assert.equal(t.self[1][1], 100);
  assert.deepEqual(t.total.slice(STATES_FROM).map((column) => Math.round(column[1] * 100)), [30, 0, 12, 0, 0, 58]);
  // A function may have such a name: it is not a marker.
  assert.equal(readCompact(answerOf([[0, 'all', '', 0, 2, 0], [1, '[waiting]', '/srv/a.py', 1, 0, 9]])).n, 2);
});

test('a zoom is found again after new data, or its nearest caller', () => {
  const t = tree(), deep = named(t, 'write')[0], path = pathOf(t, deep);
  assert.equal(nodeAt(t, path), deep);
  const fewer = readCompact(answerOf(NODES.slice(0, 5)));
  assert.equal(fewer.frames.name[fewer.frame[nodeAt(fewer, path)]], 'send');
  assert.equal(nodeAt(t, 'x.y'), 0);
});

test('a search counts a stack once', () => {
  const found = searchTree(tree(), /hot/i);
  assert.equal(found.n, 2);
  assert.ok(Math.abs(found.share - 185 / 200) < 1e-9);
});

test('code belongs to the application unless its place says otherwise', () => {
  const owner = (kind, file, name = 'f') => ownerOf(kind, file, name)[0];
  assert.equal(owner(0, '/srv/shop/views.py'), APP);
  assert.equal(owner(0, '/home/me/lib/views.py'), APP);
  assert.equal(owner(0, SITE), LIBRARY);
  assert.equal(owner(0, '/app/.venv/lib/python3.12/site-packages/flask/app.py'), LIBRARY);
  assert.equal(owner(0, '/app/.venv/bin/gunicorn'), LIBRARY);
  assert.equal(owner(0, '/usr/lib/python3.11/json/decoder.py'), STANDARD);
  assert.equal(owner(0, '<frozen importlib._bootstrap>'), STANDARD);
  assert.equal(owner(1, '/lib/x86_64-linux-gnu/libc.so.6'), MACHINE);
});

const process = (pid, parent, more = {}) => ({pid, parent_pid: parent, command: '/usr/bin/python3 /usr/bin/gunicorn x',
  last_seen: '2026-11-24T05:30:00Z', samples: 100, threads: [{tid: pid, name: 'MainThread'}], problem: null,
  quality: {clean: 90, salvaged: 0, paused: 0, failed: 10, lost: 0, late: 0},
  account: {cpu_ns: 5e9, running_ns: 4e9, of_ns: 10e9, throttled_ns: 3e9, throttled_periods: 7,
    runqueue_ns: null, runqueue_of_ns: 0}, ...more});
const pod = (name, service, processes) => ({pod: name, namespace: 'shop', service, node: 'n1',
  containers: [{container: 'web', container_id: name, image: 'shop:1', processes}]});

test('workers stand below their master, and a circle of parents ends', () => {
  const pods = readPods({pods: [pod('a', 'checkout', [process(12, 10), process(10, 1), process(11, 10),
    process(20, 21), process(21, 20)])]});
  const open = new Map([[pods[0].key, true]]);
  const rows = flatten(pods, {by: '', sort: {key: 'name', down: false}, open});
  assert.deepEqual(rows.filter((r) => r.kind === 'process').map((r) => [r.process.pid, r.level]),
    [[10, 2], [11, 3], [12, 3], [20, 2], [21, 2]]);
});

test('shares add up over processes; a limit counts once for a container', () => {
  const [row] = readPods({pods: [pod('a', 'checkout', [process(1, 0), process(2, 0)])]});
  assert.ok(Math.abs(row.account.cpu - 0.8) < 1e-9 && Math.abs(row.account.kernel - 1) < 1e-9);
  assert.equal(row.account.throttledNs, 3e9);
  assert.equal(row.account.waiting, null);
  assert.ok(Math.abs(row.quality.share - 0.9) < 1e-9);
});

test('groups of a search are described by what is left of them', () => {
  const all = readPods({pods: [pod('a-1', 'a', [process(1, 0)]), pod('a-2', 'a', [process(2, 0)]),
    pod('b-1', 'b', [process(3, 0)])]});
  const rows = (text) => flatten(searchPods(all, text), {by: 'service', sort: {key: 'name', down: false},
    open: new Map(), all});
  assert.deepEqual(rows('').map((r) => r.name), ['a', 'a-1', 'a-2', 'b', 'b-1']);
  assert.deepEqual(rows('a-2').map((r) => r.name), ['a', 'a-2']);
  assert.equal(rows('a-2')[0].samples, 100);
  assert.equal(rows('')[0].samples, 200);
});

test('times, commands and files are read as the collector writes them', () => {
  assert.equal(parseTime('-15m', 1000), 100);
  assert.equal(parseTime('2026-11-24T05:30:00Z'), 1795498200);
  assert.equal(parseTime('soon'), null);
  assert.equal(shortCommand('/usr/bin/python3 -u /usr/bin/gunicorn -w 3'), 'gunicorn -w 3');
  assert.equal(shortFile('/opt/venv/lib/python3.12/site-packages/flask/app.py'), 'flask/app.py');
  assert.equal(shown('a\u202eb\u0007'), 'a\ufffdb\ufffd');
});
