// Draws `view`, which the kernel computes: the slots of a cache at one token, the last tokens, and hit rates so far.

const PACE = 700; // milliseconds a token
const SIGNS = { hit: "✓", loaded: "↓", kept: "", guessed: "»", free: "" };
const SAID = { hit: "was there", loaded: "loaded now", kept: "stays", guessed: "loaded on a guess", free: "empty" };

function render({ model, el }) {
  const id = freshId("moe-cache");
  const view = () => model.get("view");
  const part = (tag, name, attributes = {}, ...children) =>
    h(tag, { class: `moe-cache-${name}`, "data-testid": `cache-${name}`, ...attributes }, ...children);
  const choice = (name, label, read) => {
    const input = part("select", name, { id: `${id}-${name}`, onchange: () => model.send({ [name]: read(input.value) }) });
    return { input, row: h("label", { for: input.id }, h("span", {}, label), input) };
  };
  const selects = {
    layer: choice("layer", "Layer", Number), num_slots: choice("num_slots", "Slots", Number),
    policy: choice("policy", "Policy", String), prefetch: choice("prefetch", "Prefetch", String),
  };
  const button = (name, words, act) => part("button", name, { type: "button", onclick: act }, words);
  const go = (token) => model.send({ token: Math.max(1, Math.min(view().tokens, token)) });
  let timer;
  const pause = () => { clearInterval(timer); timer = undefined; play.textContent = "Play"; };
  const play = button("play", "Play", () => {
    if (timer !== undefined) { pause(); return; }
    if (view().token === view().tokens) go(1);
    play.textContent = "Pause";
    timer = setInterval(() => (view().token < view().tokens ? go(view().token + 1) : pause()), PACE);
  });
  const back = button("back", "Step back", () => { pause(); go(view().token - 1); });
  const step = button("step", "Step", () => { pause(); go(view().token + 1); });
  const place = part("input", "place", { type: "range", min: 1, step: 1, "aria-label": "Token", oninput: () => { pause(); go(Number(place.value)); } });
  const problem = part("p", "problem", { role: "alert" });
  const strip = part("ol", "strip", { "aria-label": "The last tokens: hits and misses" });
  const heading = h("h4", { "data-testid": "cache-heading" });
  const needed = part("p", "needed");
  const slots = part("ol", "slots", { "aria-label": "Slots" });
  const rates = part("ul", "rates", { "aria-label": "Hit rate so far" });
  const chart = part("div", "chart", { "aria-hidden": "true" });
  const summary = part("p", "summary", { role: "status", "aria-live": "polite" });
  const legend = h("p", { class: "moe-cache-legend" }, "✓ was there · ↓ had to be loaded · » loaded on a guess · × had to go");
  const root = h("div", { class: "moe-widget moe-cache", "data-testid": "expert-cache", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-cache-bar" }, ...Object.values(selects).map((one) => one.row)),
    h("div", { class: "moe-cache-bar" }, back, play, step, place), problem, strip,
    h("div", { class: "moe-cache-columns" }, h("section", {}, heading, needed, slots, legend),
      h("section", {}, h("h4", {}, "Hit rate so far"), rates, chart)), summary);
  keepArrowKeys(root);
  el.append(root);

  function options({ input }, values, now, words = String) {
    input.replaceChildren(...values.map((value) => h("option", { value: String(value) }, words(value))));
    input.value = String(now);
  }

  function slot({ expert, state, gone }) {
    const who = expert === null ? "–" : String(expert);
    return h("li", { class: `moe-cache-slot moe-cache-is-${state}`, title: SAID[state] }, h("span", { class: "moe-cache-who" }, who),
      h("span", { class: "moe-cache-sign", "aria-label": SAID[state], role: "img" }, SIGNS[state]),
      h("span", { class: "moe-cache-gone" }, gone === null ? "" : `× ${gone}`));
  }

  function drawChart(now) {
    const at = ([x, y]) => `${(100 * x).toFixed(2)},${(100 * (1 - y)).toFixed(2)}`;
    const lines = Object.entries(now.curves).map(([name, points]) => svg("polyline", { points: points.map(at).join(" "), class: `moe-cache-line-${name}` }));
    const x = (100 * now.token) / now.tokens;
    const here = svg("line", { x1: x, x2: x, y1: 0, y2: 100, class: "moe-cache-here" });
    const label = (words, style) => h("span", { style }, words);
    chart.replaceChildren(svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none" }, ...lines, here),
      label("1", "right: calc(100% + 5px); top: -5px"), label("½", "right: calc(100% + 5px); top: calc(50% - 5px)"),
      label("0", "right: calc(100% + 5px); bottom: -5px"), label(`${now.tokens} tokens →`, "right: 0; top: calc(100% + 6px)"));
  }

  function update() {
    const now = view();
    options(selects.layer, now.layers, now.layer);
    options(selects.num_slots, now.sizes, now.num_slots);
    const words = Object.fromEntries(now.policies.map((one) => [one.name, one.words]));
    options(selects.policy, now.policies.map((one) => one.name), now.policy, (name) => words[name]);
    options(selects.prefetch, now.prefetches, now.prefetch);
    selects.prefetch.input.disabled = !now.can_guess || now.prefetches.length < 2;
    place.max = now.tokens;
    place.value = now.token;
    place.setAttribute("aria-valuetext", `token ${now.token} of ${now.tokens}`);
    back.disabled = now.token <= 1;
    step.disabled = now.token >= now.tokens;
    heading.textContent = `Token ${now.token} of ${now.tokens}: the slots of layer ${now.layer}`;
    needed.replaceChildren("needs ", ...now.needed.map(({ expert, hit }) =>
      h("span", { class: `moe-cache-need moe-cache-is-${hit ? "hit" : "loaded"}` }, `${expert} ${SIGNS[hit ? "hit" : "loaded"]}`)));
    slots.replaceChildren(...now.slots.map(slot));
    strip.replaceChildren(...now.strip.map(({ word, hits, misses }, number) =>
      h("li", { class: number === now.strip.length - 1 ? "moe-cache-now" : "" }, h("span", { class: "moe-cache-word" }, word),
        h("span", { class: "moe-cache-marks", role: "img", "aria-label": `${hits} there, ${misses} loaded` }, SIGNS.hit.repeat(hits) + SIGNS.loaded.repeat(misses)))));
    rates.replaceChildren(...now.rates.map(({ name, words: said, rate }) =>
      h("li", {}, h("span", { class: `moe-cache-key moe-cache-line-${name}`, "aria-hidden": "true" }), `${said}: `, h("b", { "data-testid": `cache-rate-${name}` }, rate))));
    drawChart(now);
    if (timer === undefined) summary.textContent = now.summary; // not read out at every token while it plays
    problem.textContent = now.problem;
  }

  update();
  model.on("change:view", update);
  return () => { clearInterval(timer); model.off("change:view", update); };
}

export default { render };
