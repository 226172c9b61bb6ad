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

const dark = matchMedia('(prefers-color-scheme: dark)');

function apply() {
  const shown = chosen === 'auto' ? dark.matches ? 'dark' : 'light' : chosen;
  document.documentElement.setAttribute('data-theme', shown);
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

dark.addEventListener('change', () => {
  apply();
  for (const listener of listeners) listener();
});
apply();
