// share.js - what leaves the page: links, commands, files, speedscope.
import {h, announce} from './dom.js';
import {curl, fetchAnswer, isAbort, token, url} from './api.js';
import {openDialog, problem} from './bar.js';

const FORMATS = [
  ['svg', 'Flamegraph', 'SVG, one file that needs nothing else', 'svg'],
  ['speedscope', 'speedscope', 'JSON', 'speedscope.json'],
  ['pprof', 'pprof', 'for go tool pprof', 'pb.gz'],
  ['collapsed', 'Collapsed stacks', 'text', 'txt'],
  ['chrometrace', 'Chrome trace', 'JSON, for about:tracing and Perfetto', 'trace.json'],
  ['json', 'Tree', 'JSON', 'json'],
];

// Writes to the clipboard; where that is not allowed, shows the text to be copied by hand.
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`${what} copied`);
    return true;
  } catch {
    openDialog(`Copy the ${what.toLowerCase()}`, () => {
      const field = h('textarea', {readonly: true, rows: 4, 'aria-label': what, value: text});
      setTimeout(() => field.select());
      return field;
    });
    return false;
  }
}

export function copyButton(label, text, what, title) {
  const button = h('button', {type: 'button', title, onclick: async () => {
    if (await copy(text(), what)) flash(button);
  }}, label);
  return button;
}

function flash(button) {
  const label = button.textContent;
  button.textContent = 'Copied';
  setTimeout(() => {
    button.textContent = label;
  }, 1200);
}

// A link cannot bear the credential, so with one the file is fetched first.
async function save(path, query, file) {
  try {
    const answer = await fetchAnswer(null, path, query);
    const link = h('a', {href: URL.createObjectURL(await answer.blob()), download: file});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    if (!isAbort(error)) openDialog('Download', () => problem(error));
  }
}

// query(format) -> parameters; name: of the file, without its end.
export function openDownloads(path, query, name, formats = FORMATS.map(([key]) => key)) {
  const rows = FORMATS.filter(([key]) => formats.includes(key));
  openDialog('Download', () => h('table', {class: 'downloads'}, h('tbody', null,
    rows.map(([format, label, what, end]) => {
      const asked = query(format), file = `${name}.${end}`;
      return h('tr', null, h('th', {scope: 'row'}, token()
        ? h('button', {type: 'button', onclick: () => save(path, asked, file)}, label)
        : h('a', {href: url(path, asked), download: file}, label)),
      h('td', {class: 'muted'}, what),
      h('td', null, copyButton('Copy curl', () => curl(path, asked, file), 'Command')));
    }))));
}

// speedscope reads by address and knows no credential; over TLS the file is opened by hand.
export function speedscopeLink(query) {
  const profile = new URL(url('/profiles', query), location.href.split('#')[0]).href;
  return h('a', {class: 'button', target: '_blank', rel: 'noopener',
    href: `speedscope/#profileURL=${encodeURIComponent(profile)}`,
    title: token() ? 'speedscope cannot send the token: download the file and drop it there'
      : 'Open this selection in speedscope'}, 'speedscope');
}

export const fileName = (words) => words.filter(Boolean).join('-').replace(/[^\w.-]+/g, '_').slice(0, 80) ||
  'podspy';
