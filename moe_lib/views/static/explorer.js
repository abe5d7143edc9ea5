// Draws one reading: its tokens, the load of the experts, one token's affinities, what changed.
//
// `model` is what anywidget hands over (get, set, save_changes, on, send); page.js makes one without a kernel.
// All layers and ranks are in `payload`, so only a new text or a switched-off expert waits for the kernel.

const SIGNS = /([␣⇥⏎␍⍽]+)/;

/** An element. Strings become text nodes: nothing of the reader's text is ever taken for HTML. */
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** base64 of 16-bit whole numbers -> array of numbers; the counterpart of payload.pack. */
function unpack(data, scale = 1) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  return Float32Array.from(new Uint16Array(bytes.buffer), (value) => value * scale);
}

function decode(payload) {
  const layers = payload.layers.map((layer) => ({
    ...layer,
    experts: unpack(layer.experts),
    weights: unpack(layer.weights.data, layer.weights.scale),
    scores: unpack(layer.scores.data, layer.scores.scale),
  }));
  return { ...payload, layers };
}

const ordinal = (rank) => rank + (["th", "st", "nd", "rd"][rank % 100 > 10 && rank % 100 < 14 ? 0 : rank % 10] ?? "th");
const plural = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;
const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);
const NO_EXPERT = 65535; // a column without a choice: tokens may have different numbers of experts
const chosen = (layer, token) => Array.from(layer.experts.subarray(token * layer.k, (token + 1) * layer.k));

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

function render({ model, el }) {
  let data = decode(model.get("payload"));
  let chips = [];
  let current = 0; // the token that Tab reaches
  let speaking;
  const part = (tag, name, attributes = {}) => h(tag, { class: `moe-${name}`, "data-testid": name, ...attributes });
  const summary = part("p", "summary", { role: "status", "aria-live": "polite" });
  const problem = part("p", "problem", { role: "alert" });
  const strip = part("div", "strip", { role: "listbox", "aria-label": "Tokens of the text", onkeydown: onStripKey });
  const load = part("section", "load", { "aria-label": "Load of the experts" });
  const detail = part("section", "detail", { "aria-label": "The chosen token" });
  const overview = part("section", "overview", { "aria-label": "Load in all layers" });
  const changes = part("section", "changes", { "aria-label": "Predictions that changed" });
  // JupyterLab would otherwise take arrow keys and Enter for its own.
  const root = h("div", { class: "moe-explorer", "data-testid": "explorer", "data-lm-suppress-shortcuts": "true" },
    summary, problem, strip, h("div", { class: "moe-columns" }, h("div", {}, load, changes, overview), detail));
  el.append(root);

  const layer = () => data.layers.find((one) => one.index === model.get("layer")) ?? data.layers[0];
  const choose = (name, value) => { model.set(name, value); model.save_changes(); };
  const toggle = (name, value) => choose(name, model.get(name) === value ? -1 : value);

  /** Redraw without losing the keyboard's place. */
  function keepFocus(draw) {
    const active = root.getRootNode().activeElement;
    const id = root.contains(active) ? active.dataset.testid : null;
    draw();
    if (id && !root.contains(root.getRootNode().activeElement)) root.querySelector(`[data-testid="${id}"]`)?.focus();
  }

  function badge(expert) {
    return h("span", { class: "moe-badge", style: painted(data.palette[expert]) }, String(expert));
  }

  function bar(share, expert) {
    return h("span", { class: "moe-bar", hidden: share > 0 ? null : "", style: `width: ${100 * share}%; background: ${data.palette[expert].fill}` });
  }

  /** Down first, then right; more columns for many experts. */
  function columns(experts) {
    const side = experts > 32 ? 3 : experts > 16 ? 2 : 1;
    return `grid-template: repeat(${Math.ceil(experts / side)}, auto) / repeat(${side}, minmax(0, 1fr))`;
  }

  // The strip: built once per text, repainted for every other change.

  function buildStrip() {
    chips = data.tokens.map((label, token) =>
      h("div", { class: "moe-token", role: "option", "data-testid": `token-${token}`, tabindex: -1,
        onclick: () => { current = token; toggle("token", token); chips[token].focus(); } },
        spelled(label), h("span", { class: "moe-number" })));
    const breaks = (label) => (label.includes("⏎") ? [h("div", { class: "moe-break", role: "presentation" })] : []);
    strip.replaceChildren(...chips.flatMap((chip, token) => [chip, ...breaks(data.tokens[token])]));
    if (!chips.length) strip.append(h("p", { class: "moe-hint", role: "presentation" }, data.empty));
    if (data.note) strip.append(h("p", { class: "moe-hint", role: "presentation", "data-testid": "note" }, data.note));
    current = Math.min(current, Math.max(0, chips.length - 1));
  }

  function paintStrip() {
    const shown = layer(), rank = Math.min(model.get("rank"), shown.k) - 1;
    const selected = model.get("token");
    const expert = shown.off.includes(model.get("expert")) ? -1 : model.get("expert"); // nobody chooses it: no tokens to show
    const changed = new Set(model.get("changes").map((change) => change.position));
    chips.forEach((chip, token) => {
      const experts = chosen(shown, token);
      const place = expert < 0 ? (experts[rank] === NO_EXPERT ? -1 : rank) : experts.indexOf(expert);
      const one = experts[place < 0 ? rank : place];
      const named = one === NO_EXPERT ? "–" : one;
      const number = chip.lastChild;
      chip.style = place < 0 ? "" : painted(data.palette[one]);
      chip.classList.toggle("moe-chooses", expert >= 0 && place >= 0);
      chip.tabIndex = token === current ? 0 : -1;
      chip.setAttribute("aria-selected", token === selected);
      number.textContent = (expert >= 0 && place >= 0 ? `${one} · ${ordinal(place + 1)}` : named) + (changed.has(token) ? " ≠" : "");
      const weight = shown.weights[token * shown.k + Math.max(place, 0)].toFixed(2);
      chip.setAttribute("aria-label", `Token ${token}, ${data.tokens[token]}, ${one === NO_EXPERT ? "no expert" : `expert ${one}`}` +
        (place < 0 ? "" : `, weight ${weight}`) + (changed.has(token) ? ", its prediction changed" : ""));
    });
  }

  function onStripKey(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -current, End: chips.length - 1 - current };
    if (event.key === "Enter" || event.key === " ") toggle("token", current);
    else if (event.key === "Escape") { choose("token", -1); choose("expert", -1); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") moveTo(lineAway(event.key === "ArrowDown" ? 1 : -1));
    else if (event.key in steps) moveTo(current + steps[event.key]);
    else return;
    event.preventDefault();
  }

  /** The token above or below: in the nearest other line, the one closest to this column. */
  function lineAway(direction) {
    const { offsetTop: top, offsetLeft: left } = chips[current];
    const beyond = chips.filter((chip) => direction * (chip.offsetTop - top) > 2);
    const line = Math.min(...beyond.map((chip) => Math.abs(chip.offsetTop - top)));
    const there = beyond.filter((chip) => Math.abs(Math.abs(chip.offsetTop - top) - line) <= 2);
    there.sort((a, b) => Math.abs(a.offsetLeft - left) - Math.abs(b.offsetLeft - left));
    return there.length ? chips.indexOf(there[0]) : current;
  }

  function moveTo(token) {
    if (!chips.length) return;
    chips[current].tabIndex = -1;
    current = Math.max(0, Math.min(chips.length - 1, token));
    chips[current].tabIndex = 0;
    chips[current].focus();
  }

  // The cards

  function drawLoad() {
    const shown = layer(), expert = model.get("expert"), reach = 1.05 * Math.max(...shown.load, 2 * shown.even, 1e-9);
    const rows = shown.load.map((count, e) => {
      const off = shown.off.includes(e);
      const times = shown.even ? `${(count / shown.even).toFixed(1)} times an even split` : "no text";
      return h("button", { class: "moe-row", type: "button", "data-testid": `expert-${e}`, "aria-pressed": e === expert,
        tabindex: e === Math.max(expert, 0) ? 0 : -1, title: `Expert ${e}: ${times}`,
        "aria-label": `Expert ${e}: chosen ${count} times, ${times}${off ? ", switched off" : ""}`, onclick: () => toggle("expert", e) },
        badge(e),
        h("span", { class: "moe-track" },
          bar(count / reach, e),
          h("span", { class: "moe-even", style: `left: ${(100 * shown.even) / reach}%` })),
        h("span", { class: "moe-value" }, off ? "off" : String(count)));
    });
    const group = h("div", { class: "moe-rows", style: columns(shown.nExperts), role: "group", "aria-label": "Experts", onkeydown: onRowKey }, ...rows);
    load.replaceChildren(
      h("h4", {}, `Layer ${shown.index}: load of each expert`),
      h("p", { class: "moe-hint" }, "The line marks an even split, ", h("b", {}, shown.even.toFixed(1)), " per expert. MaxVio ",
        h("b", {}, shown.maxVio.toFixed(2)), ": the largest load is that much above it (0 is even).",
        shown.shared ? " Besides these, every token passes the shared expert." : ""),
      group, expertPanel(shown, expert));
  }

  function onRowKey(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const rows = [...event.currentTarget.children];
    const next = rows[rows.indexOf(event.target) + step];
    if (!step) return;
    event.preventDefault();
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  function expertPanel(shown, expert) {
    if (expert < 0) return h("p", { class: "moe-hint" }, "Choose an expert to see which tokens it gets.");
    const ranks = Array(shown.k).fill(0);
    data.tokens.forEach((_, token) => { const place = chosen(shown, token).indexOf(expert); if (place >= 0) ranks[place] += 1; });
    const off = shown.off.includes(expert);
    return h("div", { class: "moe-expert" },
      off ? h("span", {}, "Expert ", badge(expert), " is switched off: its tokens go to the next best expert.")
        : h("span", {}, "Expert ", badge(expert), ` gets ${shown.load[expert]} of ${plural(data.tokens.length, "token")}: `,
          ranks.map((number, place) => `${number} as ${ordinal(place + 1)} choice`).join(", "), "."),
      model.get("live") === false ? null
        : h("button", { class: "moe-button", type: "button", "data-testid": "toggle-expert",
          onclick: () => model.send({ toggle: expert, layer: shown.index }) }, `Switch expert ${expert} ${off ? "on" : "off"}`));
  }

  function drawDetail() {
    const shown = layer(), token = model.get("token");
    const after = data.next ? h("div", { "data-testid": "next" }, h("h5", {}, "After the text the model expects"), guesses(data.next.best)) : null;
    if (token < 0 || token >= data.tokens.length) {
      detail.replaceChildren(h("h4", {}, "One token"), h("p", { class: "moe-hint" }, "Choose a token above to see its affinity to every expert."), ...(after ? [after] : []));
      return;
    }
    const experts = chosen(shown, token), scores = shown.scores.subarray(token * shown.nExperts, (token + 1) * shown.nExperts);
    const most = Math.max(...scores, 1e-9);
    const sent = experts.flatMap((e, place) => e === NO_EXPERT ? [] : [place ? ", " : "", "expert ", badge(e), ` with weight ${shown.weights[token * shown.k + place].toFixed(2)}`]);
    const rows = Array.from(scores, (score, e) => {
      const place = experts.indexOf(e);
      return h("li", { class: `moe-row${place < 0 ? "" : " moe-picked"}`, "data-testid": `affinity-${e}` }, badge(e),
        h("span", { class: "moe-track" }, bar(score / most, e)),
        h("span", { class: "moe-value" }, percent(score) + (place < 0 ? "" : ` · ${ordinal(place + 1)}`)));
    });
    detail.replaceChildren(h("h4", {}, `Token ${token}: “`, spelled(data.tokens[token]), "”"),
      h("p", { class: "moe-hint", "data-testid": "sent-to" }, "Sent to ", ...(sent.length ? sent : ["no expert"]), `. Affinity to every expert of layer ${shown.index}:`),
      h("ul", { class: "moe-rows", style: columns(shown.nExperts) }, ...rows), ...expectations(token), ...(after ? [after] : []));
  }

  function expectations(token) {
    const prediction = data.predictions[token];
    if (!prediction) return [h("p", { class: "moe-hint" }, "Nothing stands before the first token, so it is not predicted.")];
    const change = model.get("changes").find((one) => one.position === token);
    return [h("h5", {}, data.causal ? "Expected here, from the tokens before" : "Expected here, with this token masked"), guesses(prediction.best),
      prediction.actual === null ? null : h("p", { class: "moe-hint" }, `The token that stands here: ${percent(prediction.actual)}.`),
      change ? h("p", {}, "With all experts on: ", spelled(change.before), ` ${percent(change.before_probability)}.`) : null].filter(Boolean);
  }

  function guesses(best) {
    return h("ol", { class: "moe-guesses" }, ...best.map(([label, share]) => h("li", {}, spelled(label), " ", h("span", { class: "moe-value" }, percent(share)))));
  }

  function drawOverview() {
    const rows = data.layers.map((one) => {
      const most = Math.max(...one.load, 1), busiest = one.load.indexOf(Math.max(...one.load));
      const bars = one.load.map((count, e) => h("span", { style: `height: ${Math.max(2, (100 * count) / most)}%; background: ${data.palette[e].fill}` }));
      return h("button", { class: "moe-layer", type: "button", "data-testid": `layer-${one.index}`, "aria-pressed": one === layer(), onclick: () => choose("layer", one.index) },
        h("span", { class: "moe-name" }, `Layer ${one.index}`),
        h("span", { class: "moe-bars", "aria-hidden": "true" }, ...bars, h("span", { class: "moe-mean", style: `bottom: ${(100 * one.even) / most}%` })),
        h("span", { class: "moe-value" }, data.tokens.length ? `MaxVio ${one.maxVio.toFixed(2)}, largest: ${busiest}` : "no text"));
    });
    const dense = data.dense.map((index) => h("p", { class: "moe-layer moe-dense", "data-testid": `layer-${index}` },
      h("span", { class: "moe-name" }, `Layer ${index}`), h("span", { class: "moe-hint" }, "dense: one network for every token")));
    const place = (row) => Number(row.dataset.testid.slice("layer-".length));
    const ordered = [...rows, ...dense].sort((a, b) => place(a) - place(b));
    overview.replaceChildren(h("h4", {}, "All layers"), h("p", { class: "moe-hint" }, "One bar per expert, from 0 on; the line is an even split."), ...ordered);
  }

  function drawChanges() {
    const off = data.layers.filter((one) => one.off.length), list = model.get("changes");
    changes.hidden = !off.length;
    if (!off.length) return changes.replaceChildren();
    const named = off.map((one) => `layer ${one.index}: ${one.off.join(", ")}`).join("; ");
    const side = (label, share) => h("td", {}, spelled(label), " ", h("span", { class: "moe-value" }, percent(share)));
    const rows = list.slice(0, 100).map((one) => h("tr", {}, h("td", {}, String(one.position)), h("td", {}, spelled(one.label)),
      side(one.before, one.before_probability), side(one.after, one.after_probability)));
    const head = ["Token", "is", "expected with all on", "expected now"].map((title) => h("th", { scope: "col" }, title));
    changes.replaceChildren(h("h4", {}, `Switched off: ${named}`),
      h("p", { class: "moe-hint" }, list.length ? `${plural(list.length, "prediction")} changed${list.length > 100 ? "; the first 100:" : "."}` : "No prediction changed."),
      list.length ? h("div", { class: "moe-scroll", tabindex: 0, role: "region", "aria-label": "Changed predictions" },
        h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows))) : "");
  }

  function drawSummary() {
    clearTimeout(speaking); // typing should not make a screen reader start over at every letter
    speaking = setTimeout(() => { summary.textContent = model.get("summary"); nameSlider(); }, 150);
    problem.textContent = model.get("problem") ?? "";
  }

  /** ipywidgets gives the handle of a slider no name for screen readers. */
  function nameSlider() {
    root.closest(".moe-explorer-box")?.querySelector("[role=slider]")?.setAttribute("aria-label", "Layer");
  }

  const draw = (...steps) => () => keepFocus(() => steps.forEach((step) => step()));
  const everything = draw(buildStrip, paintStrip, drawLoad, drawDetail, drawOverview, drawChanges, drawSummary);
  const watched = {
    "change:payload": () => { data = decode(model.get("payload")); everything(); },
    "change:layer": draw(paintStrip, drawLoad, drawDetail, drawOverview),
    "change:rank": draw(paintStrip),
    "change:expert": draw(paintStrip, drawLoad),
    "change:token": draw(paintStrip, drawDetail),
    "change:changes": draw(paintStrip, drawDetail, drawChanges),
    "change:summary": drawSummary,
    "change:problem": drawSummary,
  };
  for (const [name, react] of Object.entries(watched)) model.on(name, react);
  everything();
  return () => Object.entries(watched).forEach(([name, react]) => model.off(name, react));
}

export default { render };
