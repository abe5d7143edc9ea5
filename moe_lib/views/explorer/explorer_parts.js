// What explorer.js is built from: elements, numbers and words. Nothing here knows the state of the explorer.

const SIGNS = /([␣⇥⏎␍⍽]+)/;

/** base64 of whole numbers of 16 or 12 bits -> array of numbers; the counterpart of payload.pack. */
function unpack({ data, scale = 1, bits = 16 }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  if (bits === 16) return Float32Array.from(new Uint16Array(bytes.buffer), (value) => value * scale);
  const numbers = new Float32Array((bytes.length / 3) * 2); // two numbers in three bytes
  for (let at = 0, place = 0; at < bytes.length; at += 3, place += 2) {
    numbers[place] = (bytes[at] | ((bytes[at + 1] & 15) << 8)) * scale;
    numbers[place + 1] = ((bytes[at + 1] >> 4) | (bytes[at + 2] << 4)) * scale;
  }
  return numbers;
}

function decode(payload) {
  const layers = payload.layers.map((layer) => ({
    ...layer,
    experts: unpack({ data: layer.experts }),
    weights: layer.weights && unpack(layer.weights), // null where a serving engine did not return them
    scores: layer.scores && unpack(layer.scores),
    choices: layer.load.reduce((sum, count) => sum + count, 0),
  }));
  return { ...payload, layers };
}

const ordinal = (rank) => rank + (["th", "st", "nd", "rd"][rank % 100 > 10 && rank % 100 < 14 ? 0 : rank % 10] ?? "th");
const plural = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;
const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);
const whole = (share) => `${Math.round(100 * share)} %`;
const NO_EXPERT = 65535; // a column without a choice: tokens may have different numbers of experts
const chosen = (layer, token) => Array.from(layer.experts.subarray(token * layer.k, (token + 1) * layer.k));
const shareOf = (layer, expert) => layer.load[expert] / Math.max(1, layer.choices);
const groupSize = (layer) => layer.nExperts / layer.nGroup;

/** Groups that hold an expert of a token; empty where the choice is not limited to groups. */
function groupsOf(layer, token) {
  if (layer.nGroup < 2 || token < 0) return new Set();
  return new Set(chosen(layer, token).filter((e) => e !== NO_EXPERT).map((e) => Math.floor(e / groupSize(layer))));
}

/** A label with its signs for spaces and line ends set smaller. */
function spelled(label) {
  const parts = label.split(SIGNS).filter(Boolean);
  return h("bdi", { class: "moe-label" }, ...parts.map((part) => (SIGNS.test(part) ? h("span", { class: "moe-sign" }, part) : part)));
}

/** Fill, ink and edge of an expert's colour, as a style; the number always stands beside it. */
function painted(colour) {
  const edge = colour.edge === "none" ? "" : `border-${colour.edge_side}: 3px ${colour.edge} ${colour.text}; padding-${colour.edge_side}: 0;`;
  return `background: ${colour.fill}; color: ${colour.text}; ${edge}`;
}

function badge(colour, expert) {
  return h("span", { class: "moe-badge", style: painted(colour) }, String(expert));
}

/** `share` of the track, 0 to 1; the second of two readings is hatched. */
function bar(share, colour, second = false) {
  return h("span", { class: `moe-bar${second ? " moe-second" : ""}`, hidden: share > 0 ? null : "",
    style: `width: ${100 * share}%; background-color: ${colour.fill}` });
}

function guesses(best) {
  return h("ol", { class: "moe-guesses" }, ...best.map(([label, share]) => h("li", {}, spelled(label), " ", h("span", { class: "moe-value" }, percent(share)))));
}

/** Rows one below the other, in more columns for many; with groups, a block with a heading for each. */
function inColumns(layer, rows, used, tag = "div") {
  if (layer.nGroup < 2) {
    const side = rows.length > 32 ? 3 : rows.length > 16 ? 2 : 1;
    const style = `grid-template: repeat(${Math.ceil(rows.length / side)}, auto) / repeat(${side}, minmax(0, 1fr))`;
    return [h(tag, { class: "moe-rows", style }, ...rows)];
  }
  const size = groupSize(layer);
  const blocks = Array.from({ length: layer.nGroup }, (_, group) =>
    h("div", { class: `moe-group${used.has(group) ? " moe-used" : ""}`, "data-testid": `group-${group}`, role: "group", "aria-label": `Group ${group}${used.has(group) ? ", used by the token" : ""}` },
      h("p", { class: "moe-group-name" }, `Group ${group}`, used.has(group) ? h("b", {}, " ✓ used by the token") : null),
      h(tag, { class: "moe-rows moe-flow" }, ...rows.slice(group * size, (group + 1) * size))));
  return [h("div", { class: "moe-groups" }, ...blocks)];
}

/** Bars of the shared experts, which every token passes. `reach` is the share at the end of the track: a taller bar is cut. */
function sharedRows(layer, tokens, reach, compared) {
  if (!layer.shared) return null;
  const share = tokens / Math.max(1, layer.choices), cut = share > reach;
  const rows = Array.from({ length: layer.shared }, (_, place) =>
    h("div", { class: "moe-row moe-shared-row", "data-testid": `shared-${place}` }, h("span", { class: "moe-badge" }, "S"),
      h("span", { class: "moe-track" }, h("span", { class: "moe-shared", style: `width: ${100 * Math.min(1, share / reach)}%` }), cut ? h("span", { class: "moe-cut" }) : null),
      h("span", { class: "moe-value" }, compared ? "all" : String(tokens))));
  return h("div", { class: "moe-shared-rows", role: "img", "aria-label": `${plural(layer.shared, "shared expert")}: each gets all ${tokens} tokens` },
    h("p", { class: "moe-hint" }, `Shared: all ${plural(tokens, "token")} pass ${layer.shared > 1 ? "each of them" : "it"}${cut ? " (bar cut short)" : ""}`), ...rows);
}

/** The small bars of one layer in the overview; of two readings in pairs. */
function smallBars(layer, other, palette) {
  const readings = other ? [layer, other] : [layer];
  const most = Math.max(...readings.flatMap((one) => one.load.map((_, e) => shareOf(one, e))), 1e-9);
  const bars = layer.load.flatMap((_, e) => readings.map((one, place) => h("span", {
    class: [place ? "moe-second" : "", layer.nGroup > 1 && e && !place && e % groupSize(layer) === 0 ? "moe-edge" : "", other && !place ? "moe-pair" : ""].join(" ").trim(),
    style: `height: ${Math.max(2, (100 * shareOf(one, e)) / most)}%; background-color: ${palette[e].fill}` })));
  const shared = Array.from({ length: layer.shared }, () => h("span", { class: "moe-shared" }));
  const mean = h("span", { class: "moe-mean", style: `bottom: ${100 / layer.nExperts / most}%` });
  return h("span", { class: "moe-bars", "aria-hidden": "true" }, h("span", { class: "moe-routed" }, ...bars, mean),
    shared.length ? h("span", { class: "moe-always" }, ...shared) : null);
}
