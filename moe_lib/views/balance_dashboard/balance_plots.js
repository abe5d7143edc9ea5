// What the balance dashboard draws with; it stands before balance_dashboard.js in one module.

const DASHES = ["", "5 3", "1.5 3", "8 2 2 2"];

const nearest = (values, value) =>
  values.reduce((best, one, place) => (Math.abs(one - value) < Math.abs(values[best] - value) ? place : best), 0);
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** The colour of a load / even share: between the two stops around it. */
function colourOf(value, stops, colours) {
  const place = Math.max(1, stops.findIndex((stop) => stop >= value));
  const [low, high] = value > stops.at(-1) ? [1, 1] : [stops[place - 1], stops[place]];
  const part = high > low ? (value - low) / (high - low) : 1;
  const [from, to] = value > stops.at(-1) ? [colours.at(-1), colours.at(-1)] : [colours[place - 1], colours[place]];
  return rgb(from).map((c, i) => Math.round(c + (rgb(to)[i] - c) * part));
}

/** The steps, or means of `every` of them where there are more steps than pixels. */
function thinned(rows, every) {
  if (every === 1) return rows;
  // What was no number, null, stays out of the means.
  const known = (values) => values.filter((one) => one !== null);
  const average = (values) => (values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : null);
  const mean = (values) => (Array.isArray(values[0]) ? values[0].map((_, at) => mean(values.map((one) => one[at])))
    : average(known(values)));
  return Array.from({ length: Math.ceil(rows.length / every) }, (_, at) => {
    const part = rows.slice(at * every, (at + 1) * every);
    const held = known(part.map((row) => row.held));
    return { ...Object.fromEntries(["loss", "dropped", "vio", "entropy", "load"].map((key) => [key, mean(part.map((row) => row[key]))])),
      held: held.length ? held.at(-1) : null };
  });
}

/** A small plot of lines with its scale at the left. lines: [{points: [[x, y]], colour, dash}] */
function plot(title, lines, { xmax, low, high, marks, reference, dots = [] }) {
  const x = (step) => (100 * step) / xmax;
  const y = (value) => 100 - (100 * (value - low)) / (high - low || 1);
  const picture = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  const line = (points, colour, dash, name) => picture.append(svg("polyline", {
    points: points.map(([a, b]) => `${x(a).toFixed(2)},${y(b).toFixed(2)}`).join(" "), fill: "none", stroke: colour,
    "stroke-dasharray": dash, "vector-effect": "non-scaling-stroke", class: name }));
  if (reference !== undefined) line([[0, reference], [xmax, reference]], "currentColor", "", "moe-balance-reference");
  marks.forEach((step) => line([[step, low], [step, high]], "currentColor", "2 3", "moe-balance-reference"));
  lines.forEach(({ points, colour, dash }) => line(points, colour, dash, "moe-balance-line"));
  dots.forEach(([a, b]) => line([[a, b], [a, b]], "var(--moe-vermilion)", "", "moe-balance-dot"));
  return h("div", { class: "moe-balance-plot" }, h("h5", {}, title),
    h("span", { class: "moe-balance-top" }, high.toFixed(high < 10 ? 1 : 0)),
    h("span", { class: "moe-balance-bottom" }, low.toFixed(low < 10 ? 1 : 0)), picture);
}
