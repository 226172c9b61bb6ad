// flame.js - the flamegraph, on a canvas of the size of what is seen. A frame narrower than a pixel
// is drawn only if it is the first in its pixel, so the work follows the screen, not the tree.
import {h, announce, place} from './dom.js';
import {count, duration, percent, shortFile} from './format.js';
import {STATES} from './colors.js';
import {MARKER, STATE_KEYS, STATES_FROM} from './tree.js';

const ROW = 19;
const TEXT_MIN = 26; // pixels from which on a frame bears its name
const FONT = '12px system-ui, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif';

// new Flame({label, onZoom(node), onPick(frame, node), measure}); setTree(tree, paint), setZoom(node),
// setMatches(bytes or null), setTop(inverted).
export class Flame {
  constructor({label, onZoom, onPick, measure = 0}) {
    Object.assign(this, {onZoom, onPick, measure});
    this.tree = null;
    this.zoom = this.focus = 0;
    this.hover = -1;
    this.matches = null;
    this.rootBelow = this.scrollToRoot = false;
    this.widths = new Map();
    this.build(label);
  }

  build(label) {
    this.canvas = h('canvas', {
      class: 'flame-canvas', tabindex: 0, role: 'img', 'aria-label': label,
      'aria-keyshortcuts': 'ArrowUp ArrowDown ArrowLeft ArrowRight Enter Escape',
      onmousemove: (event) => this.moved(event), onmouseleave: () => this.left(),
      onclick: (event) => this.clicked(event), onkeydown: (event) => this.pressed(event),
      ondblclick: (event) => event.preventDefault(),
      oncontextmenu: (event) => this.asked(event),
      onfocus: () => this.draw(), onblur: () => this.draw(),
    });
    this.spacer = h('div', {class: 'flame-spacer'});
    this.box = h('div', {class: 'flame-box', onscroll: () => this.later()}, this.canvas, this.spacer);
    this.tip = h('div', {class: 'tip', hidden: true});
    this.line = h('div', {class: 'flame-line'}, ' ');
    this.element = h('div', {class: 'flame'}, this.line, this.box, this.tip);
    this.context = this.canvas.getContext('2d', {alpha: false});
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.box);
  }

  close() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  setTree(tree, paint) {
    this.tree = tree;
    this.paint = paint;
    this.widths.clear();
    this.hover = -1;
    this.zoom = Math.min(this.zoom, tree.n - 1);
    this.focus = this.zoom;
    this.layOut();
    this.later();
  }

  // The nodes of each depth, from left to right.
  layOut() {
    const {n, depth, height} = this.tree, sizes = new Uint32Array(height);
    for (let i = 0; i < n; i++) sizes[depth[i]]++;
    this.rows = Array.from(sizes, (size) => new Uint32Array(size));
    sizes.fill(0);
    for (let i = 0; i < n; i++) this.rows[depth[i]][sizes[depth[i]]++] = i;
  }

  setZoom(node) {
    this.zoom = this.focus = node;
    this.later();
    this.show(node);
  }

  setMatches(matches) {
    this.matches = matches;
    this.later();
  }

  setRootBelow(below) {
    if (below !== this.rootBelow) this.scrollToRoot = true;
    this.rootBelow = below;
    this.later();
  }

  // --- drawing ---

  later() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  // The rows below the zoomed node only: what is taller than the box scrolls.
  zoomedHeight() {
    const {tree, zoom} = this;
    let deepest = tree.depth[zoom];
    if (!zoom) return tree.height;
    for (let i = zoom; i < tree.end[zoom]; i++) if (tree.depth[i] > deepest) deepest = tree.depth[i];
    return deepest + 1;
  }

  fit() {
    const ratio = devicePixelRatio || 1;
    const width = this.box.clientWidth, height = this.box.clientHeight;
    if (this.canvas.width !== Math.round(width * ratio) ||
        this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      place(this.canvas, {width: `${width}px`, height: `${height}px`});
    }
    this.depths = this.zoomedHeight();
    place(this.spacer, {height: `${Math.max(this.depths * ROW - height, 0)}px`});
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.width = width;
    this.height = height;
  }

  rowTop(depth) {
    const top = this.rootBelow
      ? Math.max(this.depths * ROW, this.height) - (depth + 1) * ROW : depth * ROW;
    return top - this.box.scrollTop;
  }

  draw() {
    if (!this.tree || !this.box.clientWidth) return;
    this.fit();
    if (this.scrollToRoot) this.box.scrollTop = this.rootBelow ? this.box.scrollHeight : 0;
    this.scrollToRoot = false;
    const style = getComputedStyle(this.box), c = this.context;
    this.colors = {
      ground: style.getPropertyValue('--ground').trim(), ink: style.getPropertyValue('--flame-ink').trim(),
      match: style.getPropertyValue('--match').trim(), edge: style.getPropertyValue('--accent').trim(),
      faint: style.getPropertyValue('--flame-faint').trim(),
    };
    c.fillStyle = this.colors.ground;
    c.fillRect(0, 0, this.width, this.height);
    c.font = FONT;
    c.textBaseline = 'middle';
    for (let d = 0; d < this.depths; d++) {
      const y = this.rowTop(d);
      if (y > -ROW && y < this.height) this.drawRow(d, y);
    }
    this.drawFocus();
  }

  // Where nodes begin and how wide they are; a tree may have places of its own.
  places() {
    const {tree, measure} = this;
    return tree.layout ?? {start: tree.start[measure], total: tree.total[measure]};
  }

  // Where the picture begins, and pixels for each unit.
  scale() {
    const {start, total} = this.places(), {zoom} = this;
    return {origin: start[zoom], by: total[zoom] ? this.width / total[zoom] : 0, start, size: total};
  }

  drawRow(d, y) {
    const {tree, zoom} = this, row = this.rows[d];
    if (d < tree.depth[zoom]) {
      this.drawCaller(d, y);
      return;
    }
    const {origin, by, start, size} = this.scale(), last = tree.end[zoom], texts = [];
    let painted = -1;
    for (let k = lowerBound(row, zoom); k < row.length && row[k] < last; k++) {
      const i = row[k], x = (start[i] - origin) * by, right = x + size[i] * by;
      if (!size[i]) continue;
      const matched = this.matches?.[tree.frame[i]];
      if (right <= painted && !matched) continue;
      const left = Math.max(Math.floor(x * 2) / 2, 0);
      const width = Math.max(right - left - (right - left > 3 ? 1 : 0), 0.75);
      this.context.fillStyle = this.fillOf(i, matched);
      this.context.fillRect(left, y, width, ROW - 1);
      painted = Math.ceil(right);
      if (width >= TEXT_MIN) texts.push(i, left, width);
    }
    for (let t = 0; t < texts.length; t += 3) this.drawText(texts[t], texts[t + 1], texts[t + 2], y);
  }

  fillOf(i, matched) {
    if (!this.matches) return this.paint(i);
    return matched ? this.colors.match : this.colors.faint;
  }

  // A frame above the zoomed one spans all of the width.
  drawCaller(d, y) {
    let i = this.zoom;
    while (this.tree.depth[i] > d) i = this.tree.parent[i];
    this.context.globalAlpha = 0.45;
    this.context.fillStyle = this.fillOf(i, this.matches?.[this.tree.frame[i]]);
    this.context.fillRect(0, y, this.width, ROW - 1);
    this.context.globalAlpha = 1;
    this.drawText(i, 0, this.width, y);
  }

  drawText(i, left, width, y) {
    const frames = this.tree.frames, f = this.tree.frame[i], c = this.context;
    c.fillStyle = this.colors.ink;
    const name = frames.name[f], room = width - 8;
    let text = this.cut(name, room);
    c.fillText(text, left + 4, y + ROW / 2);
    if (text !== name || !frames.file[f] || frames.kind[f] === MARKER) return;
    const used = this.widthOf(name);
    if (room - used < 50) return;
    const line = frames.line[f];
    text = this.cut(`${shortFile(frames.file[f])}${line ? `:${line}` : ''}`, room - used - 8);
    c.globalAlpha = 0.72;
    if (text.length > 4) c.fillText(text, left + 12 + used, y + ROW / 2);
    c.globalAlpha = 1;
  }

  widthOf(text) {
    let width = this.widths.get(text);
    if (width === undefined) {
      width = this.context.measureText(text).width;
      if (this.widths.size > 20000) this.widths.clear();
      this.widths.set(text, width);
    }
    return width;
  }

  cut(text, room) {
    if (text.length > 200) text = `${text.slice(0, 199)}…`;
    const width = this.widthOf(text);
    if (width <= room) return text;
    const keep = Math.floor(text.length * room / width) - 1;
    return keep > 1 ? `${text.slice(0, keep)}…` : '';
  }

  drawFocus() {
    const c = this.context;
    for (const [i, color, width] of [[this.hover, this.colors.ink, 1],
      [document.activeElement === this.canvas ? this.focus : -1, this.colors.edge, 2]]) {
      if (i < 0) continue;
      const {x, w} = this.spanOf(i), y = this.rowTop(this.tree.depth[i]);
      c.strokeStyle = color;
      c.lineWidth = width;
      c.strokeRect(x + width / 2, y + width / 2, Math.max(w - width - 1, 1), ROW - 1 - width);
    }
  }

  spanOf(i) {
    const {origin, by, start, size} = this.scale(), {depth} = this.tree;
    if (depth[i] < depth[this.zoom]) return {x: 0, w: this.width};
    return {x: (start[i] - origin) * by, w: size[i] * by};
  }

  // --- pointing ---

  nodeUnder(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const x = event.clientX - bounds.left, y = event.clientY - bounds.top + this.box.scrollTop;
    const rows = Math.max(this.depths * ROW, this.rootBelow ? this.height : 0);
    const d = Math.floor((this.rootBelow ? rows - y : y) / ROW);
    return d < 0 || d >= this.depths ? -1 : this.nodeIn(d, x);
  }

  nodeIn(d, x) {
    const {tree, zoom} = this;
    if (d < tree.depth[zoom]) {
      let i = zoom;
      while (tree.depth[i] > d) i = tree.parent[i];
      return i;
    }
    const {origin, by, start, size} = this.scale(), at = origin + x / by, row = this.rows[d];
    let low = lowerBound(row, zoom), high = lowerBound(row, tree.end[zoom]);
    const first = low;
    while (low < high) { // the first that begins after `at`
      const middle = (low + high) >> 1;
      if (start[row[middle]] > at) high = middle;
      else low = middle + 1;
    }
    const i = low > first ? row[low - 1] : -1, slack = by ? 1 / by : 0;
    return i >= 0 && at <= start[i] + Math.max(size[i], slack) ? i : -1;
  }

  moved(event) {
    if (!this.tree) return;
    const i = this.nodeUnder(event);
    if (i !== this.hover) {
      this.hover = i;
      this.later();
      if (i >= 0) this.show(i);
    }
    this.tip.hidden = i < 0;
    this.canvas.classList.toggle('over', i >= 0);
    if (i < 0) return;
    const bounds = this.element.getBoundingClientRect();
    const x = event.clientX - bounds.left, y = event.clientY - bounds.top;
    const right = x > bounds.width / 2;
    place(this.tip, {
      left: right ? 'auto' : `${x + 14}px`, right: right ? `${bounds.width - x + 14}px` : 'auto',
      top: `${y + 16}px`,
    });
  }

  left() {
    this.hover = -1;
    this.tip.hidden = true;
    this.later();
    if (this.tree) this.show(this.zoom);
  }

  show(i) {
    const [name, where, numbers] = this.describe(i);
    this.line.replaceChildren(h('strong', null, name), ' ', h('span', {class: 'where'}, where), ' ',
      h('span', {class: 'numbers'}, numbers));
    this.tip.replaceChildren(h('strong', null, name), h('div', {class: 'where'}, where),
      h('div', null, numbers));
  }

  describe(i) {
    const {tree} = this, f = tree.frame[i], {name, file, line, kind} = tree.frames;
    const where = file[f] && kind[f] !== MARKER ? `${file[f]}${line[f] ? `:${line[f]}` : ''}` : '';
    if (tree.compared) {
      const share = (m, column) => percent(tree[column][m][i] / tree.total[m][0]);
      return [name[f], where, `${share(0, 'total')} → ${share(1, 'total')}, ` +
        `itself ${share(0, 'self')} → ${share(1, 'self')}`];
    }
    const total = tree.total[0][i], all = tree.total[0][0] || 1, shown = tree.total[0][this.zoom];
    const amount = (v) => tree.unit === 'seconds' ? duration(v) : `${count(v)} samples`;
    const part = this.zoom && i !== this.zoom && i > this.zoom
      ? `, ${percent(total / shown)} of what is shown` : '';
    return [name[f], where, `${percent(total / all)}${part}: ${amount(total)}, itself ` +
      `${amount(tree.self[0][i])}, ${count(tree.total[1][i])} samples${statesOf(tree, i)}`];
  }

  clicked(event) {
    const i = this.nodeUnder(event);
    if (i < 0) return;
    this.focus = i;
    if (event.shiftKey || event.altKey) this.onPick?.(this.tree.frame[i], i);
    else this.onZoom?.(i);
  }

  asked(event) {
    const i = this.nodeUnder(event);
    if (i < 0 || !this.onPick) return;
    event.preventDefault();
    this.onPick(this.tree.frame[i], i);
  }

  // --- keys ---

  pressed(event) {
    if (!this.tree || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = {
      ArrowDown: () => this.rootBelow ? this.parentOf() : this.childOf(),
      ArrowUp: () => this.rootBelow ? this.childOf() : this.parentOf(),
      ArrowLeft: () => this.besideOf(-1), ArrowRight: () => this.besideOf(1),
    }[event.key];
    if (step) this.moveTo(step());
    else if (event.key === 'Enter' && !event.shiftKey) this.onZoom?.(this.focus);
    else if (event.key === 'Enter' || event.key === ' ') this.onPick?.(this.tree.frame[this.focus], this.focus);
    else if (event.key === 'Escape' && this.zoom) this.onZoom?.(0);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  parentOf() {
    return Math.max(this.tree.parent[this.focus], 0);
  }

  // The widest callee.
  childOf() {
    const {tree, focus} = this, {total} = this.places();
    let best = focus;
    for (let i = focus + 1; i < tree.end[focus]; i = tree.end[i])
      if (best === focus || total[i] > total[best]) best = i;
    return best;
  }

  // The next frame of the row that can be seen.
  besideOf(step) {
    const {tree, focus} = this, row = this.rows[tree.depth[focus]];
    const {by, size} = this.scale();
    for (let k = lowerBound(row, focus) + step; k >= 0 && k < row.length; k += step) {
      if (row[k] < this.zoom || row[k] >= tree.end[this.zoom]) break;
      if (size[row[k]] * by >= 1) return row[k];
    }
    return focus;
  }

  moveTo(i) {
    this.focus = i;
    const top = this.rowTop(this.tree.depth[i]);
    if (top < 0) this.box.scrollTop += top;
    else if (top > this.height - ROW) this.box.scrollTop += top - this.height + ROW;
    this.draw();
    this.show(i);
    announce(this.describe(i).filter(Boolean).join(', '));
  }
}

function statesOf(tree, i) {
  if (tree.total.length <= STATES_FROM || !tree.total[0][i]) return '';
  return STATES.map(([key, label]) => [tree.total[STATES_FROM + STATE_KEYS.indexOf(key)][i], label])
    .filter(([weight]) => weight).map(([weight, label]) =>
      `; ${label.toLowerCase()} ${percent(weight / tree.total[0][i])}`).join('');
}

// The first place in a sorted row whose node is not below `node`.
function lowerBound(row, node) {
  let low = 0, high = row.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row[middle] < node) low = middle + 1;
    else high = middle;
  }
  return low;
}
