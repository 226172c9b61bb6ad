// dom.js - elements. Names and other text of the data reach the page as text nodes and attribute
// values only, never as HTML, so what a function is called cannot become an element.

// h('button', {class: 'x', onclick: f}, 'text', element, null, [more]). A property that begins with
// "on" is a listener; true and false set and leave out an attribute; `ref` is called with the element.
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) setProperty(element, key, value);
  append(element, children);
  return element;
}

function setProperty(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key === 'ref') value(element);
  else if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
  else if (key === 'value' || key === 'checked' || key === 'selected') element[key] = value;
  else element.setAttribute(key, value === true ? '' : String(value));
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

// Sets a style property by script, which a strict Content-Security-Policy allows (an attribute is
// refused).
export function place(element, styles) {
  for (const [key, value] of Object.entries(styles)) element.style.setProperty(key, value);
  return element;
}

// A switch: a button that says whether it is pressed.
export function toggle(label, on, change, title) {
  return h('button', {
    type: 'button', class: 'toggle', 'aria-pressed': on ? 'true' : 'false', title,
    onclick: () => change(!on),
  }, label);
}

// Buttons in a group; one of them is chosen. options: [value, label, title] each.
export function choice(label, options, value, change) {
  return h('div', {class: 'choice', role: 'group', 'aria-label': label}, options.map(
    ([option, text, title]) => h('button', {
      type: 'button', 'aria-pressed': option === value ? 'true' : 'false', title,
      onclick: () => change(option),
    }, text)));
}

export function select(label, options, value, change) {
  return h('label', {class: 'select'}, h('span', null, label), h('select', {
    onchange: (event) => change(event.target.value),
  }, options.map(([option, text]) => h('option', {value: option, selected: option === value},
    text))));
}

let live = null;

// Says something to those who hear the page; nothing is shown.
export function announce(text) {
  if (!live) {
    live = h('div', {class: 'unseen', role: 'status', 'aria-live': 'polite'});
    document.body.append(live);
  }
  live.textContent = text;
}

export function debounce(wait, call) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), wait);
  };
}
