// Draws one reading, or two beside each other: tokens, load of the experts, one token's affinities, what changed.
//
// `model` is what anywidget hands over (get, set, save_changes, on, send); page.js makes one without a kernel.
// All layers and ranks are in `payload`, so only a new text or a changed model waits for the kernel.

function render({ model, el }) {
  let data = decode(model.get("payload"));
  let compared = decodeComparison(); // null while there is one reading
  let drawn = { payload: model.get("payload"), comparison: model.get("comparison") };
  let speaking;
  const part = (tag, name, attributes = {}) => h(tag, { class: `moe-${name}`, "data-testid": name, ...attributes });
  const summary = part("p", "summary", { role: "status", "aria-live": "polite" });
  const problem = part("p", "problem", { role: "alert" });
  const view = { model, reading, layer, colour, choose, toggleToken, compared: () => compared };
  const strips = [0, 1].map((side) => makeStrip(side, view));
  const load = part("section", "load", { "aria-label": "Load of the experts" });
  const detail = part("section", "detail", { "aria-label": "The chosen token" });
  const overview = part("section", "overview", { "aria-label": "Load in all layers" });
  const changes = part("section", "changes", { "aria-label": "Predictions that changed" });
  const comparing = part("section", "comparing", { "aria-label": "The two compared" });
  // JupyterLab would otherwise take arrow keys and Enter for its own.
  const root = h("div", { class: "moe-widget moe-explorer", "data-testid": "explorer", "data-lm-suppress-shortcuts": "true" },
    summary, problem, ...strips.map((one) => one.node),
    h("div", { class: "moe-columns" }, h("div", {}, comparing, load, changes, overview), detail));
  el.append(root);

  function choose(name, value) { model.set(name, value); model.save_changes(); }
  function toggle(name, value) { choose(name, model.get(name) === value ? -1 : value); }
  function reading(side) { return side && compared ? compared.other : data; }

  function layer(side = 0) {
    const found = reading(side).layers.find((one) => one.index === model.get("layer"));
    return found ?? (side ? null : data.layers[0]);
  }

  /** The second reading's layer, where the two can be compared. */
  function partner() {
    const other = compared ? layer(1) : null;
    return other && other.nExperts === layer().nExperts ? other : null;
  }

  function colour(expert) { return (data.palette.length > expert ? data : compared.other).palette[expert]; }

  function decodeComparison() {
    const found = model.get("comparison") ?? {};
    return found.other ? { ...found, other: decode(found.other) } : null;
  }

  function toggleToken(side, token) {
    const again = model.get("side") === side && model.get("token") === token;
    model.set("side", side);
    choose("token", again ? -1 : token);
  }

  /** Redraw without losing the keyboard's place. */
  function keepFocus(draw) {
    const active = root.getRootNode().activeElement;
    const id = root.contains(active) ? active.dataset.testid : null;
    draw();
    if (id && !root.contains(root.getRootNode().activeElement)) root.querySelector(`[data-testid="${id}"]`)?.focus();
  }

  // The cards

  function drawComparing() {
    comparing.hidden = !compared;
    if (!compared) return comparing.replaceChildren();
    const found = compared.layers[layer().index], said = compared.words[layer().index];
    const key = [0, 1].map((side) => h("span", { class: "moe-key" }, h("span", { class: `moe-swatch${side ? " moe-second" : ""}` }), h("bdi", {}, compared.names[side])));
    comparing.replaceChildren(h("h4", {}, `Layer ${layer().index}: the two compared`), h("p", { class: "moe-keys" }, ...key),
      found ? comparisonTable(found) : h("p", {}, said ?? "One of the two texts is empty: there is nothing to compare."),
      compared.same ? h("p", { class: "moe-hint" }, "Tokens marked = in the second go to the expert of the same number as in the first.") : "");
  }

  function comparisonTable(found) {
    const row = (title, measured, random) => h("tr", {}, h("th", { scope: "row" }, title), h("td", {}, measured), h("td", {}, random));
    const rows = [row("Distance of the loads (total variation, 0 to 1)", found.total_variation.toFixed(2), found.shuffled_variation.toFixed(2))];
    if (found.overlap !== null) rows.push(row("Experts of a token with the same number in both", whole(found.overlap), whole(found.chance_overlap)));
    if (found.overlap !== null && compared.twoModels) rows.push(row("The same, the second's experts renumbered to fit best", whole(found.renumbered_overlap), whole(found.renumbered_chance)));
    const head = ["", "measured", "at random"].map((title) => h("th", { scope: "col" }, title));
    return h("table", { "data-testid": "comparison" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows));
  }

  function drawLoad() {
    const shown = layer(), other = partner(), expert = model.get("expert"), even = 1 / shown.nExperts;
    const readings = other ? [shown, other] : [shown];
    const reach = 1.05 * Math.max(...readings.flatMap((one) => one.load.map((_, e) => shareOf(one, e))), 2 * even);
    const rows = shown.load.map((count, e) => {
      const off = shown.off.includes(e);
      const times = shown.even ? `${(count / shown.even).toFixed(1)} times an even split` : "no text";
      const beside = other ? `; ${whole(shareOf(shown, e))} of the choices, in the second ${whole(shareOf(other, e))}` : "";
      return h("button", { class: `moe-row${other ? " moe-two" : ""}`, type: "button", "data-testid": `expert-${e}`, "aria-pressed": e === expert,
        tabindex: e === Math.max(expert, 0) ? 0 : -1, title: `Expert ${e}: ${times}${beside}`,
        "aria-label": `Expert ${e}: chosen ${count} times, ${times}${beside}${off ? ", switched off" : ""}`, onclick: () => toggle("expert", e) },
        badge(colour(e), e),
        h("span", { class: "moe-track" }, ...readings.map((one, place) => bar(shareOf(one, e) / reach, colour(e), place > 0)),
          h("span", { class: "moe-even", style: `left: ${(100 * even) / reach}%` })),
        h("span", { class: "moe-value" }, off ? "off" : other ? `${whole(shareOf(shown, e))} | ${whole(shareOf(other, e))}` : String(count)));
    });
    const used = model.get("side") ? new Set() : groupsOf(shown, Math.min(model.get("token"), data.tokens.length - 1));
    const group = h("div", { role: "group", "aria-label": "Experts", onkeydown: onRowKey }, ...inColumns(shown, rows, used));
    load.replaceChildren(
      h("h4", {}, `Layer ${shown.index}: load of each expert`),
      h("p", { class: "moe-hint" }, "The line marks an even split, ", h("b", {}, shown.even.toFixed(1)), " per expert. MaxVio ",
        h("b", {}, shown.maxVio.toFixed(2)), ": the largest load is that much above it (0 is even).",
        other ? " The bars show shares of all choices: the first reading plain, the second hatched." : "",
        shown.shared ? ` Besides these, every token passes ${shown.shared > 1 ? `${shown.shared} shared experts` : "the shared expert"}.` : "",
        shown.nGroup > 1 ? ` A token may use experts of at most ${shown.topkGroup} of the ${shown.nGroup} groups.` : ""),
      group, sharedRows(shown, data.tokens.length, reach, Boolean(other)) ?? "", expertPanel(shown, expert));
  }

  function onRowKey(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const rows = [...event.currentTarget.querySelectorAll("button")];
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
      off ? h("span", {}, "Expert ", badge(colour(expert), expert), " is switched off: its tokens go to the next best expert.")
        : h("span", {}, "Expert ", badge(colour(expert), expert), ` gets ${shown.load[expert]} of ${plural(data.tokens.length, "token")}: `,
          ranks.map((number, place) => `${number} as ${ordinal(place + 1)} choice`).join(", "), "."),
      model.get("live") === false ? null
        : h("button", { class: "moe-button", type: "button", "data-testid": "toggle-expert",
          onclick: () => model.send({ toggle: expert, layer: shown.index }) }, `Switch expert ${expert} ${off ? "on" : "off"}`));
  }

  function drawDetail() {
    const side = model.get("side"), read = reading(side), shown = layer(side), token = model.get("token");
    if (token < 0 || token >= read.tokens.length || !shown) {
      const hint = "Choose a token above to see its affinity to every expert.";
      return detail.replaceChildren(h("h4", {}, "One token"), h("p", { class: "moe-hint" }, hint), ...expectedNext(side));
    }
    const affinities = shown.scores
      ? [`. Affinity to every expert of layer ${shown.index}:`, inColumns(shown, affinityRows(shown, token), groupsOf(shown, token), "ul")]
      : [". Affinities and weights were not recorded: a serving engine returns the chosen experts alone.", []];
    const other = compared?.same && layer(1 - side) ? [h("p", { class: "moe-hint", "data-testid": "sent-in-other" },
      "In “", h("bdi", {}, compared.names[1 - side]), "”: ", ...sentTo(layer(1 - side), token), ".")] : [];
    detail.replaceChildren(
      h("h4", {}, `Token ${token}: “`, spelled(read.tokens[token]), "”", ...(compared ? [" of ", h("bdi", {}, compared.names[side])] : [])),
      h("p", { class: "moe-hint", "data-testid": "sent-to" }, "Sent to ", ...sentTo(shown, token), affinities[0]),
      ...other, ...affinities[1], ...expectations(side, token), ...expectedNext(side));
  }

  function affinityRows(shown, token) {
    const experts = chosen(shown, token), scores = shown.scores.subarray(token * shown.nExperts, (token + 1) * shown.nExperts);
    const most = Math.max(...scores, 1e-9);
    return Array.from(scores, (score, e) => {
      const place = experts.indexOf(e);
      return h("li", { class: `moe-row${place < 0 ? "" : " moe-picked"}`, "data-testid": `affinity-${e}` }, badge(colour(e), e),
        h("span", { class: "moe-track" }, bar(score / most, colour(e))),
        h("span", { class: "moe-value" }, percent(score) + (place < 0 ? "" : ` · ${ordinal(place + 1)}`)));
    });
  }

  function sentTo(shown, token) {
    const sent = chosen(shown, token).flatMap((e, place) => e === NO_EXPERT ? []
      : [place ? ", " : "", "expert ", badge(colour(e), e), ...(shown.weights ? [` with weight ${shown.weights[token * shown.k + place].toFixed(2)}`] : [])]);
    return sent.length ? sent : ["no expert"];
  }

  /** What is expected now, and beside it what was expected as trained. */
  function beforeAndNow(now, was) {
    if (!was) return guesses(now.best);
    return h("div", { class: "moe-beside" }, h("div", {}, h("p", { class: "moe-hint" }, "As trained"), guesses(was.best)),
      h("div", {}, h("p", { class: "moe-hint" }, "Now"), guesses(now.best)));
  }

  function expectations(side, token) {
    if (!reading(side).predictions.length) return [h("p", { class: "moe-hint" }, "What the model expected here needs the model: this is a trace without it.")];
    const prediction = reading(side).predictions[token];
    const first = data.causal && token === 0;
    if (!prediction) return [h("p", { class: "moe-hint" }, first ? "Nothing stands before the first token, so it is not predicted."
      : "What the model expects here is no number (NaN or infinity).")];
    const was = side ? null : model.get("before").predictions?.[token];
    const actual = was && was.actual !== null ? `${percent(was.actual)} as trained, ${percent(prediction.actual)} now` : percent(prediction.actual ?? 0);
    return [h("h5", {}, data.causal ? "Expected here, from the tokens before" : "Expected here, with this token masked"), beforeAndNow(prediction, was),
      prediction.actual === null ? null : h("p", { class: "moe-hint" }, `The token that stands here: ${actual}.`)].filter(Boolean);
  }

  function expectedNext(side) {
    const next = reading(side).next;
    if (!next) return [];
    const was = side ? null : model.get("before").next;
    const of = compared ? [" (", h("bdi", {}, compared.names[side]), ")"] : [];
    return [h("div", { "data-testid": "next" }, h("h5", {}, "After the text the model expects", ...of), beforeAndNow(next, was))];
  }

  function drawOverview() {
    const rows = data.layers.map((one) => {
      const found = compared?.layers[one.index], other = found ? compared.other.layers.find((two) => two.index === one.index) : null;
      const busiest = one.load.indexOf(Math.max(...one.load));
      const said = !data.tokens.length ? "no text" : !found ? `MaxVio ${one.maxVio.toFixed(2)}, largest: ${busiest}`
        : `distance ${found.total_variation.toFixed(2)}` + (found.overlap === null ? "" : `, same experts ${whole(found.overlap)}`);
      return h("button", { class: "moe-layer", type: "button", "data-testid": `layer-${one.index}`, "aria-pressed": one === layer(), onclick: () => choose("layer", one.index) },
        h("span", { class: "moe-name" }, `Layer ${one.index}`), smallBars(one, other, data.palette), h("span", { class: "moe-value" }, said));
    });
    const dense = data.dense.map((index) => h("div", { class: "moe-layer moe-dense", "data-testid": `layer-${index}` },
      h("span", { class: "moe-name" }, `Layer ${index}`), h("span", { class: "moe-dense-bar" }, "dense, no router")));
    const place = (row) => Number(row.dataset.testid.slice("layer-".length));
    const ordered = [...rows, ...dense].sort((a, b) => place(a) - place(b));
    const shared = data.layers.some((one) => one.shared), groups = data.layers.some((one) => one.nGroup > 1);
    overview.replaceChildren(h("h4", {}, "All layers"), h("p", { class: "moe-hint" }, `One ${compared ? "pair of bars" : "bar"} per expert, from 0 on; the dashed line is an even split.`,
      shared ? " Hatched, cut short: shared experts, which every token passes." : "", groups ? " Upright lines part the groups." : "",
      compared ? " Distance: total variation of the two loads, 0 to 1." : ""), ...ordered);
  }

  function drawChanges() {
    const before = model.get("before"), list = model.get("changes");
    changes.hidden = !before.title;
    if (!before.title) return changes.replaceChildren();
    const side = (label, share) => h("td", {}, spelled(label), " ", h("span", { class: "moe-value" }, percent(share)));
    const rows = list.slice(0, 100).map((one) => h("tr", {}, h("td", {}, String(one.position)), h("td", {}, spelled(one.label)),
      side(one.before, one.before_probability), side(one.after, one.after_probability)));
    const head = ["Token", "is", "expected as trained", "expected now"].map((title) => h("th", { scope: "col" }, title));
    const more = data.loss - before.loss;
    const loss = data.loss === null || before.loss === null ? "" : h("p", { "data-testid": "loss" }, "Loss on the text: ", h("b", {}, before.loss.toFixed(3)), " as trained, ", h("b", {}, data.loss.toFixed(3)),
      ` now (${more < 0 ? "−" : "+"}${Math.abs(more).toFixed(3)} nats per token).`);
    changes.replaceChildren(h("h4", {}, `What if: ${before.title}`), loss,
      h("p", { class: "moe-hint" }, list.length ? `${plural(list.length, "prediction")} changed${list.length > 100 ? "; the first 100:" : "."}` : "No prediction changed."),
      list.length ? h("div", { class: "moe-scroll", tabindex: 0, role: "region", "aria-label": "Changed predictions" },
        h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows))) : "");
  }

  function drawSummary() {
    clearTimeout(speaking); // typing should not make a screen reader start over at every letter
    speaking = setTimeout(() => { summary.textContent = model.get("summary"); nameSliders(); }, 150);
    problem.textContent = model.get("problem") ?? "";
  }

  /** ipywidgets gives the handle of a slider no name for screen readers. */
  function nameSliders() {
    root.closest(".moe-explorer-box")?.querySelectorAll("[role=slider]").forEach((handle) => {
      const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label")?.textContent;
      if (label) handle.setAttribute("aria-label", label);
    });
  }

  const draw = (...steps) => () => keepFocus(() => steps.forEach((step) => step()));
  const build = () => strips.forEach((one) => one.build()), paint = () => strips.forEach((one) => one.paint());
  const everything = draw(build, paint, drawComparing, drawLoad, drawDetail, drawOverview, drawChanges, drawSummary);
  /** Both arrive together: whichever is told of first brings the other along. */
  function refresh() {
    if (drawn.payload === model.get("payload") && drawn.comparison === model.get("comparison")) return;
    drawn = { payload: model.get("payload"), comparison: model.get("comparison") };
    data = decode(drawn.payload);
    compared = decodeComparison();
    everything();
  }
  const watched = {
    "change:payload": refresh,
    "change:comparison": refresh,
    "change:before": draw(drawDetail, drawChanges),
    "change:layer": draw(paint, drawComparing, drawLoad, drawDetail, drawOverview),
    "change:rank": draw(paint),
    "change:expert": draw(paint, drawLoad),
    "change:token": draw(paint, drawLoad, drawDetail),
    "change:side": draw(paint, drawLoad, drawDetail),
    "change:changes": draw(paint, drawDetail, drawChanges),
    "change:summary": drawSummary,
    "change:problem": drawSummary,
  };
  for (const [name, react] of Object.entries(watched)) model.on(name, react);
  everything();
  return () => Object.entries(watched).forEach(([name, react]) => model.off(name, react));
}

export default { render };
