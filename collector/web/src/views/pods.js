// pods.js - the first view: which pods there are, how they fare, and why one has no data.
import {h, debounce, place, replace, select, announce} from '../dom.js';
import {fetchJson, isAbort} from '../api.js';
import {address, get, go, outer} from '../state.js';
import {ago, count, duration, percent, plural} from '../format.js';
import {moreButton, problem} from '../bar.js';
import {flatten, readPods, searchPods, SILENT_AFTER} from '../pods.js';
import {reasonOf} from '../reasons.js';
import {Rows} from '../rows.js';

const STEPS = 30; // of a sparkline
const FILTERS = [['ns', 'namespace', 'Namespace'], ['svc', 'service', 'Service'],
  ['nd', 'node', 'Node'], ['img', 'image', 'Image']];

export class PodsView {
  constructor({wantCredential}) {
    this.wantCredential = wantCredential;
    this.open = new Map();
    this.pods = null;
    this.search = h('input', {type: 'search', class: 'search', id: 'pods-search',
      placeholder: 'Search pods, services, images, commands', 'aria-label': 'Search pods',
      autocomplete: 'off', spellcheck: 'false',
      oninput: () => this.typed(), onkeydown: (event) => this.searchKey(event)});
    this.remember = debounce(250, () => go({q: this.search.value}, {replace: true}));
    this.table = new Rows({label: 'Pods', role: 'treegrid', columns: this.columns(), height: 34,
      onSort: (key) => this.sortBy(key), onOpen: (row) => this.enter(row),
      onFold: (row, open) => this.fold(row, open), rowProps: (row) => this.propsOf(row)});
    this.filters = h('div', {class: 'filters'});
    this.counts = h('div', {class: 'muted counts'});
    this.notes = h('div');
    this.element = h('section', {class: 'view pods', 'aria-label': 'Pods'},
      h('h1', {class: 'unseen'}, 'Pods'),
      h('div', {class: 'tools'}, this.search, moreButton(this.filters), this.filters, h('div', {class: 'spring'}), this.counts),
      this.notes, this.table.element);
  }

  close() {
    this.table.close();
  }

  update() {
    const asked = outer().join('~');
    if (document.activeElement !== this.search) this.search.value = get('q');
    if (asked !== this.asked) {
      this.asked = asked;
      this.load();
    } else {
      this.show();
    }
  }

  refresh() {
    this.load();
  }

  // The pods at once, then what costs more to count: activity and the GIL.
  async load() {
    const [from, until] = outer(), query = new URLSearchParams({from});
    if (until) query.set('until', until);
    try {
      if (!this.pods) this.take(await fetchJson('pods', '/pods', query));
      await this.loadActivity(query);
    } catch (error) {
      this.failed(error);
    }
  }

  async loadActivity(query) {
    const counted = new URLSearchParams(query);
    counted.set('steps', STEPS);
    try {
      this.take(await fetchJson('pods', '/pods', counted));
    } catch (error) {
      if (error.status !== 413) throw error; // too much at once: the table is whole without it
      this.take(await fetchJson('pods', '/pods', query));
    }
  }

  take(answer) {
    this.until = Date.parse(answer.until) / 1000;
    this.pods = readPods(answer);
    this.error = null;
    this.show();
  }

  failed(error) {
    if (isAbort(error)) return;
    if (error.status === 401) this.wantCredential('The collector did not accept that token.');
    else if (error.status === 404) this.take({until: new Date().toISOString(), pods: []});
    else replace(this.notes, problem(error, () => this.load()));
  }

  // --- what is shown ---

  typed() {
    this.show(true);
    this.remember();
  }

  searchKey(event) {
    if (event.key === 'ArrowDown' || (event.key === 'Enter' && this.rows?.length)) {
      event.preventDefault();
      if (event.key === 'Enter') this.enter(this.rows[0]);
      else this.table.focus(0);
    } else if (event.key === 'Escape' && this.search.value) {
      this.search.value = '';
      this.typed();
      event.preventDefault();
    }
  }

  key(event) {
    if (event.key !== '/' || event.target === this.search) return false;
    this.search.focus();
    this.search.select();
    return true;
  }

  sort() {
    const [key, way] = get('sort', 'cpu.down').split('.');
    return {key, down: way !== 'up'};
  }

  sortBy(key) {
    const now = this.sort(), down = now.key === key ? !now.down : key !== 'name';
    go({sort: `${key}.${down ? 'down' : 'up'}`}, {replace: true});
  }

  show(top = false) {
    if (!this.pods) return;
    const chosen = FILTERS.map(([key, field]) => [field, get(key)]).filter(([, value]) => value);
    let pods = searchPods(this.pods, this.search.value);
    for (const [field, value] of chosen)
      pods = pods.filter((pod) => field === 'image' ? pod.images.includes(value)
        : pod[field] === value);
    this.shownPods = pods;
    this.by = get('by', 'service') === 'none' ? '' : get('by', 'service');
    this.rows = flatten(pods, {by: this.by, sort: this.sort(), open: this.open,
      all: this.pods});
    this.table.set(this.rows, this.sort(), {top});
    this.sayCounts(pods);
    if (!top) this.showFilters();
    replace(this.notes, this.notesOf(pods));
  }

  sayCounts(pods) {
    const silent = pods.filter((pod) => this.isSilent(pod)).length;
    const text = (pods.length === this.pods.length ? plural(pods.length, 'pod')
      : `${count(pods.length)} of ${plural(this.pods.length, 'pod')}`) +
      (silent ? `, ${count(silent)} silent` : '');
    if (this.counts.textContent !== text) announce(text);
    this.counts.textContent = text;
  }

  notesOf(pods) {
    if (pods.length) return null;
    if (this.pods.length) return h('p', {class: 'note'}, 'No pod matches. ', h('button', {
      type: 'button', onclick: () => {
        this.search.value = '';
        go({q: '', ns: '', svc: '', nd: '', img: ''});
      }}, 'Show all'));
    return h('div', {class: 'note'}, h('p', null, h('strong', null, 'Nothing has come yet.'),
      ' Agents push every 10 seconds. A pod is profiled once it asks for it:'),
    h('pre', null, 'kubectl annotate pod POD podspy.dev/profile=true'),
    h('p', null, 'The agent of its node says in its log what it found; ',
      h('code', null, 'podspy doctor'), ' says why a process cannot be read.'));
  }

  showFilters() {
    const filters = FILTERS.map(([key, field, label]) => {
      const values = [...new Set(this.pods.flatMap((pod) => field === 'image' ? pod.images
        : [pod[field]]))].filter(Boolean).sort();
      return values.length > 1 || get(key) ? select(label, [['', 'any'],
        ...values.map((value) => [value, value])], get(key), (value) => go({[key]: value})) : null;
    });
    const groups = [['service', 'service'], ['namespace', 'namespace'], ['node', 'node'],
      ['none', 'nothing']];
    const signature = JSON.stringify([filters.map((f) => f?.textContent), FILTERS.map(([k]) => get(k)),
      get('by')]);
    if (signature === this.filterSignature) return; // an open list stays open
    this.filterSignature = signature;
    replace(this.filters, filters, select('Group by', groups, get('by', 'service'),
      (value) => go({by: value === 'service' ? '' : value}, {replace: true})));
  }

  // --- rows ---

  isSilent(row) {
    return row.lastSeen && this.until - row.lastSeen > SILENT_AFTER;
  }

  isOpen(row) {
    return row.kind === 'group' ? row.isOpen
      : row.kind === 'container' ? this.open.get(row.key) !== false : Boolean(this.open.get(row.key));
  }

  propsOf(row) {
    return {
      'aria-level': row.level + 1, 'aria-expanded': row.hasMore ? String(this.isOpen(row)) : null,
      class: `${row.kind} ${this.isSilent(row) ? 'silent' : ''}`,
    };
  }

  fold(row, open) {
    if (!row.hasMore || this.isOpen(row) === open) return;
    this.open.set(row.key, open);
    this.show();
  }

  enter(row) {
    go({...this.changesOf(row), q: '', part: ''}, {});
  }

  // The address of a row's profile.
  changesOf(row) {
    const none = {namespace: [], service: [], pod: [], container: [], node: [], pid: [], thread: []};
    return {view: 'profile', ...none, ...row.select, ns: '', svc: '', nd: '', img: ''};
  }

  columns() {
    return [
      {key: 'name', label: 'Name', class: 'name', cell: (row) => this.nameCell(row)},
      {key: 'activity', label: 'Activity', class: 'spark w2', title: 'Running, over the time above',
        cell: (row) => spark(row.activity, row.name)},
      {key: 'cpu', label: 'CPU', class: 'number', title: 'CPU time by samples, of one CPU',
        cell: (row) => row.account ? meter(row.account.cpu) : ''},
      {key: 'kernel', label: 'Kernel', class: 'number w3',
        title: 'CPU time as the kernel counted it', cell: (row) => this.kernelCell(row)},
      {key: 'gil', label: 'GIL', class: 'number w3', title: 'Share of busy time that held the GIL',
        cell: (row) => row.gil ? this.gilCell(row) : ''},
      {key: 'throttled', label: 'Throttled', class: 'number w4', title: 'Time stopped by the CPU limit',
        cell: (row) => row.account ? this.throttledCell(row) : ''},
      {key: 'version', label: 'Python', class: 'w4', cell: (row) => row.version ?? ''},
      {key: 'seen', label: 'Last seen', class: 'w2', cell: (row) => row.lastSeen
        ? h('span', {class: this.isSilent(row) ? 'bad' : ''}, ago(this.until - row.lastSeen)) : ''},
      {key: 'quality', label: 'Quality', class: 'number w3', title: 'Samples taken of those due',
        cell: (row) => row.quality ? qualityCell(row.quality) : ''},
    ];
  }

  nameCell(row) {
    const fold = row.hasMore ? h('button', {type: 'button', class: 'fold', tabindex: -1,
      'aria-label': `${this.isOpen(row) ? 'Close' : 'Open'} ${row.name}`,
      onclick: () => this.fold(row, !this.isOpen(row))}, this.isOpen(row) ? '▾' : '▸')
      : h('span', {class: 'fold'});
    const link = h('a', {href: address({...this.changesOf(row), q: '', part: ''}), tabindex: -1,
      title: row.title ?? row.name}, row.name);
    return place(h('div', {class: 'name-inner'}, fold, link, this.detailOf(row), this.marksOf(row)),
      {'padding-left': `${row.level * 16}px`});
  }

  detailOf(row) {
    const texts = {
      group: () => [row.by === 'service' ? row.namespace : '', plural(row.members.length, 'pod')],
      pod: () => [this.by ? (this.by === 'service' ? '' : row.service) : row.namespace, row.node],
      container: () => [row.image],
      process: () => [row.process.ns_pid && row.process.ns_pid !== row.process.pid
        ? `${row.process.pid} (in its container ${row.process.ns_pid})` : String(row.process.pid ?? ''),
      row.process.sample_type ?? ''],
      thread: () => [String(row.thread.tid)],
    };
    return h('span', {class: 'detail'}, texts[row.kind]().filter(Boolean).join(' · '));
  }

  marksOf(row) {
    const marks = [];
    if (row.kind === 'group' || row.kind === 'thread') return marks;
    const reason = reasonOf(row);
    if (reason) marks.push(h('span', {class: `mark ${row.samples ? 'warn' : 'bad'}`, title: reason},
      row.samples ? 'In part: ' : 'No data: ', reason));
    else if (row.warning) marks.push(h('span', {class: 'mark warn', title: row.warning}, row.warning));
    return marks;
  }

  kernelCell(row) {
    const {kernel, cpu} = row.account ?? {};
    if (kernel === null || kernel === undefined) return '';
    const differs = cpu !== null && Math.abs(kernel - cpu) > Math.max(0.02, kernel * 0.1);
    return h('span', {class: differs ? 'warn' : 'muted', title: differs
      ? 'Samples and kernel differ' : null}, percent(kernel));
  }

  gilCell({gil}) {
    if (gil.held === null) return '';
    return h('span', {title: `${percent(gil.waits)} waited for it`}, percent(gil.held),
      gil.waits > 0.05 ? h('span', {class: 'warn'}, ` +${percent(gil.waits)} waits`) : null);
  }

  throttledCell({account}) {
    return account.throttledNs ? h('span', {class: 'warn',
      title: `${count(account.periods)} periods`}, duration(account.throttledNs / 1e9))
      : account.kernel === null ? '' : h('span', {class: 'muted'}, '–');
  }
}

function qualityCell(quality) {
  if (quality.share === null) return '';
  const title = `${count(quality.taken)} taken (${count(quality.paused)} with a pause), ` +
    `${count(quality.failed)} failed, ${count(quality.lost)} lost, ${count(quality.late)} late`;
  return h('span', {class: quality.share < 0.9 ? 'warn' : 'muted', title}, percent(quality.share));
}

function meter(share) {
  if (share === null) return '';
  return [h('span', {class: 'meter', 'aria-hidden': 'true'}, place(h('i'), {width:
    `${Math.min(share, 1) * 100}%`})), percent(share)];
}

const SVG = 'http://www.w3.org/2000/svg';

function spark(values, name) {
  if (!values?.length) return '';
  const most = Math.max(...values, 1), width = 90, height = 20, step = width / values.length;
  const svg = document.createElementNS(SVG, 'svg'), path = document.createElementNS(SVG, 'path');
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('class', 'sparkline');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `Activity of ${name}`);
  path.setAttribute('d', values.map((v, i) => {
    const y = height - Math.max(v / most * (height - 1), v ? 1 : 0);
    return `M${(i * step).toFixed(1)} ${height}V${y.toFixed(1)}h${(step - 0.5).toFixed(1)}V${height}z`;
  }).join(''));
  svg.append(path);
  return svg;
}
