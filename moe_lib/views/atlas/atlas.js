// The atlas: a grid of all experts, one of them told in full, and a search over tokens and passages.

const state = JSON.parse(document.getElementById("state").textContent);
const chosen = { layer: 0, expert: 0, measure: "load" };
const cells = [];

const measures = [["load", "share of all tokens"], ...state.domains.map((name, place) => [`domain ${place}`, `share of the tokens of ${name}`])];
if (state.layers.some((layer) => layer.importance)) measures.push(["importance", "rise of the loss without it"]);

function valueOf(layer, expert) {
  if (chosen.measure === "load") return layer.load[expert];
  if (chosen.measure === "importance") return Math.max(0, layer.importance?.[expert] ?? 0);
  return layer.domains.share[Number(chosen.measure.slice(7))][expert];
}

function paint() {
  state.layers.forEach((layer, row) => {
    const values = Array.from({ length: layer.experts }, (_, expert) => valueOf(layer, expert)), most = Math.max(...values, 1e-9);
    values.forEach((value, expert) => cells[row][expert].style.setProperty("--part", (value / most).toFixed(3)));
  });
}

function choose(row, expert, focus = true) {
  cells[chosen.layer][chosen.expert].tabIndex = -1;
  cells[chosen.layer][chosen.expert].setAttribute("aria-pressed", "false");
  chosen.layer = Math.min(Math.max(row, 0), state.layers.length - 1);
  chosen.expert = Math.min(Math.max(expert, 0), state.layers[chosen.layer].experts - 1);
  const cell = cells[chosen.layer][chosen.expert];
  cell.tabIndex = 0;
  cell.setAttribute("aria-pressed", "true");
  if (focus) cell.focus();
  detail();
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
function onKey(event) {
  const layer = state.layers[chosen.layer];
  if (event.key in STEPS) choose(chosen.layer + STEPS[event.key][0], chosen.expert + STEPS[event.key][1]);
  else if (event.key === "Home") choose(chosen.layer, 0);
  else if (event.key === "End") choose(chosen.layer, layer.experts - 1);
  else return;
  event.preventDefault();
}

function grid() {
  const table = h("div", { class: "moe-grid", role: "group", "aria-label": "All experts: a row per layer. Arrow keys move.", onkeydown: onKey });
  state.layers.forEach((layer, row) => {
    cells[row] = Array.from({ length: layer.experts }, (_, expert) => h("button", {
      type: "button", class: "moe-cell", tabindex: "-1", "aria-pressed": "false", "data-testid": `cell-${layer.index}-${expert}`,
      title: `Layer ${layer.index}, expert ${expert}`, "aria-label": `Layer ${layer.index}, expert ${expert}: ${percent(layer.load[expert])} of tokens`,
      onclick: () => choose(row, expert) }));
    table.append(h("div", { class: "moe-line" }, h("span", { class: "moe-layer-name" }, `Layer ${layer.index}`), ...cells[row]));
  });
  return table;
}

function sentence(layer, expert) {
  const load = layer.load[expert], even = (1000 * layer.k) / layer.experts;
  const rows = shareRows(state.domains, layer.domains, expert).filter(([, , low, , , high]) => low !== null && low > high);
  const favoured = rows.sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const words = [`Expert ${expert} of layer ${layer.index} takes ${percent(load)} of all tokens; an even split would give it ${percent(even)}.`];
  words.push(favoured.length ? `Above what chance gives: ${favoured.join(", ")}.` : "No domain stands above what chance gives.");
  if (layer.importance) words.push(`Without it the loss rises by ${layer.importance[expert]} nats per token.`);
  return words.join(" ");
}

function detail() {
  const layer = state.layers[chosen.layer], expert = chosen.expert, eighths = Array.from({ length: 8 }, (_, place) => `${place + 1}. eighth`);
  const found = layer.passages[expert];
  panel.replaceChildren(
    h("h2", {}, `Layer ${layer.index}, expert ${expert}`), h("p", { role: "status", "data-testid": "words" }, sentence(layer, expert)),
    h("div", { class: "moe-two-columns" },
      h("section", {}, h("h3", {}, "Domains"), bars(shareRows(state.domains, layer.domains, expert), "Of the domain's tokens, the share that takes it; by chance: domains dealt out anew over the documents")),
      h("section", {}, h("h3", {}, "Tokens"), tokenTable(layer, expert, state.names)),
      h("section", {}, h("h3", {}, "Positions"), bars(shareRows(eighths, layer.positions, expert), "Where in a window its tokens stand; by chance: its load")),
      h("section", {}, h("h3", {}, "Chosen together"), partners(layer, expert)),
      saturation(layer)),
    h("section", {}, h("h3", {}, "Most typical passages"),
      h("p", { class: "moe-from" }, found.length ? `Marked: tokens that take it. With tokens mixed, the largest share in any passage is ${percent(layer.passagesByChance[expert])}.` : "It takes no token."),
      h("ol", { class: "moe-passages" }, ...found.map((one) => passage(one, state.texts)))));
}

function saturation(layer) {
  if (!layer.saturation.length) return null;
  return h("section", {}, h("h3", {}, "Saturation of the layer"), h("table", { class: "moe-shares" }, h("caption", {}, "Of the final choices, the share made already at …"),
    h("thead", {}, h("tr", {}, ...["checkpoint", "share", "by chance"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, ...layer.saturation.map(([share, chance], place) => h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, state.checkpoints[place])),
      h("td", {}, percent(share)), h("td", {}, percent(chance)))))));
}

const SHOWN = 40;
function search(words) {
  const wanted = words.trim().toLowerCase(), hits = [];
  results.replaceChildren();
  if (!wanted) { said.textContent = ""; return; }
  state.layers.forEach((layer, row) => layer.tokens.forEach((tokens, expert) => {
    for (const [token, share] of tokens) if (state.names[token].toLowerCase().includes(wanted)) hits.push([share, row, expert, `token ${state.names[token]}: ${percent(share)}`]);
    for (const [text, start, bits] of layer.passages[expert]) {
      const whole = state.texts[text][1].slice(start, start + bits.length).join("");
      if (whole.toLowerCase().includes(wanted)) hits.push([[...bits].filter((bit) => bit === "1").length * 1000 / bits.length - 1000, row, expert, `passage: ${whole.trim().slice(0, 70)}`]);
    }
  }));
  hits.sort((a, b) => b[0] - a[0]);
  said.textContent = hits.length ? `${hits.length} found${hits.length > SHOWN ? `, the first ${SHOWN} shown` : ""}.` : "Nothing found among the listed tokens and passages.";
  results.append(...hits.slice(0, SHOWN).map(([, row, expert, why]) => h("li", {}, h("button", { type: "button", onclick: () => choose(row, expert) },
    `Layer ${state.layers[row].index}, expert ${expert}`), " ", h("bdi", {}, why))));
}

const panel = h("div", { class: "moe-panel" }), results = h("ul", { class: "moe-hits" }), said = h("p", { role: "status", class: "moe-from" });
const total = state.domainTokens.reduce((sum, one) => sum + one, 0);
const select = h("select", { id: "measure", onchange: () => { chosen.measure = select.value; paint(); } }, ...measures.map(([value, words]) => h("option", { value }, words)));
document.getElementById("atlas").append(
  h("p", {}, `${total.toLocaleString("en")} tokens of ${state.documents.toLocaleString("en")} documents: `, h("bdi", {}, state.domains.map((name, place) => `${name} ${state.domainTokens[place].toLocaleString("en")}`).join(", ")),
    ". Intervals are a bootstrap over documents; each table has a control in which chance alone is at work."),
  h("div", { class: "moe-controls" }, h("label", { for: "measure" }, "Colour, within each layer:"), select,
    h("label", { for: "find" }, "Search tokens and passages:"), h("input", { id: "find", type: "search", oninput: (event) => search(event.target.value) })),
  said, results, grid(), panel);
paint();
choose(0, 0, false);
