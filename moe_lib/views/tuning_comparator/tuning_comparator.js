// Draws `view`, which the kernel computes: choices, a table with intervals, and charts with places from 0 to 1.

const COLUMNS = [["mean", "mean"], ["interval", "95 % interval"], ["seeds", "seeds"], ["trainable", "parameters trained"],
  ["forgetting", "forgetting"], ["gap", "gap, train to test"], ["routing_change", "routing changed"], ["seconds", "seconds"],
  ["memory", "memory, MB"]];
const HINTS = { forgetting: "Loss on the pretraining domains after fine-tuning minus before, in nats per token",
  gap: "The metric on rows trained on against test rows; positive: better on what was seen",
  routing_change: "Share of the choices (token, expert) on a fixed text that are other ones now",
  seconds: "Of fine-tuning, on the machine that ran it", memory: "Weights, gradients, optimiser state and what one batch keeps for its backward pass" };

function render({ model, el }) {
  const id = freshId("moe-tuning");
  const view = () => model.get("view");
  const part = (tag, name, attributes = {}, ...children) =>
    h(tag, { class: `moe-tuning-${name}`, "data-testid": `tuning-${name}`, ...attributes }, ...children);
  const select = (name, words, send) => {
    const input = part("select", name, { id: `${id}-${name}`, onchange: () => model.send(send(input.value)) });
    return { input, row: h("label", { for: input.id }, words, " ", input) };
  };
  const task = select("task", "Task", (value) => ({ task: value }));
  const size = select("size", "Labelled examples", (value) => ({ n_train: Number(value) }));
  const curve = select("curve", "Curve", (value) => ({ curve: value }));
  const methods = part("fieldset", "methods");
  const run = part("button", "run", { type: "button", onclick: () => model.send({ act: "run" }) }, "Run it now");
  const stop = part("button", "stop", { type: "button", onclick: () => model.send({ act: "stop" }) }, "Stop");
  const bar = part("progress", "progress", { max: 1, "aria-label": "Runs done" });
  const status = part("span", "status", { role: "status", "aria-live": "polite" });
  const runner = h("div", { class: "moe-tuning-bar" }, run, stop, bar, status);
  const problem = part("p", "problem", { role: "alert" });
  const table = part("div", "table");
  const warnings = part("div", "warnings", { role: "status", "aria-live": "polite" });
  const words = part("p", "words", { role: "status", "aria-live": "polite" });
  const charts = part("div", "charts");
  const source = part("p", "source");
  // JupyterLab would otherwise take Enter and the arrow keys for its own.
  const root = h("div", { class: "moe-widget moe-tuning", "data-testid": "tuning-comparator", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-tuning-bar" }, task.row, size.row, curve.row), methods, runner, problem, table, warnings, words, charts, source);
  el.append(root);

  const key = (one) => svg("svg", { viewBox: "0 0 30 6", class: "moe-tuning-key", "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 30, y1: 3, y2: 3, stroke: one.colour, "stroke-width": 2.5, "stroke-dasharray": one.dash }));

  function options(input, values, chosen, words = (value) => String(value)) {
    const now = JSON.stringify(values);
    if (input.dataset.values !== now) {
      input.replaceChildren(...values.map((value) => h("option", { value }, words(value))));
      input.dataset.values = now;
    }
    input.value = String(chosen);
  }

  // The boxes of the methods are made anew only when there are other methods: the focus stays where it is.
  let boxes = [];
  function drawMethods() {
    const { known, methods: chosen } = view();
    const now = JSON.stringify(known);
    if (methods.dataset.values !== now) {
      methods.dataset.values = now;
      boxes = known.map((name, number) => h("input", { type: "checkbox", id: `${id}-method-${number}`, "data-testid": `tuning-method-${number}`,
        onchange: () => model.send({ methods: known.filter((_, at) => boxes[at].checked) }) }));
      methods.replaceChildren(h("legend", {}, "Methods"), ...known.map((name, number) => h("label", { for: boxes[number].id }, boxes[number], h("bdi", {}, name))));
    }
    boxes.forEach((box, number) => {
      box.checked = chosen.includes(known[number]);
      box.disabled = box.checked && chosen.length === 1; // one stays
    });
  }

  const percent = (place) => `${(100 * place).toFixed(2)}%`;
  function quality({ quality: { mean, ends, seeds }, text, colour }, ticks) {
    const lines = ticks.map(([place]) => h("span", { class: "moe-tuning-tick", style: `left: ${percent(place)}` }));
    const bar = ends.length ? [h("span", { class: "moe-tuning-interval", style: `left: ${percent(ends[0])}; width: ${percent(ends[1] - ends[0])}; background: ${colour}` })] : [];
    const dots = seeds.map((place) => h("span", { class: "moe-tuning-seed", style: `left: ${percent(place)}; border-color: ${colour}` }));
    const middle = mean === null ? null : h("span", { class: "moe-tuning-mean", style: `left: ${percent(mean)}` });
    return h("div", { class: "moe-tuning-track", role: "img", "aria-label": `mean ${text.mean}, interval ${text.interval}` }, ...lines, ...bar, ...dots, middle);
  }

  function drawTable() {
    const { table: { rows, ticks, metric } } = view();
    if (!rows.length) return table.replaceChildren(h("p", {}, "No runs of these methods with this number of labels."));
    const columns = COLUMNS.filter(([name]) => rows.some((row) => row.text[name] !== "–"));
    const scale = h("div", { class: "moe-tuning-scale" }, ...ticks.map(([place, text]) => h("span", { style: `left: ${percent(place)}` }, text)));
    table.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "method"), h("th", { scope: "col", class: "moe-tuning-wide" }, metric, scale),
        ...columns.map(([name, title]) => h("th", { scope: "col", title: HINTS[name] }, title)))),
      h("tbody", {}, ...rows.map((row, number) => h("tr", { "data-testid": `tuning-row-${number}` },
        h("th", { scope: "row" }, key(row), " ", h("bdi", {}, row.case)), h("td", { class: "moe-tuning-wide" }, quality(row, ticks)),
        ...columns.map(([name]) => h("td", {}, row.text[name])))))));
  }

  function chart({ title, x_name: xName, lines, x, y }) {
    const picture = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    const draw = (points, line, name, dash = line.dash) => picture.append(svg("polyline", { class: name, stroke: line.colour, fill: "none",
      "stroke-dasharray": dash, "vector-effect": "non-scaling-stroke", points: points.map(([a, b]) => `${(100 * a).toFixed(2)},${(100 - 100 * b).toFixed(2)}`).join(" ") }));
    y.forEach(([place]) => draw([[0, place], [1, place]], { colour: "currentColor" }, "moe-tuning-grid", ""));
    lines.forEach((line) => line.thin.forEach((points) => draw(points, line, "moe-tuning-thin", "")));
    lines.forEach((line) => {
      line.whiskers.forEach(([place, low, high]) => draw([[place, low], [place, high]], line, "moe-tuning-whisker", ""));
      draw(line.points, line, "moe-tuning-line");
      if (xName !== "step" || line.points.length < 15) line.points.forEach((point) => draw([point, point], line, "moe-tuning-dot", ""));
    });
    const label = `${title}: ${lines.map((line) => line.case).join(", ")} over ${xName}`;
    return h("figure", { class: "moe-tuning-chart", role: "img", "aria-label": label }, h("figcaption", {}, title),
      h("div", { class: "moe-tuning-frame" }, picture,
        ...y.map(([place, text]) => h("span", { class: "moe-tuning-y", style: `bottom: ${percent(place)}` }, text)),
        ...x.map(([place, text]) => h("span", { class: "moe-tuning-x", style: `left: ${percent(place)}` }, text))),
      h("div", { class: "moe-tuning-axis" }, xName));
  }

  function drawCharts() {
    const drawn = view().charts.filter((one) => one.lines.length);
    charts.replaceChildren(...drawn.map((one, number) => { const node = chart(one); node.dataset.testid = `tuning-chart-${number}`; return node; }));
  }

  function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  let drawn = "";
  function update() {
    const { tasks, task: chosen, sizes, n_train: n, curves, curve: line, can_run: canRun, state, progress } = view();
    options(task.input, tasks, chosen);
    options(size.input, sizes, n);
    options(curve.input, curves, line, (name) => name.replaceAll("_", " "));
    curve.row.hidden = !curves.length;
    drawMethods();
    runner.hidden = !canRun;
    run.disabled = state === "running";
    stop.disabled = state !== "running";
    bar.hidden = state !== "running";
    if (progress?.share == null) bar.removeAttribute("value");
    else bar.value = progress.share;
    say(status, state === "running" ? progress?.words ?? "" : view().status);
    say(problem, view().problem);
    say(words, view().words);
    say(source, view().source ? `Stored runs: ${view().source}` : "");
    const now = JSON.stringify([view().table, view().charts, view().warnings]);
    if (now === drawn) return; // only the progress moved
    drawn = now;
    drawTable();
    drawCharts();
    warnings.replaceChildren(...view().warnings.map((text) => h("p", { class: "moe-tuning-warning" }, h("strong", {}, "Careful: "), text)));
  }

  update();
  model.on("change:view", update);
  return () => model.off("change:view", update);
}

export default { render };
