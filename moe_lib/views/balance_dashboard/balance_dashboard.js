// Draws training runs side by side: `view` holds the controls and the words, messages bring the steps.
//
// A message has the steps of one run from `start` on. A page that lacks the earlier ones asks for them all ("hello").

const WAIT = 100; // milliseconds that a slider's moves are gathered
const COLUMNS = 800; // of a map; a longer run is drawn in means of several steps

function render({ model, el }) {
  const id = freshId("moe-balance");
  const steps = new Map(); // run -> its steps, as far as they have come
  const sections = new Map(); // run -> its elements, kept so that the focus stays where it is
  let timer; // set while a setting waits to be sent
  let waiting = {};
  let asked = false;
  const view = () => model.get("view");
  const part = (tag, name, attributes = {}, ...children) =>
    h(tag, { class: `moe-balance-${name}`, "data-testid": `balance-${name}`, ...attributes }, ...children);
  const act = (name, more = {}) => model.send({ act: name, ...more });

  function set(settings) {
    waiting = { ...waiting, ...settings };
    clearTimeout(timer);
    timer = setTimeout(() => { timer = undefined; act("set", { settings: waiting }); waiting = {}; }, WAIT);
  }

  // Controls
  const radios = Object.entries(view().cures).map(([cure, words]) => {
    const input = part("input", `cure-${cure}`, { type: "radio", name: id, id: `${id}-${cure}`, value: cure,
      onchange: () => { set({ cure }); enable(cure); } });
    return [input, h("label", { for: input.id }, input, words)];
  });
  const cure = part("fieldset", "cure", {}, h("legend", {}, "Cure of the next run, or of the one in training"),
    ...radios.map(([, label]) => label));
  function slider(name, words, values) {
    const shown = h("output", { for: `${id}-${name}` });
    const input = part("input", name, { type: "range", id: `${id}-${name}`, min: 0, max: values.length - 1, step: 1,
      oninput: () => { set({ [name]: values[input.value] }); say(values[input.value]); } });
    const say = (value) => { shown.textContent = String(value); input.setAttribute("aria-valuetext", String(value)); };
    const show = (value) => { input.value = nearest(values, value); say(value); };
    return { input, show, row: h("div", { class: "moe-balance-setting" }, h("label", { for: input.id }, words), input, shown) };
  }
  const alpha = slider("alpha", "α of the auxiliary loss", view().alphas);
  const speed = slider("speed", "speed of the bias", view().speeds);
  const scope = part("select", "scope", { id: `${id}-scope`, onchange: () => set({ scope: scope.value }) },
    ...view().scopes.map((value) => h("option", { value }, `per ${value}`)));
  alpha.row.append(h("label", { for: scope.id, class: "moe-unseen" }, "scope of the auxiliary loss"), scope);
  const seed = part("input", "seed", { type: "number", id: `${id}-seed`, min: 0, step: 1,
    onchange: () => set({ seed: Math.max(0, Math.trunc(Number(seed.value) || 0)) }) });
  const button = (name, words, press) => part("button", name, { type: "button", onclick: press }, words);
  const start = button("start", "Train a new run", () => { flush(); act("start"); });
  const pause = button("pause", "Pause", () => act(view().state === "paused" ? "resume" : "pause"));
  const stop = button("stop", "Stop", () => act("stop"));
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Steps done" });
  const done = part("span", "done");
  const status = part("p", "status", { role: "status", "aria-live": "polite" });
  const problem = part("p", "problem", { role: "alert" });
  const list = part("div", "list", { role: "group", "aria-label": "Runs to show beside each other" });
  const legend = part("div", "legend");
  const grid = part("div", "runs");
  // JupyterLab would otherwise take Enter and the arrow keys for its own.
  const root = h("div", { class: "moe-widget moe-balance", "data-testid": "balance-dashboard", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-balance-controls" }, cure, h("div", { class: "moe-balance-sliders" }, alpha.row, speed.row)),
    h("div", { class: "moe-balance-bar" }, start, pause, stop, h("label", { for: seed.id }, "seed ", seed), bar, done),
    status, problem, list, legend, grid);
  // … and so would the notebook on their way up.
  root.addEventListener("keydown", (event) => { if (event.key.startsWith("Arrow")) event.stopPropagation(); });
  el.append(root);

  /** A press on "Train" right after a move of a slider must find the new value. */
  function flush() {
    if (timer === undefined) return;
    clearTimeout(timer);
    timer = undefined;
    act("set", { settings: waiting });
    waiting = {};
  }

  function enable(chosen) {
    alpha.input.disabled = scope.disabled = chosen !== "auxiliary";
    speed.input.disabled = chosen !== "bias";
    alpha.row.classList.toggle("moe-balance-off", chosen !== "auxiliary");
    speed.row.classList.toggle("moe-balance-off", chosen !== "bias");
  }

  function update() {
    const { settings, state, runs, has_bias: hasBias } = view();
    const alive = state === "running" || state === "paused";
    if (timer === undefined) { // else the reader is ahead of this answer
      radios.forEach(([input]) => { input.checked = input.value === settings.cure; });
      alpha.show(settings.alpha);
      speed.show(settings.speed);
      scope.value = settings.scope;
      if (root.getRootNode().activeElement !== seed) seed.value = settings.seed;
      enable(settings.cure);
    }
    radios.forEach(([input]) => { input.disabled = input.value === "bias" && !hasBias; });
    start.disabled = alive;
    pause.disabled = stop.disabled = !alive;
    pause.textContent = state === "paused" ? "Go on" : "Pause";
    const last = runs.at(-1);
    bar.max = last?.steps ?? 1;
    bar.value = last?.done ?? 0;
    done.textContent = last ? `${last.id}: step ${last.done} of ${last.steps}` : "";
    if (status.textContent !== view().status) status.textContent = view().status;
    if (problem.textContent !== view().problem) problem.textContent = view().problem;
    updateList(runs, alive);
    draw();
  }

  // The list of runs: which to show, and which to forget
  let listed = "";
  function updateList(runs, alive) {
    const now = JSON.stringify([runs.map((run) => [run.id, run.title, run.shown, run.state]), alive]);
    if (now === listed) return;
    listed = now;
    const focused = root.getRootNode().activeElement?.id;
    const shown = runs.filter((run) => run.shown).length;
    list.replaceChildren(...runs.map((run, place) => {
      const box = h("input", { type: "checkbox", id: `${id}-show-${run.id.replace(" ", "-")}`, "data-testid": `balance-show-${place}`,
        onchange: () => act("show", { places: runs.flatMap((one, at) => ((at === place ? box.checked : one.shown) ? [at] : [])) }) });
      box.checked = run.shown;
      box.disabled = (run.shown && shown === 1) || (!run.shown && shown >= view().max_runs);
      const forget = h("button", { type: "button", "data-testid": `balance-forget-${place}`, "aria-label": `Forget ${run.title}`,
        title: "Forget this run", onclick: () => act("forget", { place }) }, "×");
      forget.disabled = alive && place === runs.length - 1;
      return h("span", { class: "moe-balance-item" }, h("label", {}, box, run.title), forget);
    }));
    if (focused) root.querySelector(`#${CSS.escape(focused)}`)?.focus();
  }

  // Drawing
  function draw() {
    const shown = view().runs.filter((run) => run.shown);
    for (const [name, section] of sections) {
      if (!shown.some((run) => run.id === name)) { section.root.remove(); sections.delete(name); }
    }
    grid.style.setProperty("--runs", Math.max(1, shown.length));
    grid.classList.toggle("moe-balance-single", shown.length === 1);
    const all = shown.map((run) => steps.get(run.id) ?? []);
    const scale = scales(shown, all);
    shown.forEach((run, place) => {
      if (!sections.has(run.id)) sections.set(run.id, makeSection(run));
      const section = sections.get(run.id);
      if (grid.children[place] !== section.root) grid.insertBefore(section.root, grid.children[place] ?? null);
      drawRun(run, all[place], section, scale);
    });
    drawLegend(shown.find((run) => run.experts), all.some((rows) => rows.some((row) => row.held !== null)));
  }

  /** The same axes for all runs on show. */
  function scales(shown, all) {
    const rows = all.flat();
    // The first tenth would squeeze all that follows.
    const settled = all.flatMap((one, place) => one.slice(Math.min(one.length - 1, shown[place].steps / 10))).map((row) => row.loss).filter((loss) => loss !== null);
    const range = (values, low, high) => [Math.min(low, ...values), Math.max(high, ...values)];
    return {
      xmax: Math.max(1, ...shown.map((run) => run.steps)),
      vio: [0, Math.max(1, ...rows.flatMap((row) => row.vio))],
      entropy: range(rows.flatMap((row) => row.entropy), 0.9, 1),
      loss: settled.length ? [Math.floor(5 * Math.min(...settled)) / 5, Math.ceil(5 * Math.max(...settled)) / 5] : [0, 1],
      dropped: rows.some((row) => row.dropped > 0) ? [0, Math.max(...rows.map((row) => row.dropped))] : null,
    };
  }

  function makeSection(run) {
    const title = h("h4"), maps = h("div", { class: "moe-balance-maps" }), plots = h("div", { class: "moe-balance-plots" });
    const readout = h("p", { class: "moe-balance-readout", "aria-live": "polite" });
    const words = h("p", { class: "moe-balance-words" });
    const name = run.id.replace(" ", "-");
    const section = h("section", { "data-testid": `balance-${name}`, "aria-label": run.id }, title, maps, readout, plots, words);
    return { root: section, title, maps, plots, readout, words, canvases: [] };
  }

  function drawRun(run, all, section, scale) {
    const every = Math.ceil(scale.xmax / COLUMNS), rows = thinned(all, every);
    const x = (place) => Math.min(all.length, (place + 1) * every);
    section.title.textContent = run.title;
    section.xmax = scale.xmax;
    if (section.words.textContent !== run.words) section.words.textContent = run.words;
    while (section.canvases.length < run.layers.length && run.experts) addMap(run, section);
    section.canvases.forEach((canvas, layer) => paintMap(canvas, run, rows, layer, scale.xmax, every));
    const common = { xmax: scale.xmax, marks: run.marks };
    const byLayer = (key) => run.layers.map((_, layer) => ({
      points: rows.map((row, place) => [x(place), row[key][layer]]), colour: view().colours.lines[layer % 4], dash: DASHES[layer % 4] }));
    const whole = (key) => [{ points: rows.flatMap((row, place) => (row[key] === null ? [] : [[x(place), row[key]]])), colour: "currentColor", dash: "" }];
    const held = rows.flatMap((row, place) => (row.held === null ? [] : [[x(place), row.held]]));
    const charts = [
      plot("MaxVio (0 is even)", byLayer("vio"), { ...common, low: scale.vio[0], high: scale.vio[1] }),
      plot("load entropy (1 is even)", byLayer("entropy"), { ...common, low: scale.entropy[0], high: scale.entropy[1] }),
      plot("loss, nats per token", whole("loss"), { ...common, low: scale.loss[0], high: scale.loss[1], dots: held }),
    ];
    if (scale.dropped) charts.push(plot("share of choices dropped", whole("dropped"), { ...common, low: 0, high: scale.dropped[1] }));
    charts.forEach((chart) => chart.append(h("span", { class: "moe-balance-right" }, `step ${scale.xmax}`)));
    section.plots.replaceChildren(...charts);
  }

  function addMap(run, section) {
    const layer = section.canvases.length;
    const canvas = h("canvas", { tabindex: 0, role: "img", "data-testid": `balance-map-${run.id.replace(" ", "-")}-${layer}` });
    const cross = h("span", { class: "moe-balance-cross", hidden: "" });
    const frame = h("div", { class: "moe-balance-frame", style: `height: ${Math.min(170, Math.max(72, 13 * run.experts))}px` }, canvas, cross);
    const at = { step: 0, expert: 0 };
    const point = () => {
      const rows = steps.get(run.id) ?? [];
      if (!rows.length) return;
      at.step = Math.min(rows.length - 1, Math.max(0, at.step));
      at.expert = Math.min(run.experts - 1, Math.max(0, at.expert));
      const value = rows[at.step].load[layer][at.expert];
      section.readout.textContent = `Layer ${run.layers[layer]}, step ${at.step + 1}, expert ${at.expert}: ` +
        `${value.toFixed(2)} times an even share.`;
      cross.hidden = false;
      cross.style.left = `${(100 * (at.step + 0.5)) / section.xmax}%`;
      cross.style.top = `${(100 * (at.expert + 0.5)) / run.experts}%`;
    };
    canvas.addEventListener("mousemove", (event) => {
      const box = canvas.getBoundingClientRect();
      at.step = Math.floor(((event.clientX - box.left) / box.width) * section.xmax);
      at.expert = Math.floor(((event.clientY - box.top) / box.height) * run.experts);
      point();
    });
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], PageDown: [10, 0], PageUp: [-10, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!by) return;
      event.preventDefault();
      at.step += by[0];
      at.expert += by[1];
      point();
    });
    canvas.addEventListener("focus", point);
    for (const gone of ["blur", "mouseleave"]) canvas.addEventListener(gone, () => { cross.hidden = true; });
    section.canvases.push(canvas);
    section.maps.append(h("div", { class: "moe-balance-map" }, h("h5", {}, `layer ${run.layers[layer]}: load of each expert`),
      h("span", { class: "moe-balance-top" }, "0"), h("span", { class: "moe-balance-bottom" }, String(run.experts - 1)), frame));
  }

  function paintMap(canvas, run, rows, layer, xmax, every) {
    canvas.width = Math.ceil(xmax / every);
    canvas.height = run.experts;
    canvas.setAttribute("aria-label", `Layer ${run.layers[layer]} of ${run.id}: load of ${run.experts} experts over ${run.done} steps; ` +
      "arrow keys read single values");
    if (!rows.length) return;
    const context = canvas.getContext("2d");
    const image = context.createImageData(rows.length, run.experts);
    rows.forEach((row, step) => row.load[layer].forEach((value, expert) => {
      const [r, g, b] = colourOf(value, run.stops, view().colours.load);
      image.data.set([r, g, b, 255], 4 * (expert * rows.length + step));
    }));
    context.putImageData(image, 0, 0);
    context.fillStyle = "#000000";
    run.marks.forEach((step) => { for (let y = 0; y < run.experts; y += 2) context.fillRect(Math.floor(step / every), y, 1, 1); });
  }

  let drawn = "";
  function drawLegend(run, held) {
    const now = run ? JSON.stringify([run.stops, run.layers, held]) : "";
    if (now === drawn) return;
    drawn = now;
    if (!run) return legend.replaceChildren();
    const { load, lines } = view().colours, top = run.stops.at(-1);
    const places = run.stops.map((stop, place) => `${load[place]} ${((100 * stop) / top).toFixed(1)}%`).join(", ");
    const scale = h("span", { class: "moe-balance-scale", role: "img",
      "aria-label": `Colours of the maps: dark blue no load, pale an even share, dark red ${top} times an even share` },
      h("span", {}, "load / even share: 0"), h("span", { class: "moe-balance-ramp", style: `background: linear-gradient(to right, ${places})` },
        h("span", { class: "moe-balance-even", style: `left: ${100 / top}%` }, "1 (even)")), h("span", {}, String(Number(top.toFixed(1)))));
    const layers = run.layers.map((number, layer) => {
      const stroke = svg("svg", { viewBox: "0 0 30 6", class: "moe-balance-key", "aria-hidden": "true" });
      stroke.append(svg("line", { x1: 0, x2: 30, y1: 3, y2: 3, stroke: lines[layer % 4], "stroke-width": 2, "stroke-dasharray": DASHES[layer % 4] }));
      return h("span", {}, stroke, ` layer ${number}`);
    });
    if (held) layers.push(h("span", {}, h("span", { class: "moe-balance-heldkey", "aria-hidden": "true" }), " loss on held-out text"));
    layers.push(h("span", { class: "moe-balance-hint" }, "Point at a map, or reach it with Tab and use the arrow keys, to read single values."));
    legend.replaceChildren(scale, ...layers);
  }

  function receive(content) {
    const { run, start: from, rows } = content;
    const have = steps.get(run) ?? [];
    if (from > have.length) {
      if (!asked) act("hello");
      asked = true;
      return;
    }
    asked = false;
    steps.set(run, [...have.slice(0, from), ...rows]);
    draw();
  }

  update();
  model.on("change:view", update);
  model.on("msg:custom", receive);
  act("hello");
  return () => { clearTimeout(timer); model.off("change:view", update); model.off("msg:custom", receive); };
}

export default { render };
