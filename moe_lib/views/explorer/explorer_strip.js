// One strip of tokens, of the first reading (side 0) or of the second (side 1).
//
// `view` is what explorer.js shares: model, reading(side), layer(side), compared(), colour(expert), choose(name, value),
// toggleToken(side, token). build() is for a new text, paint() for every other change.

function makeStrip(side, view) {
  const { model, reading, layer, colour, choose, toggleToken } = view;
  const name = side ? "second-" : "";
  const heading = h("h4", { "data-testid": `${name}name`, hidden: "" });
  const list = h("div", { class: "moe-strip", "data-testid": `${name}strip`, role: "listbox", "aria-label": side ? "Tokens of the second" : "Tokens of the text", onkeydown: onKey });
  const node = h("div", { class: "moe-reading" }, heading, list);
  let chips = [], current = 0; // the token that Tab reaches

  function build() {
    const read = reading(side);
    const compared = view.compared();
    node.hidden = side === 1 && !compared;
    heading.hidden = !compared;
    heading.replaceChildren(h("bdi", {}, compared ? compared.names[side] : ""));
    chips = node.hidden ? [] : read.tokens.map((label, token) =>
      h("div", { class: "moe-token", role: "option", "data-testid": `${name}token-${token}`, tabindex: -1,
        onclick: () => { current = token; toggleToken(side, token); chips[token].focus(); } },
        spelled(label), h("span", { class: "moe-number" })));
    const breaks = (label) => (label.includes("⏎") ? [h("div", { class: "moe-break", role: "presentation" })] : []);
    list.replaceChildren(...chips.flatMap((chip, token) => [chip, ...breaks(read.tokens[token])]));
    if (!chips.length) list.append(h("p", { class: "moe-hint", role: "presentation" }, read.empty));
    if (read.note) list.append(h("p", { class: "moe-hint", role: "presentation", "data-testid": `${name}note` }, read.note));
    current = Math.min(current, Math.max(0, chips.length - 1));
  }

  function paint() {
    const shown = layer(side), marked = model.get("side") === side ? model.get("token") : -1;
    const changed = new Set(side ? [] : model.get("changes").map((change) => change.position));
    const mate = side && view.compared()?.same ? layer(0) : null;
    chips.forEach((chip, token) => {
      chip.tabIndex = token === current ? 0 : -1;
      chip.setAttribute("aria-selected", token === marked);
      if (shown) paintChip(chip, shown, token, changed.has(token), mate);
      else { chip.style = ""; chip.lastChild.textContent = "–"; }
    });
  }

  function paintChip(chip, shown, token, changed, mate) {
    const rank = Math.min(model.get("rank"), shown.k) - 1;
    const expert = shown.off.includes(model.get("expert")) ? -1 : model.get("expert"); // nobody chooses it: no tokens to show
    const experts = chosen(shown, token);
    const place = expert < 0 ? (experts[rank] === NO_EXPERT ? -1 : rank) : experts.indexOf(expert);
    const one = experts[place < 0 ? rank : place];
    const alike = mate && one !== NO_EXPERT && chosen(mate, token)[rank] === experts[rank];
    chip.style = place < 0 ? "" : painted(colour(one));
    chip.classList.toggle("moe-chooses", expert >= 0 && place >= 0);
    chip.lastChild.textContent = (expert >= 0 && place >= 0 ? `${one} · ${ordinal(place + 1)}` : one === NO_EXPERT ? "–" : one) +
      (changed ? " ≠" : "") + (alike ? " =" : "");
    const weight = shown.weights && shown.weights[token * shown.k + Math.max(place, 0)].toFixed(2);
    chip.setAttribute("aria-label", `Token ${token}, ${reading(side).tokens[token]}, ${one === NO_EXPERT ? "no expert" : `expert ${one}`}` +
      (place < 0 || !weight ? "" : `, weight ${weight}`) + (changed ? ", its prediction changed" : "") + (alike ? ", the same in the first" : ""));
  }

  function onKey(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -current, End: chips.length - 1 - current };
    if (event.key === "Enter" || event.key === " ") toggleToken(side, current);
    else if (event.key === "Escape") { choose("token", -1); choose("expert", -1); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") moveTo(lineAway(event.key === "ArrowDown" ? 1 : -1));
    else if (event.key in steps) moveTo(current + steps[event.key]);
    else return;
    event.preventDefault();
  }

  /** The token above or below: in the nearest other line, the one closest to this column. */
  function lineAway(direction) {
    const { offsetTop: top, offsetLeft: left } = chips[current];
    const beyond = chips.filter((chip) => direction * (chip.offsetTop - top) > 2);
    const line = Math.min(...beyond.map((chip) => Math.abs(chip.offsetTop - top)));
    const there = beyond.filter((chip) => Math.abs(Math.abs(chip.offsetTop - top) - line) <= 2);
    there.sort((a, b) => Math.abs(a.offsetLeft - left) - Math.abs(b.offsetLeft - left));
    return there.length ? chips.indexOf(there[0]) : current;
  }

  function moveTo(token) {
    if (!chips.length) return;
    chips[current].tabIndex = -1;
    current = Math.max(0, Math.min(chips.length - 1, token));
    chips[current].tabIndex = 0;
    chips[current].focus();
  }

  return { node, build, paint };
}
