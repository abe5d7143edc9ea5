// The exported page: a model without a kernel for explorer.js, and controls for layer and choice.

const state = { ...JSON.parse(document.getElementById("state").textContent), live: false, problem: "", summary: "" };
const reactions = {};
const offline = {
  get: (name) => state[name],
  set: (name, value) => {
    if (state[name] === value) return;
    state[name] = value;
    (reactions[`change:${name}`] ?? []).forEach((react) => react());
  },
  save_changes: () => {},
  on: (name, react) => { (reactions[name] ??= []).push(react); },
  off: () => {},
};

const shownLayer = () => state.payload.layers.find((one) => one.index === state.layer);

function chooser(name, label, options) {
  const select = h("select", { id: `choose-${name}`, "data-testid": `choose-${name}`,
    onchange: () => offline.set(name, Number(select.value)) },
    ...options.map(([words, value]) => h("option", { value }, words)));
  const follow = () => { select.value = String(state[name]); };
  offline.on(`change:${name}`, follow);
  follow();
  return [h("label", { for: `choose-${name}` }, label), select];
}

function describe() {
  const layer = shownLayer();
  if (state.rank > layer.k) offline.set("rank", layer.k);
  offline.set("summary", [state.payload.note, layer.words[state.rank - 1], state.comparison.words?.[state.layer]].filter(Boolean).join(" "));
}

const ranks = Math.max(...state.payload.layers.map((layer) => layer.k));
document.getElementById("controls").append(
  ...chooser("layer", "Layer", state.payload.layers.map((layer) => [String(layer.index), layer.index])),
  ...chooser("rank", "Choice", Array.from({ length: ranks }, (_, place) => [ordinal(place + 1), place + 1])));
offline.on("change:layer", describe);
offline.on("change:rank", describe);
describe();
render({ model: offline, el: document.getElementById("explorer") });
