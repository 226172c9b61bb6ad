// What a flamegraph does when it is looked at: zoom, search, keys. Plain SVG without it. Positions come
// from data-l (left), data-w (weight) and data-d (depth) of each frame, in units of the root's weight.
(function () {
  'use strict';
  var root = document.documentElement;
  var details = document.getElementById('details');
  var matched = document.getElementById('matched');
  var reset = document.getElementById('reset');
  var input = document.getElementById('search');
  var idleText = details.textContent;
  var frames = Array.prototype.map.call(document.querySelectorAll('.f'), function (el) {
    var f = {
      el: el, l: +el.getAttribute('data-l'), w: +el.getAttribute('data-w'),
      d: +el.getAttribute('data-d'), share: 0, label: el.querySelector('title').textContent
    };
    f.name = f.label.split('\n')[0];
    el.frame = f;
    return f;
  });
  var all = frames[0], zoomed = all;
  if (!all) return;

  function within(a, b) { return a.l >= b.l && a.l + a.w <= b.l + b.w; }
  function percent(x) { return (100 * x).toFixed(4) + '%'; }

  function zoom(to) {
    zoomed = to;
    frames.forEach(function (f) {
      var inside = f.d >= to.d && within(f, to);
      var above = f.d < to.d && within(to, f);
      f.el.classList.toggle('hidden', !inside && !above);
      f.el.classList.toggle('up', above);
      f.el.setAttribute('x', inside ? percent((f.l - to.l) / to.w) : '0%');
      f.el.setAttribute('width', inside ? percent(f.w / to.w) : '100%');
      f.share = above ? 1 : inside ? f.w / to.w : 0;
    });
    fitAll();
    reset.classList.toggle('hidden', to === all);
    mark();
  }

  // Names are cut where their frame ends, by the width of a letter of the one monospaced font.
  function fitAll() {
    // The root's own box: that of an <svg> grows with texts that reach out of it.
    var width = all.el.querySelector('rect').getBoundingClientRect().width;
    var sample = all.el.querySelector('text');
    sample.textContent = 'mmmmmmmmmm';
    var letter = sample.getComputedTextLength() / 10 || 7.2;
    frames.forEach(function (f) { if (f.share) fit(f, Math.floor((f.share * width - 8) / letter)); });
  }
  function fit(f, room) {
    var text = f.el.querySelector('text');
    if (!text) {
      if (room < 3) return;
      text = document.createElementNS('http://www.w3.org/2000/svg', 'text');
      text.setAttribute('x', '4');
      text.setAttribute('y', '13');
      f.el.appendChild(text);
    }
    var letters = Array.from(f.name);
    text.textContent = room < 3 ? '' : letters.length <= room ? f.name
      : letters.slice(0, room - 1).join('') + '\u2026';
  }

  // Matching frames inside of matching frames are not counted twice.
  function mark() {
    var re = null, end = -1, sum = 0;
    try { re = input.value ? new RegExp(input.value, 'i') : null; } catch (e) { re = null; }
    input.setAttribute('aria-invalid', String(!!input.value && !re));
    frames.forEach(function (f) { f.el.classList.toggle('m', !!re && f !== all && re.test(f.name)); });
    frames.filter(function (f) { return f.el.classList.contains('m') && within(f, zoomed); })
      .sort(function (a, b) { return a.l - b.l || b.w - a.w; })
      .forEach(function (f) { if (f.l >= end) { sum += f.w; end = f.l + f.w; } });
    matched.textContent = !input.value ? '' : re ? 'Matched: ' + (100 * sum / zoomed.w).toFixed(2) + ' %'
      : 'not a regular expression';
  }

  function frameOf(node) {
    while (node && node !== root && !node.frame) node = node.parentNode;
    return node && node.frame;
  }
  function show(f) { details.textContent = f ? f.label.replace(/\n/g, '  |  ') : idleText; }
  function shown(f) { return !f.el.classList.contains('hidden'); }

  function neighbour(f, key) {
    var best = null;
    frames.forEach(function (g) {
      if (!shown(g) || g === f) return;
      if (key === 'ArrowUp' && g.d === f.d - 1 && within(f, g)) best = g;
      if (key === 'ArrowDown' && g.d === f.d + 1 && within(g, f) && (!best || g.w > best.w)) best = g;
      if (key === 'ArrowLeft' && g.d === f.d && g.l < f.l && (!best || g.l > best.l)) best = g;
      if (key === 'ArrowRight' && g.d === f.d && g.l > f.l && (!best || g.l < best.l)) best = g;
    });
    return best;
  }

  root.addEventListener('click', function (e) {
    var f = frameOf(e.target);
    if (f) zoom(f);
    if (reset.contains(e.target)) zoom(all);
  });
  window.addEventListener('resize', fitAll);
  root.addEventListener('mouseover', function (e) { show(frameOf(e.target)); });
  root.addEventListener('focusin', function (e) { show(frameOf(e.target)); });
  input.addEventListener('input', mark);
  root.addEventListener('keydown', function (e) {
    if ((e.ctrlKey || e.metaKey) && e.key === 'f' || e.key === '/' && e.target !== input) {
      e.preventDefault();
      input.focus();
      return;
    }
    if (e.key === 'Escape') {
      input.value = '';
      zoom(all);
      all.el.focus();
      return;
    }
    var press = e.key === 'Enter' || e.key === ' ';
    if (press && reset.contains(e.target)) { e.preventDefault(); zoom(all); all.el.focus(); return; }
    var f = frameOf(e.target);
    if (!f) return;
    if (press) { e.preventDefault(); zoom(f); return; }
    var to = neighbour(f, e.key);
    if (to) { e.preventDefault(); to.el.focus(); }
  });
  zoom(all);
  root.classList.add('ready');
})();
