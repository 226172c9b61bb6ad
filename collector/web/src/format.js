// format.js - numbers, times and names as people read them. No DOM.

const UNITS = {s: 1, m: 60, h: 3600, d: 86400};

// A time as the collector takes it, in seconds since 1970; null: is not a time.
export function parseTime(text, now = Date.now() / 1000) {
  const relative = /^-(\d+(?:\.\d+)?)([smhd])$/.exec(text);
  if (relative) return now - Number(relative[1]) * UNITS[relative[2]];
  if (!text || text === 'now') return now;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at / 1000;
}

export const isoTime = (seconds) => new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z');

const two = (n) => String(n).padStart(2, '0');

export function clock(seconds, withSeconds = true) {
  const d = new Date(seconds * 1000);
  const time = `${two(d.getHours())}:${two(d.getMinutes())}`;
  return withSeconds ? `${time}:${two(d.getSeconds())}` : time;
}

export function day(seconds) {
  const d = new Date(seconds * 1000);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

export function dayAndClock(seconds, now = Date.now() / 1000) {
  return day(seconds) === day(now) ? clock(seconds) : `${day(seconds)} ${clock(seconds)}`;
}

// 83 s -> "1m 23s"
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return '';
  if (seconds < 0.0005) return '0 s';
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 60) return `${trim(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 2880) return `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
  return `${Math.floor(minutes / 1440)}d ${Math.floor(minutes % 1440 / 60)}h`;
}

const trim = (text) => text.replace(/\.?0+$/, '');

export function ago(seconds) {
  if (seconds < 2) return 'now';
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

// 0.1234 -> "12.3 %"
export function percent(share, digits = 1) {
  if (share === null || share === undefined || !Number.isFinite(share)) return '';
  if (share > 0 && share < 0.0005) return '<0.1 %';
  return `${(share * 100).toFixed(Math.abs(share) >= 10 ? 0 : digits)} %`;
}

export function count(n) {
  return n.toLocaleString('en-US', {maximumFractionDigits: 0});
}

export function plural(n, noun, nouns = `${noun}s`) {
  return `${count(n)} ${n === 1 ? noun : nouns}`;
}

// Without control characters and marks that change the direction of text.
export function shown(text) {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, '\ufffd');
}

// What of a file name tells: the package and what is below it, else the last folder and the name.
export function shortFile(file) {
  const below = /^.*(?:site-packages|dist-packages|\/lib(?:64)?\/python\d[\d.]*t?)\/(.+)$/.exec(file);
  if (below) return below[1];
  const parts = file.split('/');
  return parts.slice(-2).join('/').replace(/^\//, '');
}

// A command line by what tells it apart: "/usr/bin/python3 /usr/bin/gunicorn app" -> "gunicorn app".
export function shortCommand(command) {
  const words = command.split(/\s+/).filter(Boolean);
  const base = (word) => word.split('/').pop();
  if (words.length > 1 && /^(python|pypy)[\d.]*[a-z]?$/.test(base(words[0]))) words.shift();
  while (words.length > 1 && /^-[A-Za-z]$/.test(words[0]) && words[0] !== '-c') words.shift();
  if (!words.length) return '';
  return [base(words[0]), ...words.slice(1)].join(' ');
}
