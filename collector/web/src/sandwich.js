// sandwich.js - one function: its lines, who calls it, and what it calls.
import {h, place, replace} from './dom.js';
import {duration, count, percent, shortFile} from './format.js';
import {copyButton} from './share.js';
import {Flame} from './flame.js';
import {painter} from './colors.js';
import {address, get, go} from './state.js';
import {callees, callers, functionKey, functionsOf, linesOf, MARKER, outermost} from './tree.js';

export class Sandwich {
  constructor({onPick}) {
    const pick = (flame) => (frame) => {
      const frames = flame.tree.frames;
      if (frames.kind[frame] !== MARKER) onPick(functionKey(frames, frame));
    };
    const make = (label) => {
      const flame = new Flame({label, onZoom: (node) => pick(flame)(flame.tree.frame[node]),
        onPick: (frame) => pick(flame)(frame)});
      return flame;
    };
    this.callers = make('Callers of the function');
    this.callees = make('What the function calls');
    this.callers.setRootBelow(true);
    this.head = h('div', {class: 'sandwich-head'});
    this.lines = h('div', {class: 'sandwich-lines'});
    this.element = h('section', {class: 'sandwich', hidden: true, 'aria-label': 'One function'}, this.head,
      h('div', {class: 'sandwich-body'}, this.lines, h('div', {class: 'sandwich-flames'},
        h('h3', null, 'Callers'), this.callers.element, h('h3', null, 'Callees'), this.callees.element)));
  }

  close() {
    this.callers.close();
    this.callees.close();
  }

  hide() {
    this.element.hidden = true;
  }

  missing(key) {
    this.element.hidden = false;
    this.element.classList.add('without');
    replace(this.head, h('h2', null, key.split('\t')[0]), h('span', {class: 'muted'},
      'is not in what is shown now'), this.closer());
    replace(this.lines);
  }

  closer() {
    return h('button', {type: 'button', class: 'icon', 'aria-label': 'Close the function',
      onclick: () => go({fn: ''})}, '×');
  }

  // view: the tree as it is shown; raw: with lines; id: the function in functions of view.
  set(view, raw, functions, id) {
    const frame = functions.first[id], {frames} = view;
    const wanted = (f) => functions.of[f] === id;
    this.element.hidden = false;
    this.element.classList.remove('without');
    const whole = view.total[0][0] || 1;
    const total = outermost(view, wanted).reduce((n, i) => n + view.total[0][i], 0);
    let self = 0;
    for (let i = 0; i < view.n; i++) if (wanted(view.frame[i])) self += view.self[0][i];
    this.setHead(frames, frame, {self, total, whole, unit: view.unit});
    this.setLines(raw, frames, frame, whole);
    for (const [flame, build] of [[this.callers, callers], [this.callees, callees]]) {
      const tree = build(view, wanted, frame);
      flame.zoom = 0;
      flame.setTree(tree, painter(tree, 'module'));
      flame.scrollToRoot = true;
    }
  }

  setHead(frames, frame, {self, total, whole, unit}) {
    const amount = (v) => unit === 'seconds' ? duration(v) : `${count(v)} samples`;
    const where = `${frames.file[frame]}${frames.line[frame] ? `:${frames.line[frame]}` : ''}`;
    replace(this.head, h('h2', null, frames.name[frame]), h('span', {class: 'where'}, where),
      h('span', {class: 'numbers'}, `self ${percent(self / whole)} (${amount(self)}), ` +
        `total ${percent(total / whole)} (${amount(total)})`),
      h('div', {class: 'spring'}),
      h('a', {class: 'button', href: address({include: get('include') ? '' : only(frames, frame), zoom: ''}),
        title: 'Only stacks with this function, in the timeline too'},
      get('include') ? 'All stacks again' : 'Only its stacks'),
      copyButton('Copy place', () => where, 'Place'), this.closer());
  }

  setLines(raw, frames, frame, whole) {
    const functions = functionsOf(raw.frames), key = functionKey(frames, frame);
    const id = functions.first.findIndex((f) => functionKey(raw.frames, f) === key);
    const lines = id >= 0 ? linesOf(raw, functions, id).filter(({line}) => line) : [];
    replace(this.lines, lines.length ? h('table', {class: 'lines'}, h('caption', null, 'Lines of ',
      shortFile(frames.file[frame])), h('thead', null, h('tr', null, ['Line', 'Self', 'Total'].map((label) =>
      h('th', {scope: 'col'}, label)))), h('tbody', null, lines.slice(0, 50).map((row, i) =>
      h('tr', {class: i ? '' : 'hottest'}, h('th', {scope: 'row'}, row.line),
        h('td', null, place(h('i', {class: 'under'}), {width: `${row.self / whole * 100}%`}),
          percent(row.self / whole)), h('td', null, percent(row.total / whole))))))
      : h('p', {class: 'muted'}, 'Its lines are not known.'));
  }
}

const only = (frames, frame) =>
  `^${frames.name[frame].replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')} ` +
  `${frames.file[frame].replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`;
