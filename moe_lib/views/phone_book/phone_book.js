// Draws `view`, which the kernel computes: two grids of facts, lit where a model recalls them, and two curves.

const DASHES = ["7 3", ""];
const CELL = 6; // pixels of a fact
const LABELS = { facts: "Facts", experts: "Experts", chosen: "Used per token" };

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const group = (number) => number.toLocaleString("en-US");

function render({ model, el }) {
  const id = freshId("moe-phone");
  const view = () => model.get("view");
  const part = (tag, name, attributes = {}, ...children) =>
    h(tag, { class: `moe-phone-${name}`, "data-testid": `phone-${name}`, ...attributes }, ...children);
  const selects = Object.keys(LABELS).map((name) => {
    const input = part("select", name, { id: `${id}-${name}`, onchange: () => model.send({ [name]: Number(input.value) }) },
      ...view().choices[name].map((value) => h("option", { value }, group(value))));
    return { name, input, row: h("label", { for: input.id }, LABELS[name], " ", input) };
  });
  const start = part("button", "start", { type: "button", onclick: () => model.send({ act: "start" }) }, "Train both");
  const stop = part("button", "stop", { type: "button", onclick: () => model.send({ act: "stop" }) }, "Stop");
  const status = part("span", "status", { role: "status", "aria-live": "polite" });
  const step = part("span", "step", { class: "moe-phone-status" });
  const problem = part("p", "problem", { role: "alert" });
  const plan = part("p", "plan");
  const sides = [0, 1].map((number) => {
    const name = h("span", { "data-testid": `phone-name-${number}` });
    const share = h("span", { class: "moe-phone-share", "data-testid": `phone-share-${number}` });
    const grid = h("canvas", { class: "moe-phone-grid", role: "img", "data-testid": `phone-grid-${number}` });
    const numbers = h("p", { class: "moe-phone-numbers", "data-testid": `phone-numbers-${number}` });
    return { name, share, grid, numbers, box: h("figure", { class: "moe-phone-side" }, h("figcaption", {}, name, share), grid, numbers) };
  });
  const chart = part("div", "chart", { "aria-hidden": "true" });
  const summary = part("p", "summary", { "data-testid": "phone-summary" });
  // JupyterLab would otherwise take Enter and the arrow keys for its own.
  const root = h("div", { class: "moe-widget moe-phone", "data-testid": "phone-book", "data-lm-suppress-shortcuts": "true",
    onkeydown: (event) => event.stopPropagation() },
    h("div", { class: "moe-phone-bar" }, ...selects.map((one) => one.row), start, stop, status, step), problem, plan,
    h("div", { class: "moe-phone-sides" }, ...sides.map((one) => one.box), chart), summary);
  el.append(root);

  /** A fact that is recalled is a full square, one that is not a dot in the middle of its place. */
  function drawGrid(canvas, known, colour) {
    const { facts, columns } = view();
    canvas.width = columns * CELL;
    canvas.height = Math.ceil(facts / columns) * CELL;
    const bytes = known === null ? null : Uint8Array.from(atob(known), (letter) => letter.charCodeAt(0));
    const pen = canvas.getContext("2d");
    const ink = getComputedStyle(canvas).color;
    for (let fact = 0; fact < facts; fact += 1) {
      const lit = bytes !== null && (bytes[fact >> 3] >> (fact & 7)) & 1;
      const x = (fact % columns) * CELL, y = Math.floor(fact / columns) * CELL;
      pen.globalAlpha = lit ? 1 : 0.3;
      pen.fillStyle = lit ? colour : ink;
      if (lit) pen.fillRect(x, y, CELL - 1, CELL - 1);
      else pen.fillRect(x + 2, y + 2, 1, 1);
    }
  }

  function drawSide({ name, share, grid, numbers }, number) {
    const { facts, experts, sides: shown } = view();
    const side = shown[number];
    name.textContent = side ? side.name : number ? `${experts} experts` : "dense";
    share.textContent = side ? `${percent(side.share)} recalled` : "";
    grid.setAttribute("aria-label", side ? side.words : `${facts} facts, none of them learned yet`);
    numbers.textContent = side ? `${group(side.recalled)} of ${group(facts)} facts · ${side.bits === null ? NO_NUMBER : `${side.bits.toFixed(2)} bits`} per parameter · ` +
      `${group(side.parameters)} parameters, ${group(side.active)} at work for a token` : "not trained yet";
    drawGrid(grid, side ? side.known : null, view().colours[number]);
  }

  function drawChart() {
    const { sides: shown } = view();
    const at = ([x, y]) => `${(100 * x).toFixed(2)},${(100 * (1 - y)).toFixed(2)}`;
    const lines = shown.map((side, number) => svg("polyline", { points: [[0, 0], ...side.curve].map(at).join(" "),
      stroke: view().colours[number], "stroke-dasharray": DASHES[number], "data-testid": `phone-line-${number}` }));
    const label = (words, style) => h("span", { style }, words);
    const last = shown.map((side) => side.curve[side.curve.length - 1]);
    const top = Math.max(...last.map(([, y]) => y)); // its name stands above its curve, the other's below
    const ends = last.map(([x, y], number) => h("span", { class: `moe-phone-end ${y === top && (number || last[1][1] < top) ? "moe-phone-above" : "moe-phone-below"}`,
      style: `left: ${Math.max(34, 100 * x)}%; top: ${100 * (1 - y)}%` }, shown[number].name));
    chart.replaceChildren(svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none" }, ...lines), ...ends,
      label("1", "right: calc(100% + 5px); top: -5px"), label("½", "right: calc(100% + 5px); top: calc(50% - 5px)"),
      label("0", "right: calc(100% + 5px); bottom: -5px"), label("recall", "left: 0; top: -20px"), label("training →", "right: 0; top: calc(100% + 6px)"));
  }

  function update() {
    const now = view();
    for (const { name, input } of selects) {
      input.value = String(now[name]);
      input.disabled = now.running;
      for (const option of input.options) option.disabled = name === "chosen" ? Number(option.value) > now.experts : name === "experts" && Number(option.value) < now.chosen;
    }
    start.disabled = now.running;
    stop.disabled = !now.running;
    if (status.textContent !== now.status) status.textContent = now.status; // read out only when it changes
    step.textContent = now.step;
    problem.textContent = now.problem;
    plan.textContent = now.plan;
    sides.forEach(drawSide);
    drawChart();
    summary.textContent = now.running ? "" : now.summary;
  }

  update();
  model.on("change:view", update);
  const theme = new MutationObserver(update); // what is drawn on a canvas does not follow a change of theme
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  return () => { theme.disconnect(); model.off("change:view", update); };
}

export default { render };
