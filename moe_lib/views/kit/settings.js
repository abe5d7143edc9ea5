// What the reader sets in a calculator: sliders, whose values the kernel names, and choices.
//
// Movements are gathered for a moment before they are sent, so that the kernel answers once.

const WAIT = 60; // milliseconds

const group = (number) => number.toLocaleString("en-US");

/** prefix: of the test ids. before: what the model's own value is called beside one that was moved. */
function makeSettings(model, prefix, before) {
  const id = freshId(`moe-${prefix}`); // radio buttons of one name are one group in the whole page
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

  function field(label, control, value = null) {
    return h("label", { class: "moe-settings-field" }, h("span", { class: "moe-settings-head" }, h("span", {}, label), value), control);
  }

  function slider(name, label) {
    const value = h("span", { class: "moe-settings-value", "data-testid": `${prefix}-value-${name}` });
    const input = h("input", { type: "range", min: 0, step: 1, "data-testid": `${prefix}-${name}`, "aria-label": label,
      oninput: () => {
        const now = sliders.get(name).values[Number(input.value)];
        say(name, now);
        send({ [name]: now });
      } });
    sliders.set(name, { input, value, values: [] });
    return field(label, input, value);
  }

  function say(name, now, own) {
    const { input, value } = sliders.get(name);
    const words = group(now) + (own !== undefined && own !== now ? ` (${before}: ${group(own)})` : "");
    value.textContent = words;
    input.setAttribute("aria-valuetext", words);
  }

  /** Show what the kernel says of a slider. */
  function place({ name, values, value, own }) {
    const one = sliders.get(name);
    one.values = values;
    one.input.max = values.length - 1;
    one.input.value = values.indexOf(value);
    say(name, value, own);
  }

  function radios(name, legend, values) {
    const inputs = values.map((value) => h("input", { type: "radio", name: `${id}-${name}`, value,
      "data-testid": `${prefix}-${name}-${value}`, onchange: () => send({ [name]: value }) }));
    const choices = h("fieldset", { class: "moe-settings-choice" }, h("legend", {}, legend),
      ...values.map((value, number) => h("label", {}, inputs[number], ` ${value}`)));
    return { field: choices, show: (now) => inputs.forEach((input) => { input.checked = input.value === now; }) };
  }

  function modelChoice(names) {
    const choice = h("select", { "data-testid": `${prefix}-model`, onchange: () => sendNow({ set: { model: choice.value } }) },
      ...names.map((name) => h("option", { value: name }, name)));
    return { field: field("Model", choice), show: (now) => { choice.value = now; } };
  }

  function reset(words) {
    return h("button", { type: "button", class: "moe-settings-reset", "data-testid": `${prefix}-reset`,
      onclick: () => sendNow({ reset: true }) }, words);
  }

  /** waits(): the reader is ahead of the kernel's answer. */
  return { send, slider, place, radios, modelChoice, reset, waits: () => timer !== undefined, stop: () => clearTimeout(timer) };
}

/** The notebook takes arrow keys that reach it for its own, and a slider would not move. */
function keepArrowKeys(root) {
  root.addEventListener("keydown", (event) => { if (/^(Arrow|Page|Home|End)/.test(event.key)) event.stopPropagation(); });
}
