// Draws `view`, which the kernel computes: sliders, stacked bars, and experts touched against batch size.
//
// Movements are gathered for a moment before they are sent, so that the kernel answers once.

const WAIT = 60; // milliseconds
const SVG = "http://www.w3.org/2000/svg";

/** An element. Strings become text nodes. */
function h(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const group = (number) => number.toLocaleString("en-US");
const share = (value, all) => `width: ${((100 * value) / all).toFixed(3)}%`;

function render({ model, el }) {
  const id = `moe-par-${Math.random().toString(36).slice(2)}`; // each widget loads this file anew: no counter could tell them apart
  let pending = {}; // what waits to be sent
  let timer;
  const sliders = new Map(); // setting -> { input, value, values }

  function send(changes) {
    pending = { ...pending, ...changes };
    clearTimeout(timer);
    timer = setTimeout(() => { timer = undefined; const now = pending; pending = {}; model.send({ set: now }); }, WAIT);
  }

  function slider(name, label) {
    const value = h("span", { class: "moe-par-value", "data-testid": `par-value-${name}` });
    const input = h("input", { type: "range", min: 0, step: 1, "data-testid": `par-${name}`, "aria-label": label,
      oninput: () => {
        const now = sliders.get(name).values[Number(input.value)];
        say(name, now);
        send({ [name]: now });
      } });
    sliders.set(name, { input, value, values: [] });
    return h("label", { class: "moe-par-field" }, h("span", { class: "moe-par-head" }, h("span", {}, label), value), input);
  }

  function say(name, now, own) {
    const { input, value } = sliders.get(name);
    const words = group(now) + (own !== undefined && own !== now ? ` (published: ${group(own)})` : "");
    value.textContent = words;
    input.setAttribute("aria-valuetext", words);
  }

  function place(name, values, now, own) {
    const one = sliders.get(name);
    one.values = values;
    one.input.max = values.length - 1;
    one.input.value = values.indexOf(now);
    say(name, now, own);
  }

  const first = model.get("view");
  const choice = h("select", { id: `${id}-model`, "data-testid": "par-model", onchange: () => {
    clearTimeout(timer); timer = undefined; pending = {};
    model.send({ set: { model: choice.value } });
  } }, ...first.models.map((name) => h("option", { value: name }, name)));
  const radios = first.precisions.map((name) => h("input", { type: "radio", name: `${id}-precision`, value: name,
    "data-testid": `par-precision-${name}`, onchange: () => send({ precision: name }) }));
  const reset = h("button", { type: "button", class: "moe-par-reset", "data-testid": "par-reset", onclick: () => {
    clearTimeout(timer); timer = undefined; pending = {};
    model.send({ reset: true });
  } }, "Back to the published sizes");
  const summary = h("p", { class: "moe-par-summary", "data-testid": "par-summary", role: "status", "aria-live": "polite" });
  const problem = h("p", { class: "moe-par-problem", "data-testid": "par-problem", role: "alert" });
  const drawing = h("div", { "data-testid": "par-drawing" });
  const root = h("div", { class: "moe-par", "data-testid": "parameter-explorer", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-par-columns" },
      h("div", { role: "group", "aria-label": "Settings" },
        h("label", { class: "moe-par-field" }, h("span", { class: "moe-par-head" }, "Model"), choice),
        ...first.controls.map((one) => slider(one.name, one.label)),
        slider("batch_size", "Tokens in the batch"),
        h("fieldset", {}, h("legend", {}, "Precision of the weights"),
          ...first.precisions.map((name, number) => h("label", {}, radios[number], ` ${name}`))),
        reset, problem),
      drawing),
    summary);
  // The notebook takes arrow keys that reach it for its own, and a slider would not move.
  root.addEventListener("keydown", (event) => { if (/^(Arrow|Page|Home|End)/.test(event.key)) event.stopPropagation(); });
  el.append(root);

  function stacked(view, kind, label) {
    return h("div", { class: "moe-par-row" }, h("span", {}, label),
      h("span", { class: "moe-par-track", "aria-hidden": "true" }, ...view.parts.map((part, number) =>
        part[kind] ? h("span", { class: `moe-par-fill moe-par-part moe-par-p${number}`, title: `${part.name}: ${part[`${kind}_words`]}`,
          style: share(part[kind], view.total.stored) }) : null)),
      h("span", { class: "moe-par-value", "data-testid": `par-total-${kind}` }, view.total[`${kind}_words`]));
  }

  function denseRow(view) {
    return h("div", { class: "moe-par-row" }, h("span", {}, view.dense.name),
      h("span", { class: "moe-par-track", "aria-hidden": "true" },
        h("span", { class: "moe-par-fill moe-par-part moe-par-dense", style: share(view.dense.value, Math.max(view.dense.value, view.total.stored)) })),
      h("span", { class: "moe-par-value", "data-testid": "par-total-dense" }, view.dense.words));
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
        h("span", { class: "moe-par-value" }, row.words))));
  }

  function curve(view) {
    const { batches, distinct, experts, now } = view.curve;
    const [left, right, top, bottom] = [34, 386, 10, 118];
    const last = Math.log2(batches[batches.length - 1]);
    const x = (tokens) => left + (Math.min(Math.log2(tokens), last) / last) * (right - left);
    const y = (count) => bottom - (count / experts) * (bottom - top);
    const path = batches.map((tokens, n) => `${n ? "L" : "M"}${x(tokens).toFixed(1)},${y(distinct[n]).toFixed(1)}`).join(" ");
    const ticks = [1, 8, 64, 512, 4096].map((tokens) => h("svg:text", { x: x(tokens), y: bottom + 14, "text-anchor": "middle" }, group(tokens)));
    const words = `${now.toFixed(1)} of ${experts}`;
    const beyond = x(view.batch) > 300;
    return h("section", { "data-testid": "par-curve" }, h("h4", {}, "Experts that a batch touches, per layer"),
      h("svg:svg", { viewBox: "0 0 400 148", role: "img", "aria-label": `A batch of ${group(view.batch)} touches ${words} experts on average` },
        h("svg:path", { class: "moe-par-axis", d: `M${left},${top}V${bottom}H${right}`, fill: "none" }),
        h("svg:path", { class: "moe-par-axis", d: `M${left},${top}H${right}`, "stroke-dasharray": "3 3" }),
        h("svg:text", { x: left - 5, y: top + 4, "text-anchor": "end" }, String(experts)),
        h("svg:text", { x: left - 5, y: bottom + 3, "text-anchor": "end" }, "0"), ...ticks,
        h("svg:text", { x: (left + right) / 2, y: bottom + 28, "text-anchor": "middle" }, "tokens in the batch"),
        h("svg:path", { class: "moe-par-curve", d: path }),
        h("svg:circle", { class: "moe-par-dot", cx: x(view.batch), cy: y(now), r: 5 }),
        h("svg:text", { x: x(view.batch) + (beyond ? -8 : 9), y: Math.min(bottom - 5, y(now) + 15), "text-anchor": beyond ? "end" : "start" }, words)));
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
    if (timer !== undefined) return; // the reader is ahead of this answer
    choice.value = view.model;
    for (const one of view.controls) place(one.name, one.values, one.value, one.own);
    place("batch_size", view.batches, view.batch);
    radios.forEach((radio) => { radio.checked = radio.value === view.precision; });
  }

  update();
  model.on("change:view", update);
  return () => { clearTimeout(timer); model.off("change:view", update); };
}

export default { render };
