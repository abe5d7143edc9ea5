// Draws `view`, which the kernel computes: bars of four kinds of attention, side by side.

const FIRST = ["context", "batch_size", "memory", "num_key_value_heads"]; // sliders in sight; the others are folded

function render({ model, el }) {
  const settings = makeSettings(model, "cache", "before");
  const first = model.get("view");
  const choice = settings.modelChoice(first.models);
  const kinds = settings.radios("kind", "Attention", first.kinds);
  const precisions = settings.radios("precision", "Format of a number", first.precisions);
  const reset = settings.reset("Back to the model's own sizes");
  const sliders = (inSight) => first.controls.filter((one) => FIRST.includes(one.name) === inSight).map(({ name, label }) => settings.slider(name, label));
  const summary = h("p", { class: "moe-cache-summary", "data-testid": "cache-summary", role: "status", "aria-live": "polite" });
  const problem = h("p", { "data-testid": "cache-problem", role: "alert" });
  const drawing = h("div", { "data-testid": "cache-drawing" });
  const root = h("div", { class: "moe-widget moe-cache", "data-testid": "cache-calculator", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-cache-columns" },
      h("div", { role: "group", "aria-label": "Settings" },
        choice.field, kinds.field, ...sliders(true), precisions.field,
        h("details", {}, h("summary", {}, "Sizes of your own"), ...sliders(false)),
        reset, problem),
      drawing),
    summary);
  keepArrowKeys(root);
  el.append(root);

  function bars(view, field, heading) {
    const { places, ticks, limit } = view.scales[field];
    const percent = (share) => `${(100 * share).toFixed(3)}%`;
    return h("section", { "data-testid": `cache-${field}` }, h("h4", {}, heading),
      ...view.rows.map((row, at) => h("div", { class: `moe-cache-row${row.chosen ? " moe-cache-chosen" : ""}` },
        h("span", {}, `${row.chosen ? "→ " : ""}${row.name}${row.own ? " *" : ""}`),
        h("span", { class: "moe-cache-track", "aria-hidden": "true" },
          ...ticks.map((place) => h("span", { class: "moe-cache-tick", style: `left: ${percent(place)}` })),
          row[field] ? h("span", { class: `moe-cache-fill moe-cache-${row.kind}`, style: `width: ${percent(places[at])}` }) : null,
          limit === null ? null : h("span", { class: "moe-cache-limit", style: `left: ${percent(limit)}` })),
        h("span", { class: "moe-settings-value", "data-testid": `cache-${field}-${row.kind}` }, row[`${field}_words`]))),
      limit === null ? null : h("p", { class: "moe-cache-note" }, `dashed: ${view.memory_words} of memory`));
  }

  function update() {
    const view = model.get("view");
    drawing.replaceChildren(
      h("h4", { class: "moe-cache-title", "data-testid": "cache-title" }, view.title),
      bars(view, "token", view.headings[0]),
      bars(view, "total", view.headings[1]),
      bars(view, "fitting", view.headings[2]),
      h("p", { class: "moe-cache-note" }, "→ chosen kind; * the model's own; from one thin line to the next: ten times as much"));
    summary.textContent = view.summary;
    problem.textContent = view.problem;
    reset.disabled = !view.changed;
    if (settings.waits()) return; // the reader is ahead of this answer
    choice.show(view.model);
    kinds.show(view.kind);
    precisions.show(view.precision);
    view.controls.forEach(settings.place);
  }

  update();
  model.on("change:view", update);
  return () => { settings.stop(); model.off("change:view", update); };
}

export default { render };
