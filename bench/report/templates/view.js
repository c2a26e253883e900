// What every part of the page's script uses. Text from data is only ever set as text. The address's hash holds the
// view: #q=moco&datasets=...&theme=dark
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, text = "", attributes = {}) => {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const details = JSON.parse(document.getElementById("details").textContent);
const filters = document.getElementById("filters");
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [sheet];

// --- the view, and the hash that holds it

const viewIn = (hash) => new URLSearchParams(hash.includes("=") ? hash.slice(1) : "");
let view = viewIn(location.hash);
const listOf = (name) => (view.get(name) ?? "").split(",").filter(Boolean);

function rememberAll() {
  const hash = view.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function remember(name, value) {
  if (value) view.set(name, value);
  else view.delete(name);
  rememberAll();
}

