// Draws `view`, which the kernel computes: the words as buttons, and bars for every masked token.
//
// Presses and typing are gathered for a moment before they are sent, so that the kernel answers once.

const PRESSES = 120; // milliseconds
const TYPING = 300;

const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

function render({ model, el }) {
  const id = freshId("moe-mask-text");
  let masked = new Set(model.get("view").masked);
  let buttons = [];
  let timer; // set while something waits to be sent
  const part = (tag, name, attributes = {}) => h(tag, { class: `moe-mask-${name}`, "data-testid": `mask-${name}`, ...attributes });
  const area = part("textarea", "text", { id, rows: 4, spellcheck: "false", oninput: () => send(() => ({ text: area.value }), TYPING) });
  const words = part("div", "words", { role: "group", "aria-label": "Words of the text: press one to mask it", dir: "auto", onkeydown: onArrow });
  const clear = part("button", "clear", { type: "button", onclick: () => { masked.clear(); paint(); send(masks, 0); } });
  clear.append("Show all words");
  const summary = part("p", "summary", { role: "status", "aria-live": "polite" });
  const problem = part("p", "problem", { role: "alert" });
  const cards = part("div", "cards");
  // JupyterLab would otherwise take Enter and the arrow keys for its own.
  const root = h("div", { class: "moe-widget moe-mask", "data-testid": "mask-playground", "data-lm-suppress-shortcuts": "true" },
    h("label", { for: id }, "Text (edit it)"), area,
    h("div", { class: "moe-mask-bar" }, h("span", {}, "Press words to hide them from the model:"), clear),
    words, problem, cards, summary);
  el.append(root);

  const masks = () => ({ masked: [...masked].sort((a, b) => a - b) });
  function send(content, wait) {
    clearTimeout(timer);
    timer = setTimeout(() => { timer = undefined; model.send(content()); }, wait);
  }

  function toggle(word) {
    if (!masked.delete(word)) masked.add(word);
    paint(); // at once; the predictions follow
    send(masks, PRESSES);
  }

  function onArrow(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const place = buttons.indexOf(event.target);
    if (!step || place < 0) return;
    event.preventDefault();
    buttons[Math.min(buttons.length - 1, Math.max(0, place + step))].focus();
  }

  function build() {
    const view = model.get("view");
    const focused = buttons.indexOf(root.getRootNode().activeElement);
    buttons = view.words.map((word, number) =>
      h("button", { type: "button", class: "moe-mask-word", "data-testid": `mask-word-${number}`,
        onclick: () => toggle(number) }, word.text));
    words.replaceChildren(...buttons.flatMap((button, number) => [view.words[number].gap, button]), view.tail);
    if (!buttons.length) words.append("No text yet: type some above.");
    if (focused >= 0) buttons[Math.min(focused, buttons.length - 1)]?.focus();
  }

  function paint() {
    const { words: known } = model.get("view");
    buttons.forEach((button, number) => {
      const hidden = masked.has(number), tokens = known[number].tokens;
      const many = tokens > 1 ? `${tokens} tokens` : "1 token";
      button.setAttribute("aria-pressed", hidden);
      button.setAttribute("aria-label", `${known[number].text}, ${many}${hidden ? ", masked" : ""}`);
      button.title = `${many}; ${hidden ? "masked: press to show it" : "press to mask it"}`;
    });
    clear.disabled = masked.size === 0;
  }

  function card(one, number) {
    const { words: known } = model.get("view");
    const rows = one.rows.map((row) =>
      h("li", { class: row.true ? "moe-mask-true" : "" },
        h("span", { class: "moe-mask-rank" }, `${row.rank}.`),
        h("bdi", { class: "moe-mask-label" }, row.label),
        h("span", { class: "moe-mask-track", "aria-hidden": "true" },
          h("span", { class: "moe-mask-fill", style: `width: ${(100 * row.probability).toFixed(2)}%` })),
        h("span", { class: "moe-mask-value" }, percent(row.probability)),
        h("span", { class: "moe-mask-tick" }, row.true ? "✓ true" : "")));
    return h("section", { class: "moe-mask-card", "data-testid": `mask-card-${number}`, "aria-label": `Predictions for the hidden word ${known[one.word].text}` },
      h("h4", {}, "hidden: ", h("bdi", {}, known[one.word].text), one.part ? ` (${one.part})` : ""),
      h("ol", {}, ...rows), h("p", {}, one.loss === null ? NO_NUMBER : `loss here: ${one.loss.toFixed(2)} nats`));
  }

  function update() {
    if (timer !== undefined) return; // the reader is ahead of this answer
    const view = model.get("view");
    masked = new Set(view.masked);
    if (area.value !== view.text) area.value = view.text;
    if (!same(view)) build();
    paint();
    cards.replaceChildren(...view.cards.map(card));
    summary.textContent = view.summary;
    problem.textContent = view.problem;
  }

  /** Whether the buttons already show these words, so that they need not be made anew. */
  function same(view) {
    return buttons.length > 0 && words.textContent === view.words.map((word) => word.gap + word.text).join("") + view.tail &&
      buttons.length === view.words.length && buttons.every((button, number) => button.textContent === view.words[number].text);
  }

  update();
  model.on("change:view", update);
  return () => { clearTimeout(timer); model.off("change:view", update); };
}

export default { render };
