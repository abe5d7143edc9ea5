// Draws `view`, which the kernel computes with the library's routers: the plane, the loads, one token's weights.
//
// A dragged thing moves at once; the rest follows when the kernel answers. Only one question is under way at a time:
// what changes meanwhile is gathered and sent with the next one.

const REST = 500; // milliseconds without a change, after which a screen reader is told the summary
const LETTERS = 6; // of a word that stand on its token

const set = (node, attributes) => Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
const short = (number) => number.toFixed(1).replace("-", "−");
const below = (number) => String(number).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
const part = (tag, name, attributes = {}, ...children) =>
  h(tag, { class: `moe-router-${name}`, "data-testid": `router-${name}`, ...attributes }, ...children);

function render({ model, el }) {
  const { labels, limit, cells, groups, colours, methods } = model.get("look");
  const edge = limit - 0.16; // nothing is dragged out of sight
  let view = model.get("view");
  let { tokens, experts } = view; // where things are drawn; ahead of the kernel while something is dragged
  let pending = null, asked = view.asked, waiting = false, since = null, speaking;

  // Asking the kernel.

  function tell(change) {
    since ??= performance.now();
    pending = { ...pending, ...change };
    if (!waiting) send();
  }
  function send() {
    waiting = since;
    model.send({ asked: (asked += 1), change: pending });
    pending = since = null;
  }
  function answer() {
    view = model.get("view");
    const began = waiting, mine = view.asked === asked;
    if (mine) waiting = false;
    if (!waiting && !pending) ({ tokens, experts } = view);
    draw();
    if (mine && began) requestAnimationFrame(() => { root.dataset.latency = (performance.now() - began).toFixed(1); });
    if (mine && pending) send();
  }

  /** Put a value into a control, unless the reader is ahead of the kernel: the control may be on its way elsewhere. */
  const show = (input, value, property = "value") => { if (!waiting && !pending) input[property] = value; };

  // Controls.

  function slider(name, label, range, read, write) {
    const output = h("output", {});
    const input = h("input", { type: "range", "data-testid": `router-${name}`, "aria-label": label, ...range,
      oninput: () => tell(write(Number(input.value))) });
    return { node: h("label", { class: "moe-router-slider" }, h("span", {}, label), input, output), input,
      draw(enabled, says) { input.disabled = !enabled; show(input, read()); output.textContent = input.ariaValueText = says; } };
  }
  const NO_LIMIT = 2.5;
  const method = part("select", "method", { "aria-label": "Router", onchange: () => tell({ method: method.value }) },
    ...methods.map(({ name, label }) => h("option", { value: name }, label)));
  const training = part("input", "training", { type: "checkbox", onchange: () => tell({ training: training.checked }) });
  const sliders = {
    k: slider("k", "Experts per token, k", { min: 1, max: experts.length, step: 1 }, () => view.k, (v) => ({ num_experts_per_tok: v })),
    temperature: slider("temperature", "Temperature", { min: 0.2, max: 4, step: 0.1 }, () => view.settings.temperature, (v) => ({ temperature: v })),
    noise: slider("noise", "Noise", { min: 0, max: 4, step: 0.1 }, () => view.settings.noise, (v) => ({ noise: v })),
    capacity: slider("capacity", "Capacity factor", { min: 0.25, max: NO_LIMIT, step: 0.25 },
      () => view.settings.capacity_factor ?? NO_LIMIT, (v) => ({ capacity_factor: v < NO_LIMIT ? v : null })),
  };
  const again = part("button", "again", { type: "button", onclick: () => tell({ seed: view.settings.seed + 1 }) }, "Draw new noise");
  const reset = part("button", "reset", { type: "button", onclick: () => tell({ reset: true }) }, "Reset");
  const controls = h("div", { class: "moe-router-controls" },
    h("div", { class: "moe-router-bar" }, h("label", {}, "Router ", method), h("label", {}, training, " training mode"), again, reset),
    h("div", { class: "moe-router-sliders" }, ...Object.values(sliders).map((one) => one.node)));

  // The plane: a canvas for the regions, an SVG for what can be moved. The y axis points up.

  const canvas = part("canvas", "regions", { width: cells, height: cells, "aria-hidden": "true" });
  const lines = svg("g", {});
  const arrows = experts.map((_, number) => movable("expert", number,
    svg("rect", { x: -0.17, y: -0.17, width: 0.34, height: 0.34, rx: 0.04, fill: colours[number].fill }),
    svg("text", { style: `fill:${colours[number].text}` }, String(number))));
  const shafts = experts.map(() => svg("line", { class: "moe-router-shaft", x1: 0, y1: 0 }));
  const points = tokens.map((_, number) => { // its word, and its place in the text as a small number
    const all = [...labels[number]], word = all.length > LETTERS ? `${all.slice(0, LETTERS - 1).join("")}…` : labels[number];
    const wide = 0.2 + 0.095 * [...word].length + 0.065 * String(number).length, edge = wide / 2;
    return movable("token", number,
      svg("rect", { x: -edge, y: -0.14, width: wide, height: 0.28, rx: 0.14 }), svg("text", {}, `${word}${below(number)}`),
      svg("title", {}, `${number}: ${labels[number]}`),
      svg("path", { class: "moe-router-cross", transform: `translate(${edge - 0.13} 0)`, d: "M.06-.2 .2-.06M.2-.2 .06-.06" }));
  });
  const border = svg("path", { class: "moe-router-border", transform: `translate(${-limit} ${-limit}) scale(${(2 * limit) / cells})` });
  const picture = svg("svg", { class: "moe-router-svg", viewBox: `${-limit} ${-limit} ${2 * limit} ${2 * limit}`, role: "group",
    "aria-label": "The plane: experts and tokens. Tab goes from one to the next, arrow keys move it, Shift makes larger steps." },
    border, ...shafts, lines, ...arrows, ...points);
  const plane = part("div", "plane", {}, canvas, picture);

  function movable(kind, number, ...shapes) {
    const group = svg("g", { class: `moe-router-${kind}`, tabindex: 0, role: "button", "aria-roledescription": "movable",
      "data-testid": `router-${kind}-${number}` }, ...shapes);
    const place = () => (kind === "token" ? tokens : experts);
    const choose = () => kind === "token" && view.selected !== number && tell({ selected: number });
    function move(x, y) {
      const bound = (value) => Math.round(100 * Math.min(edge, Math.max(-edge, value))) / 100;
      const moved = place().map((pair, index) => (index === number ? [bound(x), bound(y)] : pair));
      if (kind === "token") tokens = moved; else experts = moved;
      draw();
      tell({ [`${kind}s`]: moved });
    }
    let hold = null; // from the pointer to the middle of what it holds
    const here = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    group.addEventListener("pointerdown", (event) => {
      group.setPointerCapture(event.pointerId);
      const at = here(event), [x, y] = place()[number];
      hold = [x - at.x, y + at.y];
      event.preventDefault();
      group.focus({ preventScroll: true });
    });
    group.addEventListener("pointermove", (event) => { if (hold) { const at = here(event); move(at.x + hold[0], hold[1] - at.y); } });
    for (const end of ["pointerup", "pointercancel"]) group.addEventListener(end, () => { hold = null; });
    group.addEventListener("focus", choose);
    group.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const size = event.shiftKey ? 0.5 : 0.1, [x, y] = place()[number];
      move(x + size * step[0], y + size * step[1]);
    });
    return group;
  }

  let drawn; // what the canvas shows: moving a token changes no region
  function drawRegions() {
    const shown = view.runs.join();
    if (drawn === shown) return;
    drawn = shown;
    const context = canvas.getContext("2d"), codes = [];
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (let run = 0; run < view.runs.length; run += 2) {
      const [code, length] = view.runs.slice(run, run + 2), start = codes.length;
      for (let cell = 0; cell < length; cell += 1) codes.push(code);
      context.fillStyle = colours[code % experts.length].fill;
      for (let cell = start; cell < codes.length;) { // a run may go on in the next row
        const row = Math.floor(cell / cells), end = Math.min(codes.length, (row + 1) * cells);
        context.fillRect(cell % cells, row, end - cell, 1);
        cell = end;
      }
    }
    const sets = codes.map((code) => Math.floor(code / experts.length));
    const borders = sets.flatMap((one, cell) => { // lines where another set of experts begins
      const x = cell % cells, y = Math.floor(cell / cells);
      return [x && sets[cell - 1] !== one ? `M${x} ${y}v1` : "", y && sets[cell - cells] !== one ? `M${x} ${y}h1` : ""];
    });
    border.setAttribute("d", borders.join(""));
  }

  function drawPlane() {
    experts.forEach(([x, y], number) => {
      set(arrows[number], { transform: `translate(${x} ${-y})`, "aria-label":
        `Expert ${number}, arrow to ${short(x)}, ${short(y)}; load ${view.load[number]}` });
      set(shafts[number], { x2: x, y2: -y });
    });
    tokens.forEach(([x, y], number) => {
      const choices = view.choices[number], [shape, text] = points[number].children;
      const lost = choices.filter(([, , kept]) => !kept).length;
      const colour = choices.length ? colours[choices[0][0]] : null;
      points[number].classList.toggle("moe-router-selected", number === view.selected);
      points[number].classList.toggle("moe-router-none", !choices.length);
      points[number].classList.toggle("moe-router-dropped", lost > 0);
      shape.style.fill = colour?.fill ?? "";
      text.style.fill = colour?.text ?? "";
      const sent = choices.map(([expert, , kept]) => `expert ${expert}${kept ? "" : " dropped"}`).join(", ") || "no expert";
      set(points[number], { transform: `translate(${x} ${-y})`, "aria-label":
        `Token ${number}, “${labels[number]}”, at ${short(x)}, ${short(y)}: ${sent}` });
    });
    const [x, y] = tokens[view.selected];
    lines.replaceChildren(...view.choices[view.selected].map(([expert, weight, kept]) =>
      svg("line", { class: kept ? "moe-router-kept" : "moe-router-lost", x1: x, y1: -y, x2: experts[expert][0],
        y2: -experts[expert][1], "stroke-width": 0.015 + 0.06 * Math.min(1, weight) })));
  }

  // Loads and weights: rows of bars, made once.

  const badge = (expert) => h("span", { class: "moe-router-badge", style: `background:${colours[expert].fill};color:${colours[expert].text}` }, String(expert));

  function bars(name, heads, fills) {
    const rows = heads.map((head, number) => {
      const kept = h("span", { class: "moe-router-fill", style: `background:${fills[number]}` });
      const lost = h("span", { class: "moe-router-hatch" }), even = h("span", { class: "moe-router-even" });
      const room = h("span", { class: "moe-router-room" }), text = h("span", { class: "moe-router-value" });
      const track = h("span", { class: "moe-router-track", "aria-hidden": "true" }, kept, lost, even, room);
      return { kept, lost, even, room, text, node: h("li", { "data-testid": `router-${name}-${number}` }, head, track, text) };
    });
    const list = h("ul", { class: "moe-router-rows" }, ...rows.map((row) => row.node));
    return { list, rows, draw(load, kept, even, capacity) {
      const most = 1.04 * Math.max(1, even, capacity ?? 0, ...load);
      const wide = (value) => `${(100 * value) / most}%`;
      rows.forEach((row, number) => {
        const lost = load[number] - kept[number];
        row.kept.style.width = wide(kept[number]);
        row.lost.style.width = wide(lost);
        row.even.style.left = wide(even);
        row.room.style.left = wide(capacity ?? 0);
        row.room.hidden = capacity === null;
        row.text.textContent = lost ? `${kept[number]} + ${lost} ✕` : `${kept[number]}`;
        row.text.title = lost ? `${kept[number]} kept, ${lost} dropped` : `${kept[number]} kept`;
      });
    } };
  }
  const loads = bars("load", experts.map((_, number) => badge(number)), colours.map((colour) => colour.fill));
  const biases = experts.map((_, number) => {
    const input = h("input", { type: "range", min: -1, max: 1, step: 0.05, "aria-label": `Selection bias of expert ${number}`,
      "data-testid": `router-bias-${number}`,
      oninput: () => tell({ selection_bias: biases.map((bias) => Number(bias.input.value)) }) });
    const output = h("output", {});
    const node = h("span", { class: "moe-router-bias" }, input, output);
    loads.rows[number].node.append(node);
    return { input, output };
  });
  const size = experts.length / groups;
  const devices = bars("device", Array.from({ length: groups }, (_, group) =>
    h("span", { class: "moe-router-pair" }, ...Array.from({ length: size }, (_, place) => badge(group * size + place)))),
  Array(groups).fill("var(--moe-device)"));
  const scores = bars("score", experts.map((_, number) => badge(number)), colours.map((colour) => colour.fill));
  const legend = h("p", { class: "moe-router-legend" });
  const device = part("section", "devices", { "aria-label": "Load of the devices" }, h("h4", {}, "Load of each device"), devices.list);
  const title = h("h4", {});
  const token = part("section", "token", { "aria-label": "The chosen token" }, title, scores.list);
  const load = part("section", "load", { "aria-label": "Load of the experts" }, h("h4", {}, "Load of each expert"), loads.list, legend);

  const note = part("p", "note");
  const summary = part("p", "summary");
  const live = h("p", { class: "moe-unseen", role: "status", "aria-live": "polite" });
  const problem = part("p", "problem", { role: "alert" });
  const key = h("p", { class: "moe-router-legend" }, "Round: a token, its small number the place in the text. Square: an expert. ✕: a choice was dropped. Dotted: no expert.");
  // JupyterLab would otherwise take the arrow keys for its own.
  const root = h("div", { class: "moe-widget moe-router", "data-testid": "router-playground", "data-lm-suppress-shortcuts": "true" },
    controls, problem, h("div", { class: "moe-router-columns" }, h("div", {}, plane, note, key), h("div", {}, load, device, token)), summary, live);
  el.append(root);

  function drawBars() {
    const { settings, capacity, drops, biased, per_device: perDevice } = view;
    loads.draw(view.load, view.kept, view.even, perDevice ? null : capacity);
    devices.draw(view.device_load, view.device_kept, view.even * size, perDevice ? capacity : null);
    device.hidden = !perDevice;
    legend.textContent = `Dashed: even share${capacity === null ? "" : "; solid: capacity"}${drops && capacity !== null ? "; hatched ✕: dropped" : ""}.`;
    root.classList.toggle("moe-router-biased", biased);
    biases.forEach(({ input, output }, number) => {
      show(input, settings.selection_bias[number]);
      output.textContent = input.ariaValueText = settings.selection_bias[number].toFixed(2).replace("-", "−");
    });
    title.textContent = `Token ${view.selected}, “${labels[view.selected]}”: affinity of each expert`;
    const most = 1.04 * Math.max(1e-9, ...view.scores);
    scores.rows.forEach((row, expert) => {
      const choice = view.choices[view.selected].find(([chosen]) => chosen === expert);
      row.kept.style.width = `${(100 * view.scores[expert]) / most}%`;
      row.even.hidden = row.room.hidden = true;
      row.text.textContent = !choice ? "" : choice[2] ? `weight ${choice[1].toFixed(2)}` : "dropped ✕";
      row.node.classList.toggle("moe-router-chosen", Boolean(choice));
    });
  }

  function drawControls() {
    const { settings, k_range: [fewest, most], drops } = view;
    show(method, settings.method);
    show(training, settings.training, "checked");
    set(sliders.k.input, { min: fewest, max: most });
    sliders.k.draw(fewest < most, String(view.k));
    sliders.temperature.draw(view.learned, settings.temperature.toFixed(1));
    const noisy = settings.training && settings.method === "noisy_topk";
    sliders.noise.draw(noisy, noisy ? settings.noise.toFixed(1) : "none");
    again.disabled = !settings.training || !["noisy_topk", "gshard"].includes(settings.method);
    const limited = settings.training && drops;
    sliders.capacity.draw(limited, !limited || settings.capacity_factor === null ? "no limit" : settings.capacity_factor.toFixed(2));
  }

  function draw() {
    drawControls();
    drawRegions();
    drawPlane();
    drawBars();
    note.textContent = view.note;
    summary.textContent = view.summary;
    problem.textContent = view.problem;
    clearTimeout(speaking);
    speaking = setTimeout(() => { live.textContent = view.summary; }, REST);
  }

  draw();
  model.on("change:view", answer);
  return () => { clearTimeout(speaking); model.off("change:view", answer); };
}

export default { render };
