// bar.js - what stands above each view: where one is, what is chosen, when, and how it is followed.
import {h, replace, toggle} from './dom.js';
import {address, getAll, get, go, isOn, outer, SELECTORS, selection, state} from './state.js';
import {dayAndClock, duration, isoTime, parseTime, shown} from './format.js';
import {setTheme, theme} from './theme.js';

const RANGES = [['-15m', '15 min'], ['-1h', '1 hour'], ['-6h', '6 hours'], ['-24h', '24 hours'],
  ['-7d', '7 days']];
const TABS = [['pods', 'Pods'], ['profile', 'Profile'], ['threads', 'Threads now'],
  ['compare', 'Compare']];

export function header() {
  const view = state().view;
  return h('header', {class: 'top'},
    h('a', {class: 'brand', href: address({view: 'pods'}, true)}, 'podspy'),
    h('nav', {'aria-label': 'Views'}, TABS.map(([key, label]) => h('a', {
      href: address({view: key}), 'aria-current': key === view ? 'page' : null,
    }, label))),
    h('div', {class: 'spring'}), rangePicker(), liveSwitch(), themeSwitch(), helpButton());
}

function rangePicker() {
  const [from, until] = outer(), known = !until && RANGES.some(([value]) => value === from);
  const options = known ? RANGES : [['', describeRange(from, until)], ...RANGES];
  return h('div', {class: 'range'}, h('label', null, h('span', {class: 'unseen'}, 'Time'),
    h('select', {onchange: (event) => event.target.value &&
      go({from: event.target.value, until: '', part: ''})},
    options.map(([value, label]) => h('option', {value, selected: value === (known ? from : '')},
      value ? `Last ${label}` : label)))),
  h('button', {type: 'button', class: 'quiet', title: 'Choose both ends', onclick: openRange}, 'From … to'));
}

export function describeRange(from, until) {
  const at = (text) => /^-/.test(text) ? `${text.slice(1)} ago` : dayAndClock(parseTime(text) ?? 0);
  return `${at(from)} to ${until ? at(until) : 'now'}`;
}

function openRange() {
  const [from, until] = outer(), local = (text) => {
    const seconds = parseTime(text) ?? Date.now() / 1000;
    return new Date((seconds - new Date(seconds * 1000).getTimezoneOffset() * 60) * 1000)
      .toISOString().slice(0, 19);
  };
  const field = (label, value) => h('label', null, label, h('input', {type: 'datetime-local', step: 1,
    value, required: true}));
  const a = field('From', local(from)), b = field('To', local(until || 'now'));
  const read = (label) => new Date(label.querySelector('input').value).getTime() / 1000;
  const problem = h('p', {class: 'bad', role: 'alert'});
  openDialog('Time', (close) => h('form', {onsubmit: (event) => {
    event.preventDefault();
    if (!(read(b) > read(a))) {
      problem.textContent = 'The end must be after the beginning.';
      return;
    }
    close();
    go({from: isoTime(read(a)), until: isoTime(read(b)), part: '', live: ''});
  }}, a, b, problem, h('p', {class: 'buttons'}, h('button', {type: 'submit', class: 'main'}, 'Show'))));
}

function liveSwitch() {
  const fixed = get('until') !== '';
  const button = toggle('Live', isOn('live') && !fixed, (on) => go({live: on ? '1' : '', until: '',
    part: on ? '' : get('part')}), 'Follow new data every 5 seconds (l)');
  button.classList.add('live');
  return button;
}

function themeSwitch() {
  const names = {auto: 'Theme of the system', light: 'Light theme', dark: 'Dark theme'};
  const next = {auto: 'light', light: 'dark', dark: 'auto'};
  return h('button', {type: 'button', class: 'icon', title: `${names[theme()]}; change it (t)`,
    'aria-label': `${names[theme()]}: change`, onclick: () => setTheme(next[theme()])},
  {auto: '◐', light: '○', dark: '●'}[theme()]);
}

const helpButton = () => h('button', {type: 'button', class: 'icon', title: 'Keys (?)',
  'aria-label': 'Keys', onclick: openHelp}, '?');

const KEYS = [['/', 'Search'], ['1 2 3 4', 'Pods, Profile, Threads now, Compare'],
  ['l', 'Live'], ['t', 'Theme'], ['Esc', 'Zoom out; leave a search or a dialog'],
  ['Tab', 'From part to part'], ['↑ ↓ ← →', 'In a table and in the flamegraph; → opens a row'],
  ['Enter', 'Open a row; zoom into a frame'],
  ['Space, Shift-Enter', 'Callers and callees of the frame (right click)'],
  ['i', 'Innermost functions first'], ['f', 'Fold libraries'], ['?', 'This list']];

export function openHelp() {
  openDialog('Keys', () => h('table', {class: 'keys'}, h('tbody', null, KEYS.map(([key, what]) =>
    h('tr', null, h('th', {scope: 'row'}, h('kbd', null, key)), h('td', null, what))))));
}

// A dialog that Escape and its button close. content(close) -> node.
export function openDialog(title, content) {
  const dialog = h('dialog', {'aria-label': title, onclose: () => dialog.remove()});
  const close = () => dialog.close();
  dialog.append(h('div', {class: 'dialog-head'}, h('h2', null, title),
    h('button', {type: 'button', class: 'icon', 'aria-label': 'Close', onclick: close}, '×')),
  content(close));
  document.body.append(dialog);
  dialog.showModal();
}

// On a small screen: what shows and hides the switches of a view.
export function moreButton(part) {
  const button = h('button', {type: 'button', class: 'more', 'aria-expanded': 'false', onclick: () => {
    const open = part.classList.toggle('open');
    button.setAttribute('aria-expanded', String(open));
  }}, 'Options');
  return button;
}

const LABELS = {cluster: 'cluster', namespace: 'namespace', service: 'service', pod: 'pod',
  container: 'container', image: 'image', node: 'node', pid: 'process', thread: 'thread', type: 'type'};

// What is chosen, each with a button that takes it away.
export function chips() {
  const chosen = SELECTORS.flatMap((key) => getAll(key).map((value) => [key, value]));
  return h('div', {class: 'chips', role: 'group', 'aria-label': 'What is chosen'},
    chosen.length ? chosen.map(([key, value]) => h('span', {class: 'chip'},
      h('span', {class: 'chip-key'}, LABELS[key]), ' ', shown(key === 'container' &&
        /^[0-9a-f]{20,}$/.test(value) ? value.slice(0, 12) : value),
      h('button', {type: 'button', 'aria-label': `Without ${LABELS[key]} ${value}`, onclick: () =>
        go({[key]: getAll(key).filter((other) => other !== value)})}, '×')))
      : h('span', {class: 'muted'}, 'Everything is shown. ', h('a', {href: address({view: 'pods'})},
        'Choose a pod')));
}

// Says how old what is shown is, when it is old.
export function silence(lastSeen, silentAfter) {
  const age = Date.now() / 1000 - lastSeen;
  return lastSeen && age > silentAfter
    ? h('p', {class: 'note warn', role: 'status'}, `Silent for ${duration(age)}: the last data are of ` +
      `${dayAndClock(lastSeen)}. Has the pod ended, or does its agent not reach the collector? `,
    h('a', {href: address({view: 'pods', pid: [], thread: []})}, 'See its state in Pods')) : null;
}

export function problem(error, again) {
  return h('div', {class: 'problem', role: 'alert'}, h('p', null, h('strong', null, error.message)),
    error.hint ? h('p', null, error.hint) : null,
    again ? h('p', null, h('button', {type: 'button', onclick: again}, 'Ask again')) : null);
}

export {replace, selection};
