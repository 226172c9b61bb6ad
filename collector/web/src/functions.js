// functions.js - the functions of what the flamegraph shows, with their own parts and their whole
// parts.
import {h, place} from './dom.js';
import {count, duration, percent, shortFile} from './format.js';
import {Rows} from './rows.js';
import {APP, functionKey, ownersOf, topFunctions} from './tree.js';

const ROWS_MAX = 5000;

// set(tree, functions, top node, hottest lines, {matches, unfolded}).
export class Functions {
  constructor({onPick, compares = false}) {
    this.sort = {key: 'self', down: true};
    this.compares = compares;
    this.appOnly = false;
    this.rows = new Rows({label: 'Functions', height: 38, columns: this.columns(),
      onSort: (key) => this.sortBy(key), onOpen: (row) => onPick(row),
      rowProps: (row) => ({class: row.owner === APP ? 'app' : ''})});
    this.note = h('p', {class: 'muted small'});
    this.only = h('label', {class: 'check'}, h('input', {type: 'checkbox', onchange: (event) => {
      this.appOnly = event.target.checked;
      this.show();
    }}), 'Application only');
    this.element = h('div', {class: 'functions'}, h('div', {class: 'functions-head'}, this.only, this.note),
      this.rows.element);
  }

  close() {
    this.rows.close();
  }

  columns() {
    const amount = (row, value) => this.unit === 'seconds' ? duration(value) : count(value);
    const share = (value) => place(h('span', {class: 'bar'}, place(h('i', {'aria-hidden': 'true'}),
      {width: `${Math.min(value / this.whole, 1) * 100}%`}), h('b', null, percent(value / this.whole))), {});
    return [
      {key: 'self', label: 'Self', class: 'number', title: 'Time in the function itself',
        cell: (row) => h('span', {title: amount(row, row.self[0])}, share(row.self[0]))},
      {key: 'total', label: 'Total', class: 'number', title: 'Time in it and what it calls',
        cell: (row) => h('span', {title: amount(row, row.total[0])}, share(row.total[0]))},
      {key: 'name', label: 'Function', class: 'name', cell: (row) => h('div', {class: 'two'},
        h('button', {type: 'button', class: 'plain', tabindex: -1, title: row.name,
          onclick: () => this.rows.onOpen(row)}, row.name),
        h('span', {class: 'where', title: `${row.file}${row.line ? `:${row.line}` : ''}`},
          row.file ? `${shortFile(row.file)}${row.line ? `:${row.line}` : ''}` : ''))},
    ];
  }

  sortBy(key) {
    this.sort = {key, down: this.sort.key === key ? !this.sort.down : key !== 'name'};
    this.show();
  }

  set(tree, functions, top, hottest, {matches, unfolded}) {
    this.unit = tree.unit;
    this.whole = tree.total[0][top] || 1;
    const {owner} = ownersOf(tree.frames), {frames} = tree;
    this.all = topFunctions(tree, functions, top).map((row) => ({
      ...row, name: frames.name[row.frame], file: frames.file[row.frame], owner: owner[row.frame],
      line: frames.line[row.frame] || hottest?.get(functionKey(frames, row.frame))?.line || 0,
      matched: matches ? matches[row.frame] : 1,
    }));
    this.unfolded = unfolded;
    this.show();
  }

  show() {
    const {key, down} = this.sort, sign = down ? -1 : 1;
    const of = key === 'name' ? (row) => row.name.toLowerCase() : (row) => row[key][0];
    const list = (this.all ?? []).filter((row) => row.matched && (!this.appOnly || row.owner === APP));
    list.sort((a, b) => of(a) < of(b) ? -sign : of(a) > of(b) ? sign : b.total[0] - a.total[0]);
    this.note.textContent = `${count(list.length)} functions` +
      (list.length > ROWS_MAX ? `, ${count(ROWS_MAX)} shown` : '') +
      (this.unfolded ? '; the smallest frames are folded: choose less to see all' : '');
    this.rows.set(list.slice(0, ROWS_MAX), this.sort);
  }
}
