// Draws `view`, which the kernel computes: filters, and the statements that fit them, each with its reason folded.

const TYPING = 150; // milliseconds

function render({ model, el }) {
  const id = freshId("moe-ledger");
  const view = () => model.get("view");
  const open = new Set(); // ids of the statements that are unfolded
  const part = (tag, name, attributes = {}, ...children) =>
    h(tag, { class: `moe-ledger-${name}`, "data-testid": `ledger-${name}`, ...attributes }, ...children);
  const choose = (changes) => model.send({ set: changes });
  let timer;

  const verdicts = part("fieldset", "verdicts");
  const select = (name) => part("select", name, { id: `${id}-${name}`, onchange: (event) => choose({ [name]: event.target.value }) });
  const parts = select("part"), chapters = select("chapter");
  const text = part("input", "text", { id: `${id}-text`, type: "search", autocomplete: "off", spellcheck: "false",
    oninput: () => { clearTimeout(timer); timer = setTimeout(() => { timer = undefined; choose({ text: text.value }); }, TYPING); } });
  const reset = part("button", "reset", { type: "button", onclick: () => { clearTimeout(timer); timer = undefined; text.value = ""; model.send({ reset: true }); } });
  const languages = part("fieldset", "languages", {}, h("legend", { class: "moe-unseen" }, "Language · 语言"),
    ...[["english", "English", "en"], ["chinese", "中文", "zh"]].map(([value, words, lang]) => h("label", { lang },
      h("input", { type: "radio", name: `${id}-language`, value, "data-testid": `ledger-language-${value}`, onchange: () => choose({ language: value }) }), ` ${words}`)));
  const fields = [["part", parts], ["chapter", chapters], ["text", text]].map(([name, control]) => {
    const label = h("span");
    return { name, label, field: h("label", { class: "moe-ledger-field", for: control.id }, label, control) };
  });
  const problem = part("p", "problem", { role: "alert" });
  const summary = part("p", "summary", { role: "status", "aria-live": "polite" });
  const rows = part("ul", "rows");
  const root = h("div", { class: "moe-widget moe-ledger", "data-testid": "ledger-view", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-ledger-top" }, verdicts, languages),
    h("div", { class: "moe-ledger-filters" }, ...fields.map((one) => one.field), reset), problem, summary, rows);
  keepArrowKeys(root);
  el.append(root);

  function fill(control, choices, value) {
    control.replaceChildren(...choices.map((one) => h("option", { value: one.value }, one.words)));
    control.value = value;
  }

  function verdict(one, chosen) {
    const input = h("input", { type: "radio", name: `${id}-verdict`, value: one.value, "data-testid": `ledger-verdict-${one.value.replace(" ", "-")}`,
      onchange: () => choose({ verdict: one.value }) });
    input.checked = one.value === chosen;
    return h("label", { class: `moe-ledger-verdict moe-ledger-is-${one.value.replace(" ", "-")}${input.checked ? " moe-ledger-chosen" : ""}` },
      input, h("span", {}, one.words), h("b", {}, String(one.count)));
  }

  function list(label, things) {
    return things.length ? h("div", { class: "moe-ledger-where" }, h("b", {}, label), h("ul", {}, ...things.map((one) => h("li", {}, one)))) : null;
  }

  function statement(one, labels, language) {
    const lang = language === "chinese" ? "zh" : "en";
    const details = h("details", { "data-testid": `ledger-row-${one.id}`, ontoggle: () => { if (details.open) open.add(one.id); else open.delete(one.id); } },
      h("summary", {},
        h("span", { class: `moe-ledger-badge moe-ledger-is-${one.kind}`, lang }, one.verdict),
        h("span", { class: "moe-ledger-section" }, one.section),
        h("span", { class: "moe-ledger-said" },
          h(one.code ? "code" : "q", { lang: "zh", class: "moe-ledger-quote" }, one.quote),
          h("span", { class: "moe-ledger-english", lang: "en" }, one.translation))),
      h("div", { class: "moe-ledger-reason", lang }, h("p", {}, one.words), list(labels.tested, one.places), list(labels.sources, one.sources)));
    details.open = open.has(one.id);
    return h("li", {}, details);
  }

  function update() {
    const now = view();
    const held = verdicts.contains(verdicts.getRootNode().activeElement); // the choice by arrow keys goes on
    verdicts.replaceChildren(h("legend", { class: "moe-unseen" }, now.labels.verdict), ...now.verdicts.map((one) => verdict(one, now.verdict)));
    if (held) verdicts.querySelector("input:checked")?.focus();
    for (const one of fields) one.label.textContent = now.labels[one.name];
    fill(parts, now.parts, now.part);
    fill(chapters, now.chapters, now.chapter);
    if (timer === undefined && text.value !== now.text) text.value = now.text;
    text.placeholder = now.labels.hint;
    reset.textContent = now.labels.reset;
    languages.querySelectorAll("input").forEach((input) => { input.checked = input.value === now.language; });
    rows.replaceChildren(...now.rows.map((one) => statement(one, now.labels, now.language)));
    if (!now.rows.length) rows.append(h("li", { class: "moe-ledger-none" }, now.labels.none));
    summary.textContent = now.summary;
    summary.lang = now.language === "chinese" ? "zh" : "en";
    problem.textContent = now.problem;
  }

  update();
  model.on("change:view", update);
  return () => { clearTimeout(timer); model.off("change:view", update); };
}

export default { render };
