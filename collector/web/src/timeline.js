// timeline.js - what the threads did over time, stacked by state, with what is missing marked. uPlot
// draws it; a range is chosen by dragging.
import uPlot from 'uplot';
import {h, replace} from './dom.js';
import {clock, count, dayAndClock, percent} from './format.js';
import {STATES, stateColor} from './colors.js';

// The samples of one step by STATES. A thread that holds the GIL may be on no CPU, so each part is
// limited by the state that it is a part of.
export function partsOf(step) {
  const {states, gil, gc} = step;
  const running = states.running ?? 0, waiting = (states.waiting ?? 0) + (states.awaiting ?? 0);
  const collecting = Math.min(gc ?? 0, running);
  const held = Math.min(gil.holds ?? 0, running) - Math.min(collecting, gil.holds ?? 0);
  const waits = Math.min(gil.waits ?? 0, waiting);
  return {
    held: Math.max(held, 0), gc: collecting, running: running - Math.max(held, 0) - collecting,
    gil: waits, cpu: states.runnable ?? 0, idle: waiting - waits,
  };
}

// new Timeline({onRange(from, until)}); set(answer, {idle, part: [from, until] or null}).
export class Timeline {
  constructor({onRange}) {
    this.onRange = onRange;
    this.plotBox = h('div', {class: 'timeline-plot'});
    this.legend = h('div', {class: 'legend'});
    this.table = h('div', {class: 'unseen'});
    this.element = h('div', {class: 'timeline'}, this.plotBox, this.legend, this.table);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.plotBox);
  }

  close() {
    this.observer.disconnect();
    this.plot?.destroy();
  }

  resize() {
    const width = this.plotBox.clientWidth;
    if (this.plot && width && this.plot.width !== width)
      this.plot.setSize({width, height: this.plot.height});
  }

  set(answer, {idle, part}) {
    this.answer = answer;
    this.part = part;
    this.shown = STATES.filter(([key]) => key !== 'idle' || idle);
    const parts = answer.steps.map(partsOf), data = this.stack(parts);
    if (this.plot && this.shownKey === this.shown.length) {
      this.plot.setData(data, false);
      this.plot.setScale('x', this.span());
    } else {
      this.plot?.destroy();
      this.make(data);
    }
    this.sayLegend(parts);
  }

  span() {
    const {steps, step_seconds: step} = this.answer;
    const from = Date.parse(this.answer.from) / 1000;
    return {min: from, max: Math.max(Date.parse(this.answer.until) / 1000, from + step * steps.length)};
  }

  // Threads that are in a state on average: samples by the time that one stands for. Where that is
  // not known, samples a second.
  perStep() {
    let samples = 0, running = 0;
    for (const {states, account} of this.answer.steps) {
      samples += states.running ?? 0;
      running += account?.running_ns ?? 0;
    }
    const period = samples && running ? running / 1e9 / samples : 0;
    this.unit = period ? 'threads' : 'samples/s';
    return (period || 1) / this.answer.step_seconds;
  }

  // Bars from the bottom, the tallest first: each is drawn over the one before.
  stack(parts) {
    const by = this.perStep(), columns = this.shown.map(() => []);
    for (const part of parts) {
      let sum = 0;
      for (let s = 0; s < this.shown.length; s++) {
        sum += part[this.shown[s][0]] * by;
        columns[s].push(sum);
      }
    }
    const {steps, step_seconds: step} = this.answer;
    const times = steps.map(({from}) => Date.parse(from) / 1000 + step / 2);
    return [times, ...columns.reverse()];
  }

  make(data) {
    this.shownKey = this.shown.length;
    const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const bars = uPlot.paths.bars({size: [0.94, 60], align: 0}), font = '11px system-ui, sans-serif';
    const axis = {stroke: css('--muted'), font, grid: {stroke: css('--rule'), width: 1},
      ticks: {show: false}};
    this.plot = new uPlot({
      width: this.plotBox.clientWidth || 600, height: 132, padding: [8, 8, 0, 0],
      legend: {show: false}, cursor: {y: false, points: {show: false}, drag: {x: true, y: false}},
      scales: {x: {range: () => [this.span().min, this.span().max]}, y: {range: (u, low, high) => [0,
        Math.max(high * 1.08, 0.01)]}},
      axes: [{...axis, grid: {show: false}, size: 24, space: 70, values: (u, ticks) =>
        ticks.map((t) => clock(t, ticks.length > 1 && ticks[1] - ticks[0] < 60))},
      {...axis, size: 44, space: 28, values: (u, ticks) => ticks.map((v) => +v.toFixed(3))}],
      series: [{}, ...[...this.shown].reverse().map(([key, label]) => ({label,
        fill: () => stateColor(key), stroke: () => stateColor(key), width: 0, paths: bars,
        points: {show: false}}))],
      hooks: {draw: [(u) => this.drawMarks(u)], setSelect: [(u) => this.chose(u)],
        setCursor: [(u) => this.point(u)]},
    }, data, this.plotBox);
    this.plot.over.setAttribute('aria-hidden', 'true');
  }

  // Gaps as hatching, losses and throttling as ticks, and what is outside of the chosen part faded.
  drawMarks(u) {
    const {ctx, bbox} = u, {steps, step_seconds: step} = this.answer;
    const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const x = (t) => u.valToPos(t, 'x', true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top - 4, bbox.width, bbox.height + 8);
    ctx.clip();
    for (const s of steps) {
      const from = Date.parse(s.from) / 1000, left = x(from), right = x(from + step);
      if (s.gaps) hatch(ctx, left, bbox.top, right - left, bbox.height, css('--muted'));
      if (lostOf(s)) tick(ctx, left, right, bbox.top + bbox.height - 4, css('--bad'));
      if (s.throttled) tick(ctx, left, right, bbox.top - 4, css('--warn'));
    }
    if (this.part) {
      const [from, until] = this.part.map(x);
      ctx.fillStyle = css('--veil');
      ctx.fillRect(bbox.left, bbox.top, Math.max(from - bbox.left, 0), bbox.height);
      ctx.fillRect(until, bbox.top, Math.max(bbox.left + bbox.width - until, 0), bbox.height);
      ctx.fillStyle = css('--accent');
      for (const edge of [from, until]) ctx.fillRect(edge - 1, bbox.top, 2, bbox.height);
    }
    ctx.restore();
  }

  chose(u) {
    const {left, width} = u.select;
    if (width < 4) return;
    const step = this.answer.step_seconds, first = this.span().min;
    const snap = (t, round) => first + round((t - first) / step) * step;
    const from = snap(u.posToVal(left, 'x'), Math.floor);
    const until = snap(u.posToVal(left + width, 'x'), Math.ceil);
    u.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
    if (until > from) this.onRange(from, until);
  }

  point(u) {
    const step = this.answer.steps[u.cursor.idx];
    if (step && u.cursor.left >= 0) this.sayLegend([partsOf(step)], step);
    else this.sayLegend(this.answer.steps.map(partsOf));
  }

  sayLegend(parts, step) {
    const sums = {};
    for (const part of parts)
      for (const [key, n] of Object.entries(part)) sums[key] = (sums[key] ?? 0) + n;
    const all = this.shown.reduce((n, [key]) => n + (sums[key] ?? 0), 0);
    const steps = step ? [step] : this.answer.steps;
    const lost = steps.reduce((n, s) => n + lostOf(s), 0), gaps = steps.filter((s) => s.gaps).length;
    const throttled = steps.filter((s) => s.throttled).length;
    replace(this.legend,
      h('span', {class: 'legend-when'}, step ? dayAndClock(Date.parse(step.from) / 1000)
        : 'All of it', ` · ${this.unit}`),
      this.shown.filter(([key]) => sums[key]).map(([key, label]) => h('span', {class: 'legend-item'},
        h('i', {class: `swatch swatch-${key}`}), `${label} `,
        h('b', null, percent(all ? sums[key] / all : 0)))),
      gaps ? h('span', {class: 'legend-item'}, h('i', {class: 'swatch swatch-gap'}),
        step ? 'Gap' : `Gaps in ${gaps} of ${steps.length} steps`) : null,
      lost ? h('span', {class: 'legend-item'}, h('i', {class: 'swatch swatch-lost'}),
        `${count(lost)} samples missing`) : null,
      throttled ? h('span', {class: 'legend-item'}, h('i', {class: 'swatch swatch-throttled'}),
        step ? 'Throttled' : `Throttled in ${throttled} steps`) : null);
  }
}

const lostOf = ({quality}) => (quality.lost ?? 0) + (quality.failed ?? 0) + (quality.late ?? 0);

function hatch(ctx, left, top, width, height, color) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.strokeStyle = color;
  ctx.globalAlpha = 0.35;
  ctx.beginPath();
  for (let x = left - height; x < left + width; x += 8) {
    ctx.moveTo(x, top + height);
    ctx.lineTo(x + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

function tick(ctx, left, right, y, color) {
  ctx.fillStyle = color;
  ctx.fillRect(left, y, Math.max(right - left - 1, 2), 4);
}
