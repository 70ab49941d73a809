// Elements by hand. Text goes in as text nodes only: no record's words are ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const h = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
export const s = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
export const byId = (id) => document.getElementById(id);

export function put(id, ...children) {
  byId(id).replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

// A bar of `share` (0 to 1): a style set from a script is no inline style, so the page's policy allows it.
export function meter(share, label) {
  const bar = h("i");
  bar.style.width = `${Math.round(Math.min(1, Math.max(0, share ?? 0)) * 1000) / 10}%`;
  return h("div", { class: "meter", role: "img", "aria-label": label }, bar);
}

// What to do where there is nothing yet; words between backticks are commands.
export function empty(words) {
  const parts = words.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
  return h("p", { class: "empty" }, ...parts);
}
