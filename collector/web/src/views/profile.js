// profile.js - one selection: its timeline, its flamegraph, its functions, and one function's callers,
// callees and lines.
import {h, debounce, replace, choice, toggle, announce} from '../dom.js';
import {curl, fetchJson, isAbort} from '../api.js';
import {address, get, getAll, go, isOn, outer, range, selection} from '../state.js';
import {count, duration, isoTime, parseTime, plural, shown} from '../format.js';
import {chips, describeRange, moreButton, problem, silence} from '../bar.js';
import {COLORINGS, painter, STATES} from '../colors.js';
import {Flame} from '../flame.js';
import {Functions} from '../functions.js';
import {Sandwich} from '../sandwich.js';
import {copyButton, fileName, openDownloads, speedscopeLink} from '../share.js';
import {Timeline} from '../timeline.js';
import {SILENT_AFTER} from '../pods.js';
import {functionKey, functionsOf, hottestLines, invert, nodeAt, pathOf, readCompact, searchTree,
  viewTree} from '../tree.js';

const NODES = 100000;

export class ProfileView {
  constructor({wantCredential}) {
    this.wantCredential = wantCredential;
    this.timeline = new Timeline({onRange: (from, until) =>
      go({part: `${isoTime(from)}~${isoTime(until)}`, live: ''})});
    this.flame = new Flame({label: 'Flamegraph; the arrow keys move, Enter zooms, Escape zooms out',
      onZoom: (node) => this.zoomTo(node), onPick: (frame) => this.pick(frame)});
    this.functions = new Functions({onPick: (row) => this.pickFunction(row)});
    this.sandwich = new Sandwich({onPick: (key) => go({fn: key})});
    this.search = h('input', {type: 'search', class: 'search', 'aria-label': 'Search functions',
      placeholder: 'Search functions, files (regular expression)', autocomplete: 'off',
      spellcheck: 'false', oninput: () => this.typed(), onkeydown: (event) => this.searchKey(event)});
    this.remember = debounce(250, () => go({find: this.search.value}, {replace: true}));
    this.build();
  }

  build() {
    this.parts = Object.fromEntries(['chosen', 'notes', 'tools', 'found', 'partLine', 'foot'].map((key) =>
      [key, h('div', {class: `part-${key}`})]));
    const {parts} = this;
    parts.found.setAttribute('role', 'status');
    this.graphs = h('div', {class: 'graphs'}, this.flame.element, this.functions.element);
    this.element = h('section', {class: 'view profile', 'aria-label': 'Profile'},
      h('h1', {class: 'unseen'}, 'Profile'), parts.chosen, parts.notes, this.timeline.element,
      parts.partLine, h('div', {class: 'tools'}, this.search, parts.found, moreButton(parts.tools), parts.tools),
      this.sandwich.element, this.graphs, parts.foot);
  }

  close() {
    for (const part of [this.timeline, this.flame, this.functions, this.sandwich]) part.close();
  }

  // --- data ---

  query({page = false, format} = {}) {
    const query = selection();
    for (const key of ['idle', 'gil', 'threads']) if (isOn(key)) query.set(key, 1);
    query.set('processes', isOn('processes') ? 1 : 0);
    for (const key of ['include', 'exclude']) if (get(key)) query.set(key, get(key));
    if (page) {
      if (get('color') === 'thread') query.set('threads', 1);
      if (get('color') === 'state') query.set('states', 1);
      query.set('max_nodes', NODES);
    } else {
      if (!isOn('lines')) query.set('lines', 0);
      if (!isOn('native', true)) query.set('native', 0);
    }
    if (format) query.set('format', format);
    return query;
  }

  timelineQuery() {
    const query = selection({whole: true});
    if (isOn('gil')) query.set('gil', 1);
    for (const key of ['include', 'exclude']) if (get(key)) query.set(key, get(key));
    return query;
  }

  update() {
    if (document.activeElement !== this.search) this.search.value = get('find');
    const data = this.query({page: true}).toString(), times = this.timelineQuery().toString();
    if (data !== this.data) {
      this.data = data;
      this.load();
    } else if (this.raw) {
      this.show();
    }
    if (times !== this.times) {
      this.times = times;
      this.loadTimeline();
    } else {
      this.showTimeline();
    }
    this.showChosen();
    this.showTools();
  }

  refresh() {
    if (get('part')) return;
    this.load(true);
    this.loadTimeline();
  }

  async load(quiet = false) {
    if (!quiet) this.element.setAttribute('aria-busy', 'true');
    try {
      const answer = await fetchJson('profile', '/profiles', this.query({page: true, format: 'compact'}));
      this.take(answer);
    } catch (error) {
      if (isAbort(error)) return;
      if (error.status === 401) this.wantCredential();
      else if (!quiet || !this.raw) this.failed(error);
      else replace(this.parts.notes, problem(error));
    }
    this.element.removeAttribute('aria-busy');
  }

  take(answer) {
    this.meta = answer.meta;
    this.raw = readCompact(answer);
    this.hottest = null;
    this.viewKey = null;
    this.graphs.hidden = false;
    this.show();
  }

  failed(error) {
    this.raw = null;
    this.graphs.hidden = true;
    this.sandwich.hide();
    replace(this.parts.notes, problem(error, () => this.load()));
    replace(this.parts.foot);
  }

  async loadTimeline() {
    try {
      this.steps = await fetchJson('timeline', '/timeline', this.timelineQuery());
      this.timeline.element.hidden = false;
      this.showTimeline();
    } catch (error) {
      if (!isAbort(error)) this.timeline.element.hidden = true; // the profile says why
    }
  }

  showTimeline() {
    if (!this.steps) return;
    const part = get('part') ? range().map((t) => parseTime(t)) : null;
    this.timeline.set(this.steps, {idle: isOn('idle'), part});
    this.showPart();
  }

  // --- what is shown ---

  show() {
    const options = {lines: isOn('lines'), native: isOn('native', true), fold: isOn('fold'),
      inverted: isOn('inverted')};
    const key = JSON.stringify(options);
    if (key !== this.viewKey) {
      this.viewKey = key;
      this.view = viewTree(this.raw, options);
      this.table = functionsOf(this.view.frames);
      this.tree = options.inverted ? invert(this.view) : this.view;
      this.painted = null;
    }
    this.paint();
    this.flame.setRootBelow(get('grow') === 'up');
    this.zoomed = nodeAt(this.tree, get('zoom'));
    this.flame.setZoom(this.zoomed);
    this.find();
    this.showNotes();
    cancelAnimationFrame(this.rest); // the picture first, then what takes its numbers from it
    this.rest = requestAnimationFrame(() => setTimeout(() => this.showRest()));
    this.graphs.setAttribute('data-show', get('show', 'both'));
  }

  showRest() {
    if (!this.raw || !this.element.isConnected) return;
    this.showFunctions();
    this.showSandwich();
  }

  paint() {
    const key = `${get('color', 'module')}`;
    if (this.painted === key) return;
    this.painted = key;
    this.flame.setTree(this.tree, painter(this.tree, get('color', 'module')));
  }

  repaint() {
    this.painted = null;
    if (this.raw) this.show();
    if (this.steps) {
      this.timeline.shownKey = 0; // colours of the axes
      this.showTimeline();
    }
  }

  // The functions of what is zoomed; callers of innermost functions are not what is below them.
  showFunctions() {
    this.hottest ??= hottestLines(this.raw);
    const top = isOn('inverted') ? 0 : this.zoomed;
    this.functions.set(isOn('inverted') ? this.view : this.tree, this.table, top, this.hottest,
      {matches: this.matches, unfolded: this.folded()});
  }

  folded() {
    return this.raw.frames.name.filter((name, f) => this.raw.frames.kind[f] === 2 &&
      name === '(other)').length;
  }

  showSandwich() {
    const key = get('fn');
    const id = key ? this.table.first.findIndex((f) => functionKey(this.view.frames, f) === key) : -1;
    if (key && id >= 0) this.sandwich.set(this.view, this.raw, this.table, id);
    else if (key) this.sandwich.missing(key);
    else this.sandwich.hide();
  }

  showNotes() {
    const last = Math.max(0, ...this.meta.series.map((s) => (s.start_ns + s.duration_ns) / 1e9));
    const warning = this.meta.account?.warning;
    replace(this.parts.notes,
      get('until') || get('part') ? null : silence(last, SILENT_AFTER),
      warning ? h('p', {class: 'note warn'}, shown(warning)) : null,
      this.raw.total[0][0] ? null : this.emptyNote());
    this.showFoot(last);
  }

  emptyNote() {
    const {states} = this.meta, waiting = states.waiting ?? 0;
    return h('p', {class: 'note'}, waiting && !isOn('idle')
      ? ['Nothing ran in this time: all of ', plural(waiting, 'sample'), ' waited. ',
        h('a', {href: address({idle: '1'})}, 'Show what waited'), ' or ',
        h('a', {href: address({view: 'threads'})}, 'what each thread waits for now'), '.']
      : 'No sample is selected. A switch above may exclude all of them.');
  }

  showFoot() {
    const {series, account, states} = this.meta, total = this.raw.total;
    const quality = {};
    for (const {quality: q} of series)
      for (const [key, n] of Object.entries(q)) quality[key] = (quality[key] ?? 0) + n;
    const missing = ['failed', 'lost', 'late'].filter((key) => quality[key]);
    replace(this.parts.foot, h('p', {class: 'foot'},
      `${plural(total[1][0], 'sample')}${this.raw.unit === 'seconds'
        ? ` (${duration(total[0][0])} of thread time)` : ''} of ${plural(series.length, 'process',
        'processes')}; ${count(quality.clean ?? 0)} clean, ${count(quality.paused ?? 0)} with a pause, ` +
      `${count(quality.salvaged ?? 0)} in part; ` +
      (missing.length ? missing.map((key) => `${count(quality[key])} ${key}`).join(', ') + '. '
        : 'none missing. '),
      !isOn('idle') && states.waiting ? `${count(states.waiting)} idle samples are not shown. ` : '',
      account?.text ? shown(account.text) : ''));
  }

  showChosen() {
    const name = fileName([...getAll('service'), ...getAll('pod'), ...getAll('pid')]);
    replace(this.parts.chosen, h('div', {class: 'chosen'}, chips(), h('div', {class: 'spring'}),
      h('div', {class: 'actions'},
        copyButton('Copy link', () => location.href, 'Link', 'The address holds this whole view'),
        copyButton('Copy curl', () => curl('/profiles', this.query({format: 'svg'}), `${name}.svg`),
          'Command', 'The same as a command'),
        h('button', {type: 'button', onclick: () =>
          openDownloads('/profiles', (format) => this.query({format}), name)}, 'Download'),
        speedscopeLink(this.query({format: 'speedscope'})))));
  }

  showPart() {
    const part = get('part');
    replace(this.parts.partLine, part ? h('p', {class: 'part'},
      h('span', {class: 'chip'}, describeRange(...range()), h('button', {type: 'button',
        'aria-label': 'The whole time', onclick: () => go({part: ''})}, '×')),
      h('button', {type: 'button', onclick: () => {
        const [from, until] = range();
        go({from, until, part: ''});
      }}, 'Enlarge'),
      h('a', {class: 'button', href: this.compareWithBefore()}, 'Compare with before'))
      : h('p', {class: 'part muted'}, describeRange(...outer()), ' · drag to choose a part'));
  }

  compareWithBefore() {
    const [from, until] = range().map((t) => parseTime(t));
    return address({view: 'compare', from: isoTime(from), until: isoTime(until), part: '',
      'base.from': isoTime(2 * from - until), 'base.until': isoTime(from)});
  }

  // --- tools ---

  showTools() {
    const flip = (key, label, title, otherwise = false) => toggle(label, isOn(key, otherwise),
      (on) => go({[key]: on === otherwise ? '' : on ? '1' : '0', zoom: key === 'idle' || key === 'gil'
        ? get('zoom') : ''}, {replace: true}), title);
    const focused = this.parts.tools.contains(document.activeElement)
      ? document.activeElement.textContent : null;
    replace(this.parts.tools,
      choice('What is shown', [['both', 'Both'], ['flame', 'Flamegraph'], ['top', 'Functions']],
        get('show', 'both'), (v) => go({show: v === 'both' ? '' : v}, {replace: true})),
      choice('Detail', [['', 'Functions', 'One frame for a function'], ['1', 'Lines',
        'One frame for each line']], get('lines'), (v) => go({lines: v, zoom: ''}, {replace: true})),
      choice('Colours', COLORINGS, get('color', 'module'),
        (v) => go({color: v === 'module' ? '' : v}, {replace: true})),
      choice('Direction', [['', 'Icicle', 'The root on top'], ['up', 'Flame', 'The root below']],
        get('grow'), (v) => go({grow: v}, {replace: true})),
      h('div', {class: 'choice', role: 'group', 'aria-label': 'Switches'},
        flip('inverted', 'Inverted', 'Innermost functions first, their callers below (i)'),
        flip('fold', 'Fold libraries', 'The frames of a library as one (f)'),
        flip('idle', 'Idle', 'Also threads that wait'),
        flip('gil', 'GIL only', 'Only samples that held the GIL'),
        flip('native', 'Native', 'Also frames of native code', true),
        flip('threads', 'Threads', 'A frame for each thread'),
        flip('processes', 'Processes', 'A frame for each process')),
      get('color') === 'state' ? h('div', {class: 'legend'}, STATES.map(([key, label]) =>
        h('span', {class: 'legend-item'}, h('i', {class: `swatch swatch-${key}`}), label)))
        : get('color', 'module') === 'module' ? h('div', {class: 'legend'},
          [['app', 'Application'], ['library', 'Libraries'], ['standard', 'Standard library'],
            ['native', 'Native']].map(([key, label]) => h('span', {class: 'legend-item'},
            h('i', {class: `swatch swatch-${key}`}), label))) : null);
    if (focused) [...this.parts.tools.querySelectorAll('button')].find((b) =>
      b.textContent === focused)?.focus();
  }

  typed() {
    this.find();
    if (this.raw) this.showFunctions();
    this.remember();
  }

  find() {
    const text = this.search.value;
    this.matches = null;
    this.search.removeAttribute('aria-invalid');
    if (!text || !this.tree) {
      replace(this.parts.found);
    } else {
      try {
        const found = searchTree(this.tree, new RegExp(text, 'i'), this.zoomed);
        this.matches = found.matches;
        replace(this.parts.found, found.n ? `${(found.share * 100).toFixed(1)} % of what is shown`
          : 'no match');
      } catch {
        this.search.setAttribute('aria-invalid', 'true');
        replace(this.parts.found, 'This is not yet a regular expression');
      }
    }
    this.flame.setMatches(this.matches);
  }

  searchKey(event) {
    if (event.key !== 'Escape') return;
    if (this.search.value) {
      this.search.value = '';
      this.typed();
    } else {
      this.flame.canvas.focus();
    }
    event.stopPropagation();
  }

  key(event) {
    if (event.key === '/' && event.target !== this.search) {
      this.search.focus();
      this.search.select();
      return true;
    }
    if (event.target.closest?.('input, select, textarea, dialog')) return false;
    if (event.key === 'i') go({inverted: isOn('inverted') ? '' : '1', zoom: ''}, {replace: true});
    else if (event.key === 'f') go({fold: isOn('fold') ? '' : '1', zoom: ''}, {replace: true});
    else if (event.key === 'Escape' && get('fn')) go({fn: ''});
    else if (event.key === 'Escape' && get('zoom')) this.zoomTo(0);
    else return false;
    return true;
  }

  zoomTo(node) {
    go({zoom: node ? pathOf(this.tree, node) : ''}, {replace: true});
    announce(node ? `Zoomed to ${this.flame.describe(node)[0]}` : 'Zoomed out');
  }

  pick(frame) {
    const frames = this.tree.frames;
    if (frames.kind[frame] !== 2) go({fn: functionKey(frames, frame)});
  }

  pickFunction(row) {
    go({fn: functionKey(this.view.frames, row.frame)});
  }
}
