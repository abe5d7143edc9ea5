// Draws `view`, which the kernel computes: bars of four kinds of attention, side by side.
//
// Movements are gathered for a moment before they are sent, so that the kernel answers once.

const WAIT = 60; // milliseconds
const FIRST = ["context", "batch_size", "memory", "num_key_value_heads"]; // sliders in sight; the others are folded

/** An element. Strings become text nodes. */
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const group = (number) => number.toLocaleString("en-US");

function render({ model, el }) {
  // Radio buttons of one name are one group in the whole page, and each calculator loads this file anew: no counter here.
  const id = `moe-cache-${Math.random().toString(36).slice(2)}`;
  let pending = {}; // what waits to be sent
  let timer;
  const sliders = new Map(); // setting -> { input, value, values }

  function send(changes) {
    pending = { ...pending, ...changes };
    clearTimeout(timer);
    timer = setTimeout(() => { timer = undefined; const now = pending; pending = {}; model.send({ set: now }); }, WAIT);
  }

  function sendNow(content) {
    clearTimeout(timer); timer = undefined; pending = {};
    model.send(content);
  }

  function slider({ name, label }) {
    const value = h("span", { class: "moe-cache-value", "data-testid": `cache-value-${name}` });
    const input = h("input", { type: "range", min: 0, step: 1, "data-testid": `cache-${name}`, "aria-label": label,
      oninput: () => {
        const now = sliders.get(name).values[Number(input.value)];
        say(name, now);
        send({ [name]: now });
      } });
    sliders.set(name, { input, value, values: [] });
    return h("label", { class: "moe-cache-field" }, h("span", { class: "moe-cache-head" }, h("span", {}, label), value), input);
  }

  function say(name, now, own) {
    const { input, value } = sliders.get(name);
    const words = group(now) + (own !== undefined && own !== now ? ` (before: ${group(own)})` : "");
    value.textContent = words;
    input.setAttribute("aria-valuetext", words);
  }

  function place({ name, values, value, own }) {
    const one = sliders.get(name);
    one.values = values;
    one.input.max = values.length - 1;
    one.input.value = values.indexOf(value);
    say(name, value, own);
  }

  function radios(name, legend, values) {
    const inputs = values.map((value) => h("input", { type: "radio", name: `${id}-${name}`, value,
      "data-testid": `cache-${name}-${value}`, onchange: () => send({ [name]: value }) }));
    const field = h("fieldset", {}, h("legend", {}, legend),
      ...values.map((value, number) => h("label", {}, inputs[number], ` ${value}`)));
    return { field, show: (now) => inputs.forEach((input) => { input.checked = input.value === now; }) };
  }

  const first = model.get("view");
  const choice = h("select", { "data-testid": "cache-model", onchange: () => sendNow({ set: { model: choice.value } }) },
    ...first.models.map((name) => h("option", { value: name }, name)));
  const kinds = radios("kind", "Attention", first.kinds);
  const precisions = radios("precision", "Format of a number", first.precisions);
  const reset = h("button", { type: "button", class: "moe-cache-reset", "data-testid": "cache-reset",
    onclick: () => sendNow({ reset: true }) }, "Back to the model's own sizes");
  const fields = (wanted) => first.controls.filter((one) => FIRST.includes(one.name) === wanted).map(slider);
  const summary = h("p", { class: "moe-cache-summary", "data-testid": "cache-summary", role: "status", "aria-live": "polite" });
  const problem = h("p", { class: "moe-cache-problem", "data-testid": "cache-problem", role: "alert" });
  const drawing = h("div", { "data-testid": "cache-drawing" });
  const root = h("div", { class: "moe-cache", "data-testid": "cache-calculator", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-cache-columns" },
      h("div", { role: "group", "aria-label": "Settings" },
        h("label", { class: "moe-cache-field" }, h("span", { class: "moe-cache-head" }, "Model"), choice),
        kinds.field, ...fields(true), precisions.field,
        h("details", {}, h("summary", {}, "Sizes of your own"), ...fields(false)),
        reset, problem),
      drawing),
    summary);
  // The notebook takes arrow keys that reach it for its own, and a slider would not move.
  root.addEventListener("keydown", (event) => { if (/^(Arrow|Page|Home|End)/.test(event.key)) event.stopPropagation(); });
  el.append(root);

  function bars(view, field, heading, limit) {
    const most = Math.max(...view.rows.map((row) => row[field]), 1e-9);
    const percent = (value) => `${((100 * value) / most).toFixed(3)}%`;
    return h("section", { "data-testid": `cache-${field}` }, h("h4", {}, heading),
      ...view.rows.map((row) => h("div", { class: `moe-cache-row${row.chosen ? " moe-cache-chosen" : ""}` },
        h("span", {}, `${row.chosen ? "→ " : ""}${row.name}${row.own ? " *" : ""}`),
        h("span", { class: "moe-cache-track", "aria-hidden": "true" },
          row[field] ? h("span", { class: `moe-cache-fill moe-cache-${row.kind}`, style: `width: ${percent(row[field])}` }) : null,
          limit && limit < most ? h("span", { class: "moe-cache-limit", style: `left: ${percent(limit)}` }) : null),
        h("span", { class: "moe-cache-value", "data-testid": `cache-${field}-${row.kind}` }, row[`${field}_words`]))),
      limit ? h("p", { class: "moe-cache-note" }, limit < most ? `dashed: ${view.memory_words}`
        : `all within ${view.memory_words}`) : null);
  }

  function update() {
    const view = model.get("view");
    drawing.replaceChildren(
      h("h4", { class: "moe-cache-title", "data-testid": "cache-title" }, view.title),
      bars(view, "token", view.headings[0]),
      bars(view, "total", view.headings[1], view.memory),
      bars(view, "fitting", view.headings[2]),
      h("p", { class: "moe-cache-note" }, "→ chosen kind; * the model's own"));
    summary.textContent = view.summary;
    problem.textContent = view.problem;
    reset.disabled = !view.changed;
    if (timer !== undefined) return; // the reader is ahead of this answer
    choice.value = view.model;
    kinds.show(view.kind);
    precisions.show(view.precision);
    view.controls.forEach(place);
  }

  update();
  model.on("change:view", update);
  return () => { clearTimeout(timer); model.off("change:view", update); };
}

export default { render };
