// pods.js - the answer of /pods as rows: services (or namespaces, nodes) hold pods, pods containers,
// containers trees of workers, and those threads. No DOM.
import {shortCommand, shown} from './format.js';

// How long a process may be silent: agents push every 10 seconds, and repeat after failures.
export const SILENT_AFTER = 45;

const sumUp = (list, key) => list.reduce((n, x) => n + (x[key] ?? 0), 0);

function accountOf(processes) {
  const known = processes.map(({account}) => account).filter(Boolean);
  // Shares of processes add up; the wall time of each is its own.
  const share = (value, of) => known.some((a) => a[of] > 0 && a[value] !== null)
    ? known.reduce((n, a) => n + (a[of] > 0 && a[value] !== null ? a[value] / a[of] : 0), 0) : null;
  return {
    cpu: share('running_ns', 'of_ns'), kernel: share('cpu_ns', 'of_ns'),
    waiting: share('runqueue_ns', 'runqueue_of_ns'),
    periods: limitsOf(processes, 'throttled_periods'), throttledNs: limitsOf(processes, 'throttled_ns'),
  };
}

// The kernel counts a limit for all processes of a container, so each container counts once.
function limitsOf(processes, key) {
  const most = new Map();
  for (const {account, cgroup} of processes)
    most.set(cgroup, Math.max(most.get(cgroup) ?? 0, account?.[key] ?? 0));
  return [...most.values()].reduce((a, b) => a + b, 0);
}

function qualityOf(processes) {
  const q = {clean: 0, salvaged: 0, paused: 0, failed: 0, lost: 0, late: 0};
  for (const {quality} of processes)
    for (const key of Object.keys(q)) q[key] += quality?.[key] ?? 0;
  const taken = q.clean + q.salvaged + q.paused, missing = q.failed + q.lost + q.late;
  return {...q, taken, missing, share: taken + missing ? taken / (taken + missing) : null};
}

// Share of the samples' time on which the GIL was held, from what ?steps= adds.
function gilOf(processes) {
  let holds = 0, waits = 0, busy = 0, known = false;
  for (const {gil, states} of processes) {
    if (!gil || !states) continue;
    known = true;
    holds += gil.holds;
    waits += gil.waits;
    busy += (states.running ?? 0) + (states.runnable ?? 0) + gil.waits;
  }
  return shareGil(known, holds, waits, busy);
}

const shareGil = (known, holds, waits, busy) => ({
  held: known && busy ? holds / busy : null, waits: known && busy ? waits / busy : null, known,
  sums: [holds, waits, busy],
});

function activityOf(processes) {
  let sums = null;
  for (const {activity} of processes) {
    if (!activity) continue;
    sums ??= new Array(activity.length).fill(0);
    for (let i = 0; i < activity.length; i++) sums[i] += activity[i];
  }
  return sums;
}

const latest = (list) => list.reduce((t, x) => Math.max(t, x), 0);

function describe(processes) {
  const versions = [...new Set(processes.map((p) => p.python_version).filter(Boolean))];
  return {
    processes, account: accountOf(processes), quality: qualityOf(processes),
    gil: gilOf(processes), activity: activityOf(processes),
    lastSeen: latest(processes.map((p) => Date.parse(p.last_seen) / 1000)),
    version: versions.length > 1 ? `${versions[0]} +${versions.length - 1}` : versions[0] ?? '',
    samples: sumUp(processes, 'samples'),
    problem: processes.map((p) => p.problem).find(Boolean) ?? null,
    warning: processes.map((p) => p.warning).find(Boolean) ?? null,
    throttled: processes.some((p) => p.throttled),
  };
}

const sumOrNull = (rows, get) => rows.reduce((sum, row) => {
  const value = get(row);
  return value === null ? sum : (sum ?? 0) + value;
}, null);

// The same of pods that are described: a search through thousands groups them at each key.
function describeGroup(pods) {
  if (pods.length === 1) {
    const [{account, quality, gil, activity, lastSeen, version, samples, throttled}] = pods;
    return {account, quality, gil, activity, lastSeen, version, samples, throttled, problem: null,
      warning: null};
  }
  const quality = {clean: 0, salvaged: 0, paused: 0, failed: 0, lost: 0, late: 0, taken: 0, missing: 0};
  const gil = [0, 0, 0], versions = new Set();
  for (const pod of pods) {
    for (const key of Object.keys(quality)) quality[key] += pod.quality[key];
    for (let k = 0; k < 3; k++) gil[k] += pod.gil.sums[k];
    if (pod.version) versions.add(pod.version);
  }
  const all = quality.taken + quality.missing, [version = ''] = versions;
  return {
    account: {
      cpu: sumOrNull(pods, (p) => p.account.cpu), kernel: sumOrNull(pods, (p) => p.account.kernel),
      waiting: sumOrNull(pods, (p) => p.account.waiting),
      periods: pods.reduce((n, p) => n + p.account.periods, 0),
      throttledNs: pods.reduce((n, p) => n + p.account.throttledNs, 0),
    },
    quality: {...quality, share: all ? quality.taken / all : null},
    gil: shareGil(pods.some((p) => p.gil.known), ...gil), activity: activityOf(pods),
    lastSeen: latest(pods.map((p) => p.lastSeen)),
    version: versions.size > 1 ? `${version} +${versions.size - 1}` : version,
    samples: sumUp(pods, 'samples'), problem: null, warning: null,
    throttled: pods.some((p) => p.throttled),
  };
}

// Parents before their children; a parent that is not listed makes its children roots.
function workerTree(processes) {
  const children = new Map(), pids = new Set(processes.map((p) => p.pid));
  for (const p of processes) {
    const parent = pids.has(p.parent_pid) && p.parent_pid !== p.pid ? p.parent_pid : 0;
    children.set(parent, [...(children.get(parent) ?? []), p]);
  }
  const list = [], seen = new Set();
  const walk = (pid, depth) => {
    for (const p of (children.get(pid) ?? []).sort((a, b) => a.pid - b.pid)) {
      if (seen.has(p)) continue;
      seen.add(p);
      list.push({process: p, depth, children: (children.get(p.pid) ?? []).length});
      walk(p.pid, depth + 1);
    }
  };
  walk(0, 0);
  for (const p of processes) if (!seen.has(p)) list.push({process: p, depth: 0, children: 0});
  return list;
}

// Text for the search, lower case.
function textOf(pod) {
  const words = [pod.namespace, pod.service, pod.pod, pod.node, pod.host, pod.cluster];
  for (const {container, image, processes} of pod.containers) {
    words.push(container, image);
    for (const {pid, command, python_version: version} of processes)
      words.push(String(pid), command, version);
  }
  return words.filter(Boolean).join('\n').toLowerCase();
}

export function readPods(answer) {
  return answer.pods.map((pod) => {
    const processes = pod.containers.flatMap((c) => c.processes.map((p) =>
      Object.assign(p, {cgroup: c.container_id ?? c})));
    return {
      kind: 'pod', key: ['pod', pod.cluster, pod.namespace, pod.pod, pod.node, pod.host].join('\0'),
      name: shown(pod.pod ?? pod.host ?? '(no pod)'), pod, text: textOf(pod),
      service: pod.service ?? '', namespace: pod.namespace ?? '', node: pod.node ?? pod.host ?? '',
      images: [...new Set(pod.containers.map((c) => c.image).filter(Boolean))],
      select: selectPod(pod), ...describe(processes),
    };
  });
}

const selectPod = (pod) => ({
  pod: pod.pod ?? '', namespace: pod.namespace ?? '', service: pod.pod ? '' : pod.service ?? '',
  node: pod.pod ? '' : pod.node ?? pod.host ?? '',
});

// Rows whose text has all words.
export function searchPods(pods, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length ? pods.filter((pod) => words.every((word) => pod.text.includes(word))) : pods;
}

export const SORTS = {
  name: (row) => row.name, activity: (row) => row.account.cpu ?? row.samples / 1e12,
  cpu: (row) => row.account.cpu ?? -1, kernel: (row) => row.account.kernel ?? -1,
  gil: (row) => row.gil.held ?? -1, throttled: (row) => row.account.throttledNs,
  version: (row) => row.version, seen: (row) => row.lastSeen,
  quality: (row) => row.quality.share ?? -1,
};

export function sortRows(rows, {key, down}) {
  const of = SORTS[key] ?? SORTS.name, sign = down ? -1 : 1;
  if (rows.length < 2) return rows;
  return rows.map((row) => [of(row), row]).sort(([a, x], [b, y]) =>
    a < b ? -sign : a > b ? sign : x.name < y.name ? -1 : 1).map(([, row]) => row);
}

const placeOf = (pod, by) => by === 'service' ? `${pod.namespace}\0${pod.service}` : pod[by];

function gather(pods, by) {
  const groups = new Map();
  for (const pod of pods) {
    const place = placeOf(pod, by), members = groups.get(place);
    if (members) members.push(pod);
    else groups.set(place, [pod]);
  }
  return groups;
}

function makeGroup(members, by) {
  const {namespace, service, node} = members[0], value = members[0][by];
  const select = by === 'service' ? {service, namespace} : by === 'node' ? {node} : {namespace};
  return {
    kind: 'group', by, key: ['group', by, by === 'service' ? namespace : '', value].join('\0'),
    name: shown(value || `(no ${by})`), members, namespace, select: value ? select : {},
    ...describeGroup(members),
  };
}

const wholeGroups = new WeakMap(); // all pods -> by -> place -> row

// Groups as rows; by: service, namespace or node. A group that a search leaves whole is not described
// again.
export function groupPods(pods, by, all = pods) {
  let known = wholeGroups.get(all);
  if (!known) wholeGroups.set(all, known = new Map());
  if (!known.has(by))
    known.set(by, new Map([...gather(all, by)].map(([place, members]) =>
      [place, makeGroup(members, by)])));
  const whole = known.get(by);
  if (pods === all) return [...whole.values()];
  return [...gather(pods, by)].map(([place, members]) =>
    whole.get(place).members.length === members.length ? whole.get(place) : makeGroup(members, by));
}

// A pod's containers, processes and threads as rows, as far as they are open.
function insideOf(pod, open, level) {
  const rows = [], containers = pod.pod.containers;
  for (const container of containers) {
    const row = {kind: 'container', key: `${pod.key}\0${container.container_id}\0${container.container}`,
      name: shown(container.container ?? '(no container)'), image: container.image ?? '', level,
      select: {...pod.select, container: container.container_id ?? container.container ?? ''},
      ...describe(container.processes), hasMore: true};
    const plain = containers.length === 1 && !container.container;
    if (!plain) rows.push(row);
    if (!plain && open.get(row.key) === false) continue;
    for (const worker of workerTree(container.processes))
      rows.push(...processRows(pod, row, worker, open, plain ? level : level + 1));
  }
  return rows;
}

function processRows(pod, container, {process, depth}, open, level) {
  const select = {...container.select, pid: String(process.pid ?? '')};
  const threads = process.threads ?? [];
  const row = {kind: 'process', key: `${container.key}\0${process.pid}\0${process.sample_type ?? ''}`,
    name: shown(shortCommand(process.command ?? '')) || 'process', title: process.command, process,
    level: level + depth, select, ...describe([process]), hasMore: threads.length > 0};
  if (!open.get(row.key)) return [row];
  return [row, ...threads.map((thread) => ({kind: 'thread', key: `${row.key}\0${thread.tid}`,
    name: shown(thread.name || 'thread'), thread, level: level + depth + 1,
    select: {...select, thread: String(thread.tid)}, hasMore: false}))];
}

// open: Map key -> whether a row is open. by: '' for pods alone.
export function flatten(pods, {by, sort, open, all = pods}) {
  const rows = [], add = (pod, level) => {
    pod.level = level; // in place: there may be thousands
    pod.hasMore = true;
    rows.push(pod);
    if (open.get(pod.key)) rows.push(...insideOf(pod, open, level + 1));
  };
  if (!by) {
    for (const pod of sortRows(pods, sort)) add(pod, 0);
    return rows;
  }
  for (const group of sortRows(groupPods(pods, by, all), sort)) {
    group.isOpen = open.get(group.key) ?? (pods.length <= 200);
    group.level = 0;
    group.hasMore = true;
    rows.push(group);
    if (group.isOpen) for (const pod of sortRows(group.members, sort)) add(pod, 1);
  }
  return rows;
}
