// The explorer's drawings as SVG: one token's way through all layers, a map of tokens by layers, a picture to keep.
// Each is `(view, room) -> svg element`; `room` is the width in pixels. Text takes the colour of the page.

const FONT = { "font-family": "system-ui, sans-serif", "font-size": 12, fill: "currentColor" };
const words = (x, y, text, more = {}) => svg("text", { x, y, ...FONT, ...more }, text);
const drawing = (width, height, title, ...children) =>
  svg("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, svg("title", {}, title), ...children);
const shortened = (label, most) => (Array.from(label).length > most ? `${Array.from(label).slice(0, most - 1).join("")}…` : label);

/** A square in an expert's colour with its number, and the line that tells similar colours apart. */
function tile(colour, expert, x, y, width, height, more = {}) {
  const at = colour.edge_side === "top" ? y + 2 : y + height - 5;
  const dash = { solid: null, dashed: "4 3", double: "1 1" }[colour.edge];
  return svg("g", more, svg("rect", { x, y, width, height, fill: colour.fill }),
    colour.edge === "none" ? null : svg("line", { x1: x, x2: x + width, y1: at + 1, y2: at + 1, stroke: colour.text, "stroke-width": 2, "stroke-dasharray": dash }),
    width < 13 ? null : svg("text", { ...FONT, x: x + width / 2, y: y + height / 2 + (colour.edge === "none" ? 4 : 2), fill: colour.text, "font-size": 10, "pointer-events": "none", "text-anchor": "middle" }, String(expert)));
}

/** token → router → chosen experts → what the model expects, over all layers. */
function flowDrawing(view, room) {
  const { model, reading, colour } = view, side = model.get("side"), read = reading(side), token = model.get("token");
  if (token < 0 || token >= read.tokens.length) return h("p", { class: "moe-hint" }, "Choose a token above to see its way through all layers.");
  const places = [...read.layers.map((one) => one.index), ...read.dense].sort((a, b) => a - b);
  const height = 46, top = 44, width = Math.max(480, room), bars = 0.45 * width, left = 70, right = left + bars + 40;
  const rows = places.map((index, row) => {
    const y = top + row * height, layer = read.layers.find((one) => one.index === index);
    const way = svg("line", { x1: 30, x2: 30, y1: y - 8, y2: y + height - 8, stroke: "currentColor", "stroke-width": 2 });
    if (!layer) return svg("g", {}, way, words(40, y + 20, `${index}`), words(left, y + 20, "dense, no router: every token passes it"));
    return svg("g", { "data-testid": `flow-${index}` }, way, words(40, y + 20, `${index}`, index === model.get("layer") ? { "font-weight": 700 } : {}),
      ...flowBars(view, layer, token, left, y, bars, height - 18), words(right - 27, y + 20, "→"), ...flowChoices(view, layer, token, right, y));
  });
  const next = read.predictions[token + 1] ?? (token + 1 === read.tokens.length ? read.next : null);
  const end = top + places.length * height, about = `Token ${token}, “${shortened(read.tokens[token], 30)}”`;
  const after = !read.causal ? "" : next ? `The model then expects “${shortened(next.best[0][0], 30)}” (${percent(next.best[0][1])})` : "";
  return drawing(width, end + 34, `${about}, through all layers. ${after}`, words(16, 18, about, { "font-weight": 700 }), words(left, 36, "router: affinity to each expert"),
    words(right, 36, "chosen experts, with weight"), ...rows, svg("path", { d: `M24 ${end - 10} l6 9 l6 -9 z`, fill: "currentColor" }), words(16, end + 20, after || "Output"));
}

function flowBars({ model, colour }, layer, token, left, top, width, height) {
  if (!layer.scores) return [words(left, top + 20, "affinities were not recorded")];
  const scores = Array.from(layer.scores.subarray(token * layer.nExperts, (token + 1) * layer.nExperts));
  const most = Math.max(...scores, 1e-9), step = width / scores.length, experts = chosen(layer, token);
  const tall = (score) => Math.max(1, height * (model.get("log_scale") ? onLogScale(score / most) : score / most));
  return [svg("line", { x1: left, x2: left + width, y1: top + height, y2: top + height, stroke: "currentColor" }),
    ...scores.map((score, e) => svg("rect", { x: left + e * step, y: top + height - tall(score), width: Math.max(0.5, step - 1), height: tall(score),
      fill: experts.includes(e) ? colour(e).fill : "#8888", stroke: experts.includes(e) ? "currentColor" : "none" }, svg("title", {}, `Expert ${e}: ${percent(score)}`)))];
}

function flowChoices({ colour }, layer, token, left, top) {
  const most = layer.k > 6 ? 34 : 62;
  return chosen(layer, token).flatMap((e, place) => e === NO_EXPERT || place > 9 ? [] : [tile(colour(e), e, left + place * most, top + 4, 26, 22),
    layer.weights && layer.k < 7 ? words(left + place * most + 29, top + 19, layer.weights[token * layer.k + place].toFixed(2), { "font-size": 11 }) : null]).filter(Boolean);
}

/** Tokens from left to right, layers from top to bottom: the expert of the shown choice, and under it a line as long as
 *  its weight. */
function mapDrawing(view) {
  const { model, reading } = view, read = reading(0), wide = 18, tall = 22, left = 60, top = 92;
  if (!read.tokens.length) return h("p", { class: "moe-hint" }, read.empty);
  const marked = model.get("side") ? -1 : model.get("token"), sought = model.get("search"), deep = read.layers.length * tall;
  const names = read.tokens.map((label, token) => words(0, 0, shortened(label, 12), { "font-size": 10, "font-weight": token === marked ? 700 : 400,
    opacity: isFound(label, sought) ? 1 : 0.25, transform: `translate(${left + token * wide + 12} ${top - 6}) rotate(-60)` }));
  const rows = read.layers.flatMap((layer, row) => [words(left - 8, top + row * tall + 13, String(layer.index), { "text-anchor": "end", "font-weight": layer.index === model.get("layer") ? 700 : 400 }),
    ...read.tokens.map((label, token) => mapCell(view, layer, token, label, left + token * wide, top + row * tall, wide - 2))]);
  const frame = marked < 0 ? "" : svg("rect", { x: left + marked * wide - 1, y: top - 1, width: wide, height: deep + 1, fill: "none", stroke: "currentColor", "stroke-width": 2, "pointer-events": "none" });
  const title = `Tokens by layers: the expert of the ${ordinal(model.get("rank"))} choice`;
  return drawing(left + read.tokens.length * wide + 60, top + deep + 8, title, words(left - 8, top - 8, "layer", { "text-anchor": "end" }), ...names, ...rows, frame);
}

function mapCell({ model, colour, choose, toggleToken }, layer, token, label, x, y, size) {
  const place = Math.min(model.get("rank"), layer.k) - 1, e = layer.experts[token * layer.k + place];
  const weight = layer.weights ? layer.weights[token * layer.k + place] : null;
  const act = () => { choose("layer", layer.index); if (model.get("side") || model.get("token") !== token) toggleToken(0, token); };
  const said = `Token ${token}, ${label}, layer ${layer.index}: ${e === NO_EXPERT ? "no expert" : `expert ${e}`}${weight === null ? "" : `, weight ${weight.toFixed(2)}`}`;
  const more = { "data-testid": `map-${layer.index}-${token}`, onclick: act, class: "moe-cell", opacity: isFound(label, model.get("search")) ? 1 : 0.12 };
  const drawn = e === NO_EXPERT ? svg("g", more, svg("rect", { x, y, width: size, height: size, fill: "none", stroke: "currentColor" })) : tile(colour(e), e, x, y, size, size, more);
  if (weight) drawn.append(svg("rect", { x, y: y + size + 1, width: (size * weight) / Math.max(mostOf(layer), 1e-9), height: 2, fill: "currentColor" }));
  drawn.append(svg("title", {}, said));
  return drawn;
}

const mostOf = (layer) => (layer.most ??= layer.weights.reduce((most, weight) => Math.max(most, weight), 0));

/** What the cards show, to keep: the tokens in the colours of their experts, and the load of the layer. */
function loadDrawing(view) {
  const { model, reading, layer, colour } = view, read = reading(0), shown = layer(0), width = 900, line = 42;
  let x = 16, y = 40;
  const tiles = read.tokens.map((label, token) => {
    const e = shown.experts[token * shown.k + Math.min(model.get("rank"), shown.k) - 1], text = shortened(label, 40);
    const wide = Math.max(24, 12 + 8 * Array.from(text).length);
    if (x + wide > width - 16) { x = 16; y += line; }
    const one = svg("g", {}, e === NO_EXPERT ? null : svg("rect", { x, y, width: wide, height: 36, fill: colour(e).fill, stroke: "currentColor", "stroke-width": token === model.get("token") ? 3 : 0.5 }),
      words(x + wide / 2, y + 15, text, { "font-family": "monospace", "text-anchor": "middle", fill: e === NO_EXPERT ? "currentColor" : colour(e).text, "xml:space": "preserve" }),
      words(x + wide / 2, y + 31, e === NO_EXPERT ? "–" : String(e), { "font-size": 11, "font-weight": 700, "text-anchor": "middle", fill: e === NO_EXPERT ? "currentColor" : colour(e).text }));
    x += wide + 4;
    if (label.includes("⏎")) { x = 16; y += line; }
    return one;
  });
  const top = y + 90, most = Math.max(...shown.load, 1), step = (width - 60) / shown.nExperts;
  const bars = shown.load.flatMap((count, e) => [svg("rect", { x: 40 + e * step, y: top + 100 - (100 * count) / most, width: Math.max(1, step - 2), height: (100 * count) / most, fill: colour(e).fill, stroke: "currentColor", "stroke-width": 0.5 }),
    step < 16 && e % 8 ? null : words(40 + e * step + step / 2, top + 116, String(e), { "font-size": 10, "text-anchor": "middle" })]).filter(Boolean);
  const title = `Layer ${shown.index}, ${ordinal(model.get("rank"))} choice: the expert of each token`;
  return drawing(width, top + 130, title, words(16, 24, title, { "font-weight": 700 }), ...tiles, words(16, top - 16, `Times that each expert is chosen (largest: ${most})`), ...bars);
}
