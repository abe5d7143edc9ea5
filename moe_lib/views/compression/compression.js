// Draws `view`, which the kernel computes: the cases of a group as rows of bars, and one of them by domain.

const BARS = ["size", "rise", "flipped"];

function render({ model, el }) {
  const id = freshId("moe-compression");
  const view = () => model.get("view");
  const part = (tag, name, attributes = {}, ...children) =>
    h(tag, { class: `moe-compression-${name}`, "data-testid": `compression-${name}`, ...attributes }, ...children);
  const group = part("select", "group", { id: `${id}-group`, onchange: () => model.send({ group: group.value }) },
    ...view().groups.map((name) => h("option", { value: name }, name)));
  const problem = part("p", "problem", { role: "alert" });
  const title = h("h4", { "data-testid": "compression-title" });
  const rows = part("fieldset", "rows");
  const domains = part("section", "domains");
  const summary = part("p", "summary", { role: "status", "aria-live": "polite" });
  const root = h("div", { class: "moe-widget moe-compression", "data-testid": "compression-comparator", "data-lm-suppress-shortcuts": "true" },
    h("label", { class: "moe-compression-choice", for: group.id }, "Way to make it smaller ", group), problem, title,
    h("div", { class: "moe-compression-columns" }, rows, domains), summary);
  keepArrowKeys(root);
  el.append(root);

  function bar(field, { place, words }) {
    const fill = place ? h("span", { class: `moe-compression-fill moe-compression-${field}`, style: `width: ${(100 * place).toFixed(2)}%` }) : null;
    return h("span", { class: "moe-compression-cell" }, h("span", { class: "moe-compression-track", "aria-hidden": "true" }, fill),
      h("span", { class: "moe-compression-value" }, words));
  }

  function row(one, number) {
    const input = h("input", { type: "radio", name: `${id}-case`, value: one.name, "data-testid": `compression-case-${number}`,
      onchange: () => model.send({ case: one.name }) });
    input.checked = one.chosen;
    return h("label", { class: `moe-compression-row${one.chosen ? " moe-compression-chosen" : ""}` },
      h("span", { class: "moe-compression-name" }, input, ` ${one.name}`), ...BARS.map((field) => bar(field, one[field])));
  }

  function update() {
    const now = view();
    const held = rows.contains(rows.getRootNode().activeElement); // the choice by arrow keys goes on
    group.value = now.group;
    title.textContent = now.title;
    rows.replaceChildren(h("legend", {}, "Cases"),
      h("div", { class: "moe-compression-row moe-compression-heads", "aria-hidden": "true" }, h("span"), ...BARS.map((field) => h("span", {}, now.headings[field]))),
      ...now.rows.map(row));
    if (held) rows.querySelector("input:checked")?.focus();
    domains.replaceChildren(h("h4", {}, now.headings.domain), ...now.domains.map((one) =>
      h("div", { class: "moe-compression-domain" }, h("span", {}, one.domain), bar("domain", one))));
    domains.hidden = !now.domains.length;
    summary.textContent = now.summary;
    problem.textContent = now.problem;
  }

  update();
  model.on("change:view", update);
  return () => model.off("change:view", update);
}

export default { render };
