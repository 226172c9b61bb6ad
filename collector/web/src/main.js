// main.js - the page: the view that the address names, its keys, and the clock that follows new data.
import {h, replace} from './dom.js';
import {cancel, setToken, token} from './api.js';
import {go, isOn, onChange, state} from './state.js';
import {header, openHelp} from './bar.js';
import {onTheme, setTheme, theme} from './theme.js';
import {PodsView} from './views/pods.js';
import {ProfileView} from './views/profile.js';
import {ThreadsView} from './views/threads.js';
import {CompareView} from './views/compare.js';

const VIEWS = {pods: PodsView, profile: ProfileView, threads: ThreadsView, compare: CompareView};
const TITLES = {pods: 'Pods', profile: 'Profile', threads: 'Threads now', compare: 'Compare'};
const LIVE_EVERY = 5000;

const top = h('div', {class: 'top-place'}), main = h('main', {id: 'main'});
let view = null, name = '';

// A view: element, update(changed) when the address changes, refresh() for new data, repaint() for a
// new theme, close(), key(event) -> whether it took the key.
function show(current, before) {
  replace(top, header());
  const subject = [...(current.many.pod ?? []), ...(current.many.service ?? [])][0];
  document.title = `${subject ? `${subject} · ` : ''}${TITLES[current.view]} · podspy`;
  if (name !== current.view) {
    cancel();
    view?.close();
    name = current.view;
    view = new VIEWS[name]({wantCredential});
    replace(main, view.element);
  }
  view.update(before);
}

// --- the credential ---

function wantCredential(refused) {
  view?.close();
  view = null;
  name = '';
  const field = h('input', {type: 'password', autocomplete: 'off', required: true, spellcheck: 'false',
    id: 'token'});
  replace(main, h('form', {class: 'gate', onsubmit: (event) => {
    event.preventDefault();
    setToken(field.value.trim());
    show(state(), null);
  }}, h('h1', null, 'The read token'),
  refused ? h('p', {class: 'bad', role: 'alert'}, refused) : null,
  h('p', null, 'Over TLS this collector answers who has its read token. It is in the file ',
    h('code', null, 'read.token'), ' of the collector’s data folder; in a cluster:'),
  h('pre', null, 'kubectl -n podspy get secret podspy-read \\\n' +
    '  -o jsonpath={.data.read\\\\.token} | base64 -d'),
  h('p', null, 'The page keeps it for this tab only and sends it in a header. ',
    'Without a token: ', h('code', null, 'kubectl port-forward'), ' to the plain port.'),
  h('label', {for: 'token'}, 'Read token'), field,
  h('p', {class: 'buttons'}, h('button', {type: 'submit', class: 'main'}, 'Show the pods'))));
  field.focus();
}

// --- keys ---

const isTyping = (target) => target.closest?.('input, select, textarea, dialog, [contenteditable]');

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (view?.key?.(event)) {
    event.preventDefault();
    return;
  }
  if (isTyping(event.target)) {
    if (event.key === 'Escape' && event.target.matches('input')) event.target.blur();
    return;
  }
  const views = Object.keys(VIEWS), themes = {auto: 'light', light: 'dark', dark: 'auto'};
  if (event.key === '?') openHelp();
  else if (event.key === 'l') go({live: isOn('live') ? '' : '1', until: '', part: ''});
  else if (event.key === 't') setTheme(themes[theme()]);
  else if (/^[1-4]$/.test(event.key)) go({view: views[Number(event.key) - 1]});
  else return;
  event.preventDefault();
});

// --- following ---

setInterval(() => {
  if (isOn('live') && !document.hidden) view?.refresh?.();
}, LIVE_EVERY);

onTheme(() => {
  replace(top, header());
  view?.repaint?.();
});

document.body.append(h('a', {class: 'skip', href: '#main', onclick: (event) => {
  event.preventDefault();
  main.querySelector('input, button, [tabindex="0"]')?.focus();
}}, 'To the content'), top, main);
onChange(show);
if (token() || location.protocol !== 'https:') show(state(), null);
else wantCredential('');
