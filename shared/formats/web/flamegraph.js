// What a flamegraph does when it is looked at: zoom, search, keys. Plain SVG without it: that picture is taken
// away, and drawn from the tree that #frames carries (shared/formats/svg_frames.c tells its form).
(function () {
  'use strict';
  var TOP = 96, ROW = 18, NS = 'http://www.w3.org/2000/svg';
  var root = document.documentElement;
  function byId(id) { return document.getElementById(id); }
  var details = byId('details'), matched = byId('matched'), reset = byId('reset'), input = byId('search');
  var graph = byId('graph'), idleText = details.textContent;
  if (!graph) return;
  var frames = read(byId('frames').textContent), all = frames[0], zoomed = all, found = [], next = 0;

  function number(digits) { return digits ? parseInt(digits, 36) : 0; }
  function read(text) {
    var parts = text.split('\n'), head = parts.shift(), compares = head[0] === '-';
    var period = compares ? 0 : number(head), cutoff = compares ? parseFloat(head.slice(1)) : 0;
    var files = parts.splice(0, parts.indexOf('')), names, list, at;
    parts.shift();
    names = parts.splice(0, parts.indexOf('')).map(function (n) { return /^(\S+) (\S+) (.*)/.exec(n); });
    list = parts[1].split(' ').map(function (node) {
      var n = node.split(','), name = names[number(n[1]) - 1], line = number(n[2]), file, f;
      for (var up = number(n[0]); up; up--) at = at.parent;
      file = name && files[number(name[2]) - 1];
      f = { parent: at, d: at ? at.d + 1 : 0, count: 0, ns: 0, end: 0, self: number(n[3]), selfNs: 0 };
      f.selfNs = n.length > 4 ? number(n[4]) : f.self * period;
      f.colour = name ? number(name[1]) : 8;
      f.name = name ? name[3] : '(other)';
      if (file) f.name += ' (' + file + (line ? ':' + line : '') + ')';
      at = f;
      return f;
    });
    for (var i = list.length; i--;) {
      var f = list[i], up = f.parent;
      f.count += f.self;
      f.ns += f.selfNs;
      f.w = period ? f.ns : f.count;
      if (up) { up.count += f.count; up.ns += f.ns; }
    }
    if (compares) list.forEach(function (f) { compare(f, list[0], cutoff); });
    list.forEach(function (f) { // a child begins where its elder sibling ends
      f.l = f.end = f.parent ? f.parent.end : 0;
      if (f.parent) f.parent.end += f.w;
    });
    list[0].timed = period > 0;
    return list;
  }

  // Where two profiles are compared: widths are mean shares; the colour says whether the share changed by more
  // than chance explains (shared/formats/compare.h).
  function compare(f, top, cutoff) {
    var a = top.count, b = top.ns, p = (f.count + f.ns) / (a + b), c, z;
    var was = a ? f.count / a : 0, is = b ? f.ns / b : 0;
    c = is - was;
    z = Math.min(p, 1 - p) * Math.min(a, b) < 5 ? 0 : c / Math.sqrt(p * (1 - p) * (1 / a + 1 / b));
    f.w = was + is;
    f.colour = Math.abs(z) < cutoff ? 8 : (c > 0 ? 10 : 13) + (Math.abs(c) > 0.01) + (Math.abs(c) > 0.05);
    f.change = percent(is, 1, 2) + ' %, ' + 'base ' + percent(was, 1, 2) + ' %: ' +
      (c < 0 ? '' : '+') + percent(c, 1, 2) + ' points' + (f.colour === 8 ? ', ' + 'may be chance' : '') + '\n' + f.ns + ' samples, ' + 'base ' + f.count;
  }
  function percent(part, whole, digits) { return (100 * part / whole).toFixed(digits); }
  function label(f) {
    if (f.change) return f.name + '\n' + f.change;
    var own = all.timed ? f.selfNs : f.self;
    return f.name + '\n' + f.count + ' samples, ' + percent(f.w, all.w, 2) + ' %' +
      (all.timed ? ', ' + (f.ns / 1e9).toFixed(2) + ' s' : '') +
      (f.self && f.self !== f.count ? '\nof its own ' + f.self + ' samples, ' + percent(own, all.w, 2) + ' %' : '');
  }
  function add(to, tag, attributes) {
    var el = document.createElementNS(NS, tag);
    for (var name in attributes) el.setAttribute(name, attributes[name]);
    return to.appendChild(el);
  }
  function element(f) {
    var el = add(graph, 'svg', { y: TOP + f.d * ROW, height: ROW, role: 'button', tabindex: f === all ? 0 : -1 });
    add(el, 'title').textContent = label(f);
    add(el, 'rect');
    el.frame = f;
    return el;
  }

  function within(a, b) { // by the tree: what weighs nothing lies within its neighbours, too
    while (a && a.d > b.d) a = a.parent;
    return a === b;
  }
  function shown(f) { return f.el && !f.el.classList.contains('hidden'); }

  // What is a pixel wide, and of what is narrower the first of its row in each pixel; matches come before others.
  function draw() {
    var pixel = zoomed.w / (0.98 * root.getBoundingClientRect().width || 1000);
    var taken = [], marked = [];
    frames.forEach(function (f) {
      var above = f.d < zoomed.d && within(zoomed, f), row = f.m ? marked : taken;
      f.share = above ? 1 : 0;
      if (!above && within(f, zoomed) && f.w && (f.w >= pixel || f.l >= (row[f.d] || 0))) {
        row[f.d] = f.l + Math.max(f.w, pixel);
        f.share = f.w / zoomed.w;
      }
      if (!f.share && !f.el) return;
      f.el = f.el || element(f);
      f.el.setAttribute('class', 'f c' + f.colour + (f.m ? ' m' : '') + (above ? ' up' : '') +
        (f.w < 3 * pixel ? ' thin' : '') + (f.share ? '' : ' hidden'));
      if (!f.share) return;
      f.el.setAttribute('x', above ? '0%' : percent(f.l - zoomed.l, zoomed.w, 4) + '%');
      f.el.setAttribute('width', percent(above ? 1 : Math.max(f.w, pixel), above ? 1 : zoomed.w, 4) + '%');
    });
    fitAll();
  }
  function zoom(to) {
    zoomed = to;
    reset.classList.toggle('hidden', to === all);
    mark();
  }

  // Names are cut where their frame ends, by the width of a letter of the one monospaced font.
  function fitAll() {
    // The root's own box: that of an <svg> grows with texts that reach out of it.
    var width = all.el.querySelector('rect').getBoundingClientRect().width;
    var sample = textOf(all);
    sample.textContent = 'mmmmmmmmmm';
    var letter = sample.getComputedTextLength() / 10 || 7.2;
    frames.forEach(function (f) { if (f.share) fit(f, Math.floor((f.share * width - 8) / letter)); });
  }
  function textOf(f) { return f.el.querySelector('text') || add(f.el, 'text', { x: 4, y: 13 }); }
  function fit(f, room) {
    var text = f.el.querySelector('text'), letters;
    if (room < 3 && !text) return;
    letters = room < 3 ? [] : Array.from(f.name);
    textOf(f).textContent = room < 3 ? '' : letters.length <= room ? f.name
      : letters.slice(0, room - 1).join('') + '\u2026';
  }

  // Matching frames inside of matching frames are not counted twice.
  function mark() {
    var re = null, sum = 0;
    try { re = input.value ? new RegExp(input.value, 'i') : null; } catch (e) { re = null; }
    input.setAttribute('aria-invalid', String(!!input.value && !re));
    found = [];
    frames.forEach(function (f) {
      f.m = !!re && f !== all && re.test(f.name);
      f.inMatch = f.parent && (f.parent.m || f.parent.inMatch) && f.parent.d >= zoomed.d;
      if (f.m) found.push(f);
      if (f.m && !f.inMatch && within(f, zoomed)) sum += f.w;
    });
    found.sort(function (a, b) { return b.w - a.w; });
    matched.textContent = !input.value ? '' : re ? 'Matched: ' + percent(sum, zoomed.w, 2) + ' %'
      : 'not a regular expression';
    draw();
  }

  function frameOf(node) {
    while (node && node !== root && !node.frame) node = node.parentNode;
    return node && node.frame;
  }
  function show(f) { details.textContent = f ? label(f).replace(/\n/g, '  |  ') : idleText; }

  function neighbour(f, key) {
    var best = null;
    frames.forEach(function (g) {
      if (!shown(g) || g === f) return;
      if (key === 'ArrowUp' && g === f.parent) best = g;
      if (key === 'ArrowDown' && g.parent === f && (!best || g.w > best.w)) best = g;
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
  window.addEventListener('resize', draw);
  root.addEventListener('mouseover', function (e) { show(frameOf(e.target)); });
  root.addEventListener('focusin', function (e) { show(frameOf(e.target)); });
  input.addEventListener('input', function () { next = 0; mark(); });
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
    if (e.key === 'Enter' && e.target === input && found.length) { // to the matches, the widest first
      var match = found[next++ % found.length];
      zoom(match);
      show(match);
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
  graph.textContent = '';
  zoom(all);
  root.classList.add('ready');
})();
