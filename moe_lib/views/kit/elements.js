// What all widgets draw with; assets.py puts it before each widget's own file, in one module.

const SVG = "http://www.w3.org/2000/svg";
const NO_NUMBER = "no number (NaN or infinity)";

/** An element. Strings become text nodes: nothing of the reader's text is ever taken for HTML. */
function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An element of a drawing. */
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** "on…" listens, false and null leave an attribute out, a child that is null is none. */
function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** For ids and names in the page. Each widget loads this file anew: a counter could not tell two of them apart. */
const freshId = (prefix) => `${prefix}-${Math.random().toString(36).slice(2)}`;
