// Pieces of the atlas: bars with their interval and their control, tables, passages.

const percent = (mille) => (mille === null || mille === undefined ? "–" : `${(mille / 10).toFixed(1)} %`);

/** Rows [name, share, low, high, chance low, chance high] of one expert, in per-milles. */
function shareRows(names, shares, expert) {
  return names.map((name, place) => [name, ...["share", "low", "high", "chanceLow", "chanceHigh"].map(
    (part) => shares[part][place][expert])]);
}

/** Bars; a dark line is the interval, a hatched band what chance gives. */
function bars(rows, caption) {
  const most = Math.max(1, ...rows.flatMap((row) => row.slice(1).map((value) => value ?? 0)));
  const at = (value) => `${((100 * value) / most).toFixed(2)}%`;
  return h("table", { class: "moe-shares" }, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...["", "share", "", "95 %", "by chance"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, ...rows.map(([name, share, low, high, chanceLow, chanceHigh]) => {
      const drawing = svg("svg", { class: "moe-drawing", "aria-hidden": "true" },
        svg("rect", { x: 0, y: 3, width: at(share), height: 10, class: "moe-share" }),
        svg("rect", { x: at(chanceLow), y: 0, width: at(Math.max(chanceHigh - chanceLow, most / 200)), height: 16, class: "moe-chance" }));
      if (low !== null) drawing.append(svg("line", { x1: at(low), x2: at(high), y1: 8, y2: 8, class: "moe-interval" }));
      const outside = low !== null && (low > chanceHigh || high < chanceLow);
      return h("tr", { class: outside ? "moe-outside" : null },
        h("th", { scope: "row" }, h("bdi", {}, name)), h("td", {}, percent(share)), h("td", { class: "moe-wide" }, drawing),
        h("td", {}, low === null ? "one document" : `${percent(low)} to ${percent(high)}`),
        h("td", {}, chanceLow === chanceHigh ? percent(chanceLow) : `${percent(chanceLow)} to ${percent(chanceHigh)}`));
    })));
}

function tokenTable(layer, expert, names) {
  const rows = layer.tokens[expert];
  if (!rows.length) return h("p", {}, "No token that occurs 10 times goes to it more often than its load says.");
  return h("table", { class: "moe-shares" },
    h("caption", {}, `Tokens that it takes most above its load of ${percent(layer.load[expert])}; with tokens mixed, the largest share of any is ${percent(layer.tokensByChance[expert])}`),
    h("thead", {}, h("tr", {}, ...["token", "share", "95 %", "times"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, ...rows.map(([token, share, low, high, count]) => h("tr", {},
      h("th", { scope: "row" }, h("bdi", { class: "moe-code" }, names[token])), h("td", {}, percent(share)),
      h("td", {}, `${percent(low)} to ${percent(high)}`), h("td", {}, String(count))))));
}

function partners(layer, expert) {
  const n = layer.experts, row = (text) => Array.from(atob(text).slice(expert * n, (expert + 1) * n), (one) => one.charCodeAt(0) / 0.255);
  const found = row(layer.together), chance = layer.togetherByChance === null ? null : row(layer.togetherByChance);
  const order = [...found.keys()].filter((other) => other !== expert && found[other] > 0)
    .sort((a, b) => found[b] - (chance?.[b] ?? 0) - found[a] + (chance?.[a] ?? 0)).slice(0, 6);
  if (!order.length) return h("p", {}, "It is chosen together with no other expert.");
  return h("table", { class: "moe-shares" }, h("caption", {}, "Of its tokens, the share that also takes … ; by chance: partners mixed, loads kept"),
    h("thead", {}, h("tr", {}, ...["expert", "share", "by chance"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, ...order.map((other) => h("tr", {}, h("th", { scope: "row" }, String(other)), h("td", {}, percent(found[other])),
      h("td", {}, chance === null ? "–" : percent(chance[other]))))));
}

function passage([row, start, bits], texts) {
  const [domain, pieces] = texts[row], taken = [...bits];
  const marked = taken.map((bit, place) => (bit === "1" ? h("mark", {}, pieces[start + place]) : document.createTextNode(pieces[start + place])));
  const number = taken.filter((bit) => bit === "1").length;
  return h("li", {}, h("blockquote", { dir: "auto" }, ...marked), h("span", { class: "moe-from" }, `${number} of ${taken.length} tokens; `, h("bdi", {}, domain)));
}
