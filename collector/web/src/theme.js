// theme.js - light, dark, or as the system says; kept for this browser.
const PLACE = 'podspy.theme';
const listeners = new Set();
let chosen = read();

function read() {
  try {
    const value = localStorage.getItem(PLACE);
    return value === 'light' || value === 'dark' ? value : 'auto';
  } catch { // storage may be forbidden
    return 'auto';
  }
}

function apply() {
  if (chosen === 'auto') document.documentElement.removeAttribute('data-theme');
  else document.documentElement.setAttribute('data-theme', chosen);
}

export const theme = () => chosen;

export function setTheme(value) {
  chosen = value;
  try {
    localStorage.setItem(PLACE, value);
  } catch { // it holds until the page is left
  }
  apply();
  for (const listener of listeners) listener();
}

export const onTheme = (listener) => listeners.add(listener);

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const listener of listeners) listener();
});
apply();
