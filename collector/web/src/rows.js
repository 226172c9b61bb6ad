// rows.js - a table that makes only the rows that are seen. Thousands of rows cost a screenful.
import {h, place, replace} from './dom.js';

// columns: {key, label, title, class, cell(row) -> node or text, sorts: true} each.
// new Rows({label, columns, height, role, onSort(key), onOpen(row), rowProps(row)}); set(rows, sort).
// sort: {key, down}. The chosen row has the keyboard's focus: one tab stop for the table.
export class Rows {
  constructor({label, columns, height = 30, role = 'grid', onSort, onOpen, onFold, rowProps}) {
    Object.assign(this, {columns, height, onSort, onOpen, onFold, rowProps});
    this.rows = [];
    this.chosen = 0;
    this.shown = new Map(); // index -> element
    this.head = h('div', {role: 'row', class: 'row head', 'aria-rowindex': 1});
    this.body = h('div', {role: 'rowgroup', class: 'rows-body'});
    this.box = h('div', {class: 'rows-box', role, 'aria-label': label, tabindex: -1,
      onscroll: () => this.later(), onkeydown: (event) => this.pressed(event)},
    h('div', {role: 'rowgroup', class: 'rows-head'}, this.head), this.body);
    this.element = this.box;
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.box);
  }

  close() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  set(rows, sort, {top = false} = {}) {
    this.rows = rows;
    this.sort = sort;
    this.box.setAttribute('aria-rowcount', rows.length + 1);
    this.chosen = Math.min(this.chosen, Math.max(rows.length - 1, 0));
    if (top) this.box.scrollTop = this.chosen = 0;
    this.drawHead();
    this.forget();
    this.draw();
  }

  drawHead() {
    replace(this.head, this.columns.map((column) => {
      const sorted = this.sort?.key === column.key;
      return h('div', {
        role: 'columnheader', class: `cell ${column.class ?? ''}`, title: column.title,
        'aria-sort': sorted ? (this.sort.down ? 'descending' : 'ascending') : null,
      }, column.sorts === false || !this.onSort ? column.label : h('button', {
        type: 'button', class: 'sorter', onclick: () => this.onSort(column.key),
      }, column.label, h('span', {class: 'arrow', 'aria-hidden': 'true'},
        sorted ? (this.sort.down ? '▾' : '▴') : '')));
    }));
  }

  forget() {
    this.refocus = this.body.contains(document.activeElement);
    for (const element of this.shown.values()) element.remove();
    this.shown.clear();
  }

  later() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const {height, rows} = this, extra = 6;
    const room = this.box.clientHeight || 400;
    const first = Math.max(Math.floor(this.box.scrollTop / height) - extra, 0);
    const last = Math.min(first + Math.ceil(room / height) + 2 * extra, rows.length);
    place(this.body, {height: `${rows.length * height}px`});
    for (const [index, element] of this.shown)
      if ((index < first || index >= last) && index !== this.chosen) {
        element.remove();
        this.shown.delete(index);
      }
    for (let index = first; index < last; index++) this.show(index);
    if (rows.length) this.show(this.chosen);
    if (this.refocus) {
      this.refocus = false;
      this.shown.get(this.chosen)?.focus({preventScroll: true});
    }
  }

  show(index) {
    if (this.shown.has(index)) return;
    const row = this.rows[index], props = this.rowProps?.(row) ?? {};
    const element = h('div', {
      role: 'row', 'aria-rowindex': index + 2, tabindex: index === this.chosen ? 0 : -1, ...props,
      class: `row ${props.class ?? ''}`,
      onclick: (event) => this.clicked(event, index), onfocus: () => this.choose(index),
    }, this.columns.map((column) => h('div', {
      role: 'gridcell', class: `cell ${column.class ?? ''}`,
    }, column.cell(row))));
    place(element, {transform: `translateY(${index * this.height}px)`, height: `${this.height}px`});
    this.shown.set(index, element);
    this.body.append(element);
  }

  clicked(event, index) {
    if (event.target.closest('a, button, input')) return;
    if (getSelection()?.toString()) return; // text was being marked
    this.choose(index);
    this.onOpen?.(this.rows[index], event);
  }

  choose(index) {
    this.shown.get(this.chosen)?.setAttribute('tabindex', -1);
    this.chosen = index;
    this.shown.get(index)?.setAttribute('tabindex', 0);
  }

  focus(index = this.chosen) {
    if (!this.rows.length) return;
    this.choose(Math.max(0, Math.min(index, this.rows.length - 1)));
    const y = this.chosen * this.height, room = this.box.clientHeight - this.head.offsetHeight;
    if (y < this.box.scrollTop) this.box.scrollTop = y;
    else if (y + this.height > this.box.scrollTop + room)
      this.box.scrollTop = y + this.height - room;
    this.draw();
    this.shown.get(this.chosen)?.focus({preventScroll: true});
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.closest('.rows-body')) return;
    const page = Math.max(Math.floor(this.box.clientHeight / this.height) - 2, 1);
    const to = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.rows.length,
      End: this.rows.length}[event.key];
    const onRow = event.target.getAttribute('role') === 'row';
    if (to) this.focus(this.chosen + to);
    else if (event.key === 'Enter' && onRow) this.onOpen?.(this.rows[this.chosen], event);
    else if ((event.key === 'ArrowRight' || event.key === 'ArrowLeft') && this.onFold)
      this.onFold(this.rows[this.chosen], event.key === 'ArrowRight');
    else return;
    event.preventDefault();
  }
}
