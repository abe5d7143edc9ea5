// Draws `view`, which the kernel computes: sliders, stacked bars, and experts touched against batch size.

const share = (value, all) => `width: ${((100 * value) / all).toFixed(3)}%`;

function render({ model, el }) {
  const settings = makeSettings(model, "par", "published");
  const first = model.get("view");
  const choice = settings.modelChoice(first.models);
  const precisions = settings.radios("precision", "Precision of the weights", first.precisions);
  const reset = settings.reset("Back to the published sizes");
  const summary = h("p", { class: "moe-par-summary", "data-testid": "par-summary", role: "status", "aria-live": "polite" });
  const problem = h("p", { "data-testid": "par-problem", role: "alert" });
  const drawing = h("div", { "data-testid": "par-drawing" });
  const root = h("div", { class: "moe-widget moe-par", "data-testid": "parameter-explorer", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-par-columns" },
      h("div", { role: "group", "aria-label": "Settings" },
        choice.field, ...first.controls.map(({ name, label }) => settings.slider(name, label)),
        settings.slider("batch_size", "Tokens in the batch"), precisions.field, reset, problem),
      drawing),
    summary);
  keepArrowKeys(root);
  el.append(root);

  function stacked(view, kind, label) {
    return h("div", { class: "moe-par-row" }, h("span", {}, label),
      h("span", { class: "moe-par-track", "aria-hidden": "true" }, ...view.parts.map((part, number) =>
        part[kind] ? h("span", { class: `moe-par-fill moe-par-part moe-par-p${number}`, title: `${part.name}: ${part[`${kind}_words`]}`,
          style: share(part[kind], view.total.stored) }) : null)),
      h("span", { class: "moe-settings-value", "data-testid": `par-total-${kind}` }, view.total[`${kind}_words`]));
  }

  function denseRow(view) {
    return h("div", { class: "moe-par-row" }, h("span", {}, view.dense.name),
      h("span", { class: "moe-par-track", "aria-hidden": "true" },
        h("span", { class: "moe-par-fill moe-par-part moe-par-dense", style: share(view.dense.value, Math.max(view.dense.value, view.total.stored)) })),
      h("span", { class: "moe-settings-value", "data-testid": "par-total-dense" }, view.dense.words));
  }

  function table(view) {
    const row = (cells, head, number) => h("tr", {}, h("th", { scope: "row" },
      number === undefined ? null : h("span", { class: `moe-par-swatch moe-par-p${number}`, "aria-hidden": "true" }), head),
      ...cells.map((text) => h("td", {}, text)));
    return h("table", {}, h("thead", {}, h("tr", {}, ...["part", "stored", "used by one token"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, ...view.parts.map((part, number) => row([part.stored_words, part.used_words], part.name, number))),
      h("tfoot", {}, row([view.total.stored_words, view.total.used_words], "together")));
  }

  function bars(rows, title, name) {
    const most = Math.max(...rows.map((row) => row.value));
    return h("section", { class: "moe-par-thin", "data-testid": `par-${name}` }, h("h4", {}, title),
      ...rows.map((row, number) => h("div", { class: "moe-par-row" }, h("span", {}, row.name),
        h("span", { class: "moe-par-track", "aria-hidden": "true" },
          h("span", { class: `moe-par-fill moe-par-${["this", "dense", "all"][number]}`, style: share(row.value, most) })),
        h("span", { class: "moe-settings-value" }, row.words))));
  }

  function curve(view) {
    const { batches, distinct, experts, now } = view.curve;
    const [left, right, top, bottom] = [34, 386, 10, 118];
    const last = Math.log2(batches[batches.length - 1]);
    const x = (tokens) => left + (Math.min(Math.log2(tokens), last) / last) * (right - left);
    const y = (count) => bottom - (count / experts) * (bottom - top);
    const path = batches.map((tokens, n) => `${n ? "L" : "M"}${x(tokens).toFixed(1)},${y(distinct[n]).toFixed(1)}`).join(" ");
    const ticks = [1, 8, 64, 512, 4096].map((tokens) => svg("text", { x: x(tokens), y: bottom + 14, "text-anchor": "middle" }, group(tokens)));
    const words = `${now.toFixed(1)} of ${experts}`;
    const beyond = x(view.batch) > 300;
    // A label near the axis starts where the curve has risen above it.
    const low = y(now) + 15 > bottom - 5, risen = batches.find((_, n) => y(distinct[n]) < bottom - 18);
    const labelled = low && risen ? Math.max(x(view.batch), x(risen)) : x(view.batch);
    return h("section", { "data-testid": "par-curve" }, h("h4", {}, "Experts that a batch touches, per layer"),
      svg("svg", { viewBox: "0 0 400 148", role: "img", "aria-label": `A batch of ${group(view.batch)} touches ${words} experts on average` },
        svg("path", { class: "moe-par-axis", d: `M${left},${top}V${bottom}H${right}`, fill: "none" }),
        svg("path", { class: "moe-par-axis", d: `M${left},${top}H${right}`, "stroke-dasharray": "3 3" }),
        svg("text", { x: left - 5, y: top + 4, "text-anchor": "end" }, String(experts)),
        svg("text", { x: left - 5, y: bottom + 3, "text-anchor": "end" }, "0"), ...ticks,
        svg("text", { x: (left + right) / 2, y: bottom + 28, "text-anchor": "middle" }, "tokens in the batch"),
        svg("path", { class: "moe-par-curve", d: path }),
        svg("circle", { class: "moe-par-dot", cx: x(view.batch), cy: y(now), r: 5 }),
        svg("text", { x: labelled + (beyond ? -8 : 9), y: Math.min(bottom - 5, y(now) + 15), "text-anchor": beyond ? "end" : "start" }, words)));
  }

  function update() {
    const view = model.get("view");
    const tokens = view.batch === 1 ? "1 token" : `${group(view.batch)} tokens`;
    drawing.replaceChildren(
      h("h4", { "data-testid": "par-title" }, view.title),
      stacked(view, "stored", "stored"), stacked(view, "used", "used by one token"), denseRow(view), table(view),
      h("div", { class: "moe-par-panels" },
        bars(view.flops, `FLOPs per token (${group(view.context)} positions in view)`, "flops"),
        bars(view.bytes, `Weights read in a step over ${tokens}, ${view.precision}`, "bytes"),
        curve(view)));
    summary.textContent = view.summary;
    problem.textContent = view.problem;
    reset.disabled = !view.changed;
    if (settings.waits()) return; // the reader is ahead of this answer
    choice.show(view.model);
    view.controls.forEach(settings.place);
    settings.place({ name: "batch_size", values: view.batches, value: view.batch });
    precisions.show(view.precision);
  }

  update();
  model.on("change:view", update);
  return () => { settings.stop(); model.off("change:view", update); };
}

export default { render };
