// compare.js - two selections: two times, pods or images. What grew, what shrank, and what of that is
// more than chance.
import {h, choice, debounce, replace, toggle} from '../dom.js';
import {curl, fetchJson, isAbort} from '../api.js';
import {address, get, getAll, go, isOn, selection} from '../state.js';
import {isoTime, parseTime, percent, plural, shortFile, shown} from '../format.js';
import {chips, problem} from '../bar.js';
import {painter} from '../colors.js';
import {Flame} from '../flame.js';
import {Rows} from '../rows.js';
import {copyButton, fileName, openDownloads} from '../share.js';
import {nodeAt, pathOf, readCompact, searchTree} from '../tree.js';

const NODES = 50000;
const CHOICES = ['image', 'pod', 'service'];

export class CompareView {
  constructor({wantCredential}) {
    this.wantCredential = wantCredential;
    const zoom = (node) => go({zoom: node ? pathOf(this.tree, node) : ''}, {replace: true});
    this.flames = ['Differential flamegraph', 'Flamegraph of the base', 'Flamegraph of what is compared']
      .map((label, i) => new Flame({label, onZoom: zoom, measure: Math.max(i - 1, 0)}));
    this.rows = new Rows({label: 'Changes', height: 38, columns: this.columns(),
      onSort: (key) => this.sortBy(key), onOpen: (row) => this.findRow(row),
      rowProps: (row) => ({class: row.significant ? 'app' : 'chance'})});
    this.sort = {key: 'change', down: true};
    this.search = h('input', {type: 'search', class: 'search', 'aria-label': 'Search functions',
      placeholder: 'Search functions, files (regular expression)', spellcheck: 'false',
      autocomplete: 'off', oninput: () => {
        this.find();
        this.remember();
      }});
    this.remember = debounce(250, () => go({find: this.search.value}, {replace: true}));
    this.chosen = h('div');
    this.sides = h('div', {class: 'sides'});
    this.notes = h('div');
    this.tools = h('div', {class: 'part-tools'});
    this.pair = h('div', {class: 'flame-pair'}, this.flames.slice(1).map((flame, i) =>
      h('div', null, h('h2', null, i ? 'Compared' : 'Base'), flame.element)));
    this.graphs = h('div', {class: 'graphs'}, h('div', {class: 'flame-place'}, this.flames[0].element, this.pair),
      h('div', {class: 'functions'}, this.rows.element));
    this.element = h('section', {class: 'view compare', 'aria-label': 'Compare'},
      h('h1', {class: 'unseen'}, 'Compare'), this.chosen, this.sides, this.notes,
      h('div', {class: 'tools'}, this.search, this.tools), this.graphs);
    this.loadChoices();
  }

  close() {
    for (const flame of this.flames) flame.close();
    this.rows.close();
  }

  // --- the sides ---

  // What may be compared: pods and images, with when they were first seen: a deployment.
  async loadChoices() {
    this.choices = {image: new Map(), pod: new Map(), service: new Map()};
    try {
      const {pods} = await fetchJson('choices', '/pods', new URLSearchParams({from: '-7d'}));
      for (const pod of pods)
        for (const container of pod.containers)
          for (const process of container.processes) {
            const seen = Date.parse(process.first_seen) / 1000;
            for (const [key, value] of [['image', container.image], ['pod', pod.pod],
              ['service', pod.service]])
              if (value) this.choices[key].set(value, Math.min(this.choices[key].get(value) ?? seen, seen));
          }
      this.showSides();
    } catch (error) {
      if (!isAbort(error)) this.showSides();
    }
  }

  showSides() {
    if (this.sides.contains(document.activeElement) && this.sidesShown) return;
    this.sidesShown = true;
    replace(this.sides, this.sideForm('base.', 'Base', 'What it was'), h('div', {class: 'sides-mid'},
      h('button', {type: 'button', title: 'Exchange the two sides', onclick: () => this.exchange()}, '⇄')),
    this.sideForm('', 'Compared', 'What it is now'), this.presets());
  }

  sideForm(prefix, title, hint) {
    const list = (key) => [...(this.choices?.[key] ?? new Map())].sort((a, b) => b[1] - a[1]);
    const field = (key) => {
      const id = `side-${prefix}${key}`, value = getAll(prefix + key)[0] ?? '';
      return h('label', {for: id}, h('span', null, key), h('input', {id, list: `${id}-list`, value,
        placeholder: prefix ? 'the same' : 'any', autocomplete: 'off', spellcheck: 'false',
        onchange: (event) => go({[prefix + key]: event.target.value, zoom: ''})}),
      h('datalist', {id: `${id}-list`}, list(key).map(([value, seen]) => h('option', {value},
        `${value} (since ${new Date(seen * 1000).toLocaleString()})`))));
    };
    const time = (key, label) => {
      const id = `side-${prefix}${key}`;
      return h('label', {for: id}, h('span', null, label), h('input', {id, value: get(prefix + key),
        placeholder: prefix ? 'the same' : key === 'from' ? '-1h' : 'now', spellcheck: 'false',
        autocomplete: 'off', onchange: (event) => this.setTime(prefix + key, event.target)}));
    };
    return h('fieldset', {class: 'side'}, h('legend', null, title, ' ', h('span', {class: 'muted'}, hint)),
      CHOICES.map(field), time('from', 'from'), time('until', 'until'));
  }

  setTime(key, field) {
    const text = field.value.trim(), seconds = text ? parseTime(text) : 0;
    field.setAttribute('aria-invalid', String(seconds === null));
    if (seconds !== null) go({[key]: text, part: '', zoom: ''});
    else field.title = 'A time such as -30m, now, or 2026-11-24T05:30:00Z';
  }

  exchange() {
    const changes = {zoom: ''};
    for (const key of CHOICES) {
      const mine = getAll(key), base = getAll(`base.${key}`);
      if (base.length) Object.assign(changes, {[key]: base, [`base.${key}`]: mine});
    }
    if (get('base.from') || get('base.until'))
      Object.assign(changes, {from: get('base.from'), until: get('base.until'),
        'base.from': get('from', '-1h'), 'base.until': get('until', 'now')});
    go(changes);
  }

  // What is mostly asked for, by one click.
  presets() {
    const now = Date.now() / 1000, at = (seconds) => isoTime(seconds);
    const ranged = (label, from, until, baseFrom, baseUntil) => h('a', {class: 'button', href: address({
      from: at(from), until: at(until), 'base.from': at(baseFrom), 'base.until': at(baseUntil), part: '',
      zoom: ''})}, label);
    const images = [...(this.choices?.image ?? new Map())].sort((a, b) => b[1] - a[1]);
    const service = getAll('service')[0];
    return h('div', {class: 'presets', role: 'group', 'aria-label': 'Usual comparisons'},
      ranged('15 min with the 15 before', now - 900, now, now - 1800, now - 900),
      ranged('Hour with the hour before', now - 3600, now, now - 7200, now - 3600),
      ranged('With yesterday', now - 3600, now, now - 90000, now - 86400),
      images.length > 1 && service ? h('a', {class: 'button', href: address({image: images[0][0],
        'base.image': images[1][0], zoom: ''})}, 'The latest image with the one before') : null);
  }

  // --- data ---

  query(format) {
    const query = selection({base: true});
    for (const key of ['base.from', 'base.until']) if (get(key)) query.set(key, get(key));
    if (isOn('idle')) query.set('idle', 1);
    if (!isOn('native', true)) query.set('native', 0);
    if (!isOn('lines')) query.set('lines', 0);
    for (const key of ['include', 'exclude']) if (get(key)) query.set(key, get(key));
    query.set('format', format);
    return query;
  }

  hasBase() {
    return get('base.from') || get('base.until') || CHOICES.some((key) => getAll(`base.${key}`).length);
  }

  update() {
    if (document.activeElement !== this.search) this.search.value = get('find');
    const name = fileName(['compared', ...getAll('service'), ...getAll('pod')]);
    replace(this.chosen, h('div', {class: 'chosen'}, chips(), h('div', {class: 'spring'}),
      h('div', {class: 'actions'}, copyButton('Copy link', () => location.href, 'Link'),
        copyButton('Copy curl', () => curl('/profiles/diff', this.query('svg'), `${name}.svg`), 'Command'),
        h('button', {type: 'button', onclick: () => openDownloads('/profiles/diff',
          (format) => this.query(format), name, ['svg', 'json'])}, 'Download'))));
    this.showSides();
    this.showTools();
    const query = this.query('json');
    query.set('max_nodes', NODES);
    const asked = query.toString();
    if (!this.hasBase()) this.invite();
    else if (asked !== this.asked) this.load(query, asked);
    else this.show();
  }

  invite() {
    this.asked = '';
    this.graphs.hidden = true;
    replace(this.notes, h('p', {class: 'note'}, 'Say what the base is: another time, image or pod. ' +
      'What the base leaves out is as on the other side.'));
  }

  refresh() {
    if (!this.hasBase() || get('until')) return;
    const query = this.query('json');
    query.set('max_nodes', NODES);
    this.load(query, query.toString());
  }

  async load(query, asked) {
    this.asked = asked;
    this.element.setAttribute('aria-busy', 'true');
    try {
      this.answer = await fetchJson('compare', '/profiles/diff', query);
      this.take();
    } catch (error) {
      if (isAbort(error)) return;
      if (error.status === 401) this.wantCredential('The collector did not accept that token.');
      this.graphs.hidden = true;
      this.tree = null;
      replace(this.notes, problem(error, () => this.load(query, asked)));
    }
    this.element.removeAttribute('aria-busy');
  }

  take() {
    this.tree = readCompact(this.answer);
    this.tree.compared = true;
    this.mean = meanTree(this.tree);
    this.painted = false;
    this.graphs.hidden = false;
    this.show();
  }

  show() {
    if (!this.tree) return;
    const {samples, z_cutoff: cutoff, functions, base, compared} = this.answer;
    const marked = functions.filter((f) => f.significant).length;
    replace(this.notes, h('p', {class: 'summary'}, h('b', null, 'Base: '), shown(base), ` (${
      plural(samples[0], 'sample')}). `, h('b', null, 'Compared: '), shown(compared), ` (${
      plural(samples[1], 'sample')}). `, marked
      ? `${plural(marked, 'function')} changed by more than chance explains.`
      : 'No change is more than chance explains.'));
    const both = get('side') === 'both';
    this.flames[0].element.hidden = both;
    this.pair.hidden = !both;
    if (!this.painted) {
      this.flames[0].setTree(this.mean, painter(this.mean, 'change', cutoff));
      for (const flame of this.flames.slice(1))
        flame.setTree(this.tree, painter(this.tree, 'change', cutoff));
      this.painted = true;
    }
    const node = nodeAt(this.tree, get('zoom'));
    for (const flame of this.flames) flame.setZoom(node);
    this.find();
    this.showRows();
  }

  repaint() {
    this.painted = false;
    this.show();
  }

  showTools() {
    const flip = (key, label, title, otherwise = false) => toggle(label, isOn(key, otherwise),
      (on) => go({[key]: on === otherwise ? '' : on ? '1' : '0', zoom: ''}, {replace: true}), title);
    replace(this.tools, choice('Picture', [['', 'Differential'], ['both', 'Side by side']], get('side'),
      (side) => go({side}, {replace: true})),
    choice('Detail', [['', 'Functions'], ['1', 'Lines']], get('lines'),
      (lines) => go({lines, zoom: ''}, {replace: true})),
    h('div', {class: 'choice', role: 'group', 'aria-label': 'Switches'}, flip('idle', 'Idle',
      'Also threads that wait'), flip('native', 'Native', 'Also native frames', true)),
    h('div', {class: 'legend'}, [['shrank', 'Shrank'], ['plain', 'May be chance'], ['grew', 'Grew']].map(
      ([key, label]) => h('span', {class: 'legend-item'}, h('i', {class: `swatch swatch-${key}`}), label))));
  }

  key(event) {
    if (event.key === '/' && event.target !== this.search) {
      this.search.focus();
      return true;
    }
    if (event.key !== 'Escape' || !get('zoom') || event.target.closest('input, dialog')) return false;
    go({zoom: ''}, {replace: true});
    return true;
  }

  find() {
    let matches = null;
    if (this.search.value && this.tree) {
      try {
        matches = searchTree(this.tree, new RegExp(this.search.value, 'i')).matches;
      } catch { // is being typed
      }
    }
    for (const flame of this.flames) if (flame.tree) flame.setMatches(matches);
  }

  findRow(row) {
    const text = `^${row.name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')} `;
    this.search.value = this.search.value === text ? '' : text;
    this.find();
    this.remember();
  }

  // --- the table ---

  columns() {
    const pair = ([a, b], key) => {
      const [n, m] = this.answer.samples;
      return h('span', {class: 'two-lines'}, h('span', null, percent(a / n), ' → ', percent(b / m)));
    };
    return [
      {key: 'change', label: 'Self', class: 'number', title: 'Change of its own share, in points',
        cell: (row) => h('b', {class: row.significant ? row.self_change > 0 ? 'grew' : 'shrank' : 'muted'},
          points(row.self_change))},
      {key: 'self', label: 'Base → now', class: 'number wide w2', cell: (row) => pair(row.self)},
      {key: 'total', label: 'Total', class: 'number', title: 'Change of its whole share',
        cell: (row) => points(row.total_change)},
      {key: 'name', label: 'Function', class: 'name', cell: (row) => h('div', {class: 'two'},
        h('span', {title: shown(row.name)}, shown(row.name)),
        h('span', {class: 'where', title: shown(row.file)}, row.file
          ? `${shown(shortFile(row.file))}${row.line ? `:${row.line}` : ''}` : '',
        row.significant ? ` · significant, z = ${row.z.toFixed(1)}` : ''))},
    ];
  }

  sortBy(key) {
    this.sort = {key, down: this.sort.key === key ? !this.sort.down : key !== 'name'};
    this.showRows();
  }

  showRows() {
    const {key, down} = this.sort, sign = down ? -1 : 1;
    const of = {change: (r) => Math.abs(r.self_change), total: (r) => Math.abs(r.total_change),
      self: (r) => r.self[1], name: (r) => r.name}[key];
    this.rows.set([...this.answer.functions].sort((a, b) => of(a) < of(b) ? -sign : of(a) > of(b) ? sign : 0),
      this.sort);
  }
}

const points = (change) => `${change > 0 ? '+' : change < 0 ? '−' : ''}${(Math.abs(change) * 100).toFixed(1)}`;

// A frame as wide as the mean of its two shares: what came and what went are both visible. The counts
// stay; only the places change.
function meanTree(tree) {
  const [a, b] = tree.total.map((column) => column[0] || 1), n = tree.n;
  const total = new Float64Array(n), start = new Float64Array(n), next = new Float64Array(n);
  for (let i = 0; i < n; i++) total[i] = (tree.total[0][i] / a + tree.total[1][i] / b) / 2;
  for (let i = 1; i < n; i++) {
    start[i] = next[tree.parent[i]];
    next[tree.parent[i]] += total[i];
    next[i] = start[i];
  }
  return {...tree, layout: {total, start}};
}
