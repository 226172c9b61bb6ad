// threads.js - what each thread does in the latest window of its process: the page of the hung pod.
import {h, replace, select, toggle} from '../dom.js';
import {curl, fetchJson, isAbort} from '../api.js';
import {address, get, getAll, go, isOn, selection} from '../state.js';
import {count, dayAndClock, percent, plural, shortCommand, shortFile, shown} from '../format.js';
import {chips, problem, silence} from '../bar.js';
import {SILENT_AFTER} from '../pods.js';
import {copyButton} from '../share.js';
import {partsOf} from '../timeline.js';
import {STATES} from '../colors.js';
import {APP, ownerOf} from '../tree.js';

const STACKS = 10; // of a thread; the least that is answered

export class ThreadsView {
  constructor({wantCredential}) {
    this.wantCredential = wantCredential;
    this.search = h('input', {type: 'search', class: 'search', 'aria-label': 'Search threads and frames',
      placeholder: 'Search threads, functions, files', spellcheck: 'false', autocomplete: 'off',
      oninput: () => {
        go({find: this.search.value}, {replace: true});
      }});
    this.chosen = h('div');
    this.notes = h('div');
    this.tools = h('div', {class: 'part-tools'});
    this.list = h('div', {class: 'threads-list'});
    this.element = h('section', {class: 'view threads', 'aria-label': 'Threads now'},
      h('h1', {class: 'unseen'}, 'Threads now'), this.chosen,
      h('div', {class: 'tools'}, this.search, this.tools), this.notes, this.list);
  }

  close() {}

  key(event) {
    if (event.key !== '/' || event.target === this.search) return false;
    this.search.focus();
    return true;
  }

  query(format) {
    const query = selection({whole: true});
    if (!isOn('idle', true)) query.set('idle', 0);
    if (!isOn('native', true)) query.set('native', 0);
    query.set('max_nodes', STACKS);
    if (format) query.set('format', format);
    return query;
  }

  update() {
    if (document.activeElement !== this.search) this.search.value = get('find');
    replace(this.chosen, h('div', {class: 'chosen'}, chips(), h('div', {class: 'spring'}),
      h('div', {class: 'actions'}, copyButton('Copy link', () => location.href, 'Link'),
        copyButton('Copy curl', () => curl('/stacks', this.query('text')), 'Command'))));
    const flip = (key, label, title) => toggle(label, isOn(key, true), (on) =>
      go({[key]: on ? '' : '0'}, {replace: true}), title);
    replace(this.tools, h('div', {class: 'choice', role: 'group', 'aria-label': 'Switches'},
      flip('idle', 'Idle', 'Also threads that wait'), flip('native', 'Native', 'Also native frames')),
    select('Order', [['wait', 'who waits first'], ['busy', 'who is busy first'], ['', 'as listed']],
      get('order'), (order) => go({order}, {replace: true})));
    const asked = this.query().toString();
    if (asked !== this.asked) {
      this.asked = asked;
      this.load();
    } else {
      this.show();
    }
  }

  refresh() {
    this.load(true);
  }

  async load(quiet) {
    try {
      this.answer = await fetchJson('stacks', '/stacks', this.query());
      this.show();
    } catch (error) {
      if (isAbort(error)) return;
      if (error.status === 401) return void this.wantCredential('The collector did not accept that token.');
      if (!quiet) replace(this.list);
      replace(this.notes, problem(error, () => this.load()));
    }
  }

  show() {
    if (!this.answer) return;
    const {processes, processes_in_all: all} = this.answer;
    const last = Math.max(0, ...processes.map((p) => Date.parse(p.until) / 1000));
    replace(this.notes, get('until') ? null : silence(last, SILENT_AFTER),
      all > processes.length ? h('p', {class: 'note'}, `The latest ${processes.length} of ` +
        `${count(all)} processes are shown: `, h('a', {href: address({view: 'pods'})}, 'choose a pod')) : null);
    const words = this.search.value.toLowerCase();
    replace(this.list, processes.map((p) => this.processOf(p, words)).filter(Boolean));
    if (!this.list.childElementCount) replace(this.list, h('p', {class: 'muted'}, 'No thread matches.'));
  }

  processOf(process, words) {
    const {labels} = process, pid = labels['process.pid'] ?? '';
    const order = get('order'), sign = order === 'busy' ? -1 : 1;
    let threads = process.threads.filter((thread) => !words || textOf(thread).includes(words));
    if (!threads.length && (words || !process.problem)) return null;
    if (order) threads = [...threads].sort((a, b) => sign * (busyOf(a) - busyOf(b)));
    return h('section', {class: 'process'}, h('h2', null,
      shown(shortCommand(labels['process.command'] ?? '') || 'process'), ` (${pid})`,
      h('span', {class: 'detail'}, [labels['k8s.namespace.name'], labels['k8s.pod.name'],
        labels['k8s.container.name']].filter(Boolean).map(shown).join(' / '),
      ` · window until ${dayAndClock(Date.parse(process.until) / 1000)}`),
      h('a', {class: 'button', href: address({view: 'profile', pod: labels['k8s.pod.name'] ?? getAll('pod'),
        pid})}, 'Profile')),
    process.problem ? h('p', {class: 'note warn'}, shown(process.problem)) : null,
    threads.map((thread) => this.threadOf(thread)));
  }

  threadOf(thread) {
    const first = thread.stacks[0];
    return h('article', {class: 'thread'}, h('h3', null, shown(thread.name || 'thread'), ' ',
      h('span', {class: 'detail'}, String(thread.tid)), ' ', stateBar(thread)),
    h('p', {class: 'verdict'}, verdictOf(thread)),
    thread.stacks.map((stack) => h('details', {open: stack === first}, h('summary', null,
      percent(stack.samples / thread.samples), ' ', wordOf(stack), ' in ',
      h('code', null, shown(stack.frames[0]?.name ?? 'no Python code'))),
    h('ol', {class: 'stack'}, stack.frames.map(frameRow)))),
    thread.other_samples ? h('p', {class: 'muted small'},
      `${plural(thread.other_samples, 'sample')} in other stacks`) : null);
  }
}

function frameRow({name, file, line}) {
  const owner = whose({name, file});
  return h('li', {class: owner === APP ? 'app' : ''}, h('code', null, shown(name)), file
    ? h('span', {class: 'where', title: file}, `${shown(shortFile(file))}${line ? `:${line}` : ''}`) : null);
}

// The answer does not say what kind a frame is; its file does.
function whose({name, file}) {
  const kind = !file ? /^[[(]/.test(name) ? 2 : 1 : /\.pyx?$|^</.test(file) ? 0 : 1;
  return ownerOf(kind, file ?? '', name)[0];
}

const textOf = (thread) => [thread.name, thread.tid, ...thread.stacks.flatMap((s) =>
  s.frames.flatMap((f) => [f.name, f.file]))].join('\n').toLowerCase();

const busyOf = ({states, samples}) => ((states.running ?? 0) + (states.runnable ?? 0)) / (samples || 1);

const WORDS = {held: 'running with the GIL', running: 'running', gil: 'waiting for the GIL',
  cpu: 'waiting for a CPU', gc: 'collecting garbage', idle: 'waiting'};

function wordOf(counted) {
  const parts = partsOf(counted);
  return WORDS[Object.keys(parts).reduce((a, b) => parts[b] > parts[a] ? b : a)];
}

// In a sentence: what the thread does, and where the application asked for it.
function verdictOf(thread) {
  const stack = thread.stacks[0];
  if (!stack) return 'No stack was seen.';
  const app = stack.frames.find((f) => whose(f) === APP && f.file);
  const share = stack.samples / thread.samples;
  return [`${share > 0.99 ? 'All the time' : percent(share)} ${wordOf(stack)} in `,
    h('code', null, shown(stack.frames[0]?.name ?? '?')), app && app !== stack.frames[0]
      ? [', called from ', h('code', null, shown(app.name)),
        ` (${shown(shortFile(app.file))}${app.line ? `:${app.line}` : ''})`] : ''];
}

function stateBar(thread) {
  const parts = partsOf(thread), all = Object.values(parts).reduce((a, b) => a + b, 0) || 1;
  const list = STATES.filter(([key]) => parts[key]);
  const text = list.map(([key, label]) => `${label} ${percent(parts[key] / all)}`).join(', ');
  return h('span', {class: 'states', role: 'img', 'aria-label': text, title: text}, list.map(([key]) => {
    const part = h('i', {class: `swatch-${key}`});
    part.style.setProperty('flex-grow', parts[key]);
    return part;
  }));
}
