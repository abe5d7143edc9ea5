// What stands around the cards: search, the three views, copy as code, save a picture, and what hovering shows.

const VIEWS = { experts: "Experts", flow: "A token’s way", map: "Map of tokens and layers" };

/** Labels show spaces and line ends as signs; a search may use either. */
const plain = (label) => label.replaceAll("␣", " ").replaceAll("⏎", "\n").replaceAll("⇥", "\t").toLowerCase();
const isFound = (label, sought) => !sought || plain(label).includes(plain(sought));

function makeTools(view) {
  const { model, reading, layer, colour, choose } = view;
  const field = h("input", { type: "search", "data-testid": "search", "aria-label": "Search the tokens", placeholder: "Search the tokens",
    oninput: () => choose("search", field.value), onkeydown: (event) => { if (event.key === "Escape") choose("search", ""); } });
  const hits = h("span", { role: "status", "data-testid": "hits" });
  const only = h("input", { type: "checkbox", "data-testid": "only-found", onchange: draw });
  const log = h("input", { type: "checkbox", "data-testid": "log-scale", onchange: () => choose("log_scale", log.checked) });
  const search = h("div", { class: "moe-tools" }, field, h("label", {}, only, " only these"), h("label", {}, log, " log scale"), hits);
  const buttons = Object.entries(VIEWS).map(([name, title]) =>
    h("button", { type: "button", "data-testid": `shows-${name}`, onclick: () => choose("shows", name) }, title));
  const tabs = h("div", { class: "moe-tools moe-tabs", role: "group", "aria-label": "What is shown below" }, ...buttons);
  const canvas = h("section", { class: "moe-canvas", "data-testid": "canvas", tabindex: 0, "aria-label": "Drawing" });
  const code = h("textarea", { class: "moe-copied", readonly: "", rows: 6, hidden: "", "data-testid": "code", "aria-label": "This view as code" });
  const done = h("span", { role: "status", "data-testid": "saved" });
  const saving = h("div", { class: "moe-tools moe-saving" },
    h("button", { type: "button", "data-testid": "copy-code", onclick: copyCode }, "Copy as code"),
    h("button", { type: "button", "data-testid": "save-svg", onclick: () => keep("svg") }, "Save picture (SVG)"),
    h("button", { type: "button", "data-testid": "save-png", onclick: () => keep("png") }, "Save picture (PNG)"), done, code);
  const hover = h("div", { class: "moe-hover", role: "tooltip", "data-testid": "hover", hidden: "" });

  function drawn() {
    const shows = model.get("shows"), room = Math.min(900, canvas.clientWidth - 24);
    return shows === "flow" ? flowDrawing(view, room) : shows === "map" ? mapDrawing(view) : loadDrawing(view);
  }

  function draw() {
    const shows = model.get("shows") ?? "experts", sought = model.get("search") ?? "", read = reading(0);
    if (field.value !== sought) field.value = sought;
    log.checked = Boolean(model.get("log_scale"));
    const found = read.tokens.filter((label) => isFound(label, sought)).length;
    hits.textContent = sought ? `${found} of ${plural(read.tokens.length, "token")}` : "";
    const root = search.closest(".moe-explorer");
    root?.classList.toggle("moe-only", only.checked && Boolean(sought));
    root?.setAttribute("data-shows", shows);
    buttons.forEach((button, place) => button.setAttribute("aria-pressed", Object.keys(VIEWS)[place] === shows));
    canvas.hidden = shows === "experts";
    if (canvas.hidden) return canvas.replaceChildren();
    const { scrollLeft, scrollTop } = canvas;
    canvas.replaceChildren(h("h4", {}, VIEWS[shows]), h("p", { class: "moe-hint" }, shows === "map"
      ? "A column for each token, a row for each layer with experts; the number is the expert of the shown choice, the line under it as long as its weight. Click a square to choose its token and layer."
      : `From top to bottom: layer after layer.${model.get("log_scale") ? LOG_WORDS : ""}`), drawn());
    Object.assign(canvas, { scrollLeft, scrollTop });
  }

  /** The same explorer in a notebook; a JSON text is a Python text as well. */
  function asCode() {
    const data = reading(0), token = model.get("token"), side = model.get("side");
    const lines = ["from moe_lib import explore", "", `explorer = explore(model, tokenizer, ${JSON.stringify(data.text)}${side ? `, compare_text=${JSON.stringify(reading(1).text)}` : ""})`];
    if (data.changedK) lines.push(`explorer.k = ${data.changedK}`);
    data.layers.filter((one) => one.off.length).forEach((one) => lines.push(`explorer.layer = ${one.index}`, `explorer.switch_off([${one.off.join(", ")}])`));
    lines.push(`explorer.layer = ${model.get("layer")}`, `explorer.rank = ${model.get("rank")}`);
    if (token >= 0) lines.push(`explorer.select_token(${token}${side ? ", compared=True" : ""})`);
    if (model.get("expert") >= 0) lines.push(`explorer.select_expert(${model.get("expert")})`);
    if (model.get("search")) lines.push(`explorer.search = ${JSON.stringify(model.get("search"))}`);
    if (model.get("log_scale")) lines.push("explorer.log_scale = True");
    if (model.get("shows") !== "experts") lines.push(`explorer.shows = ${JSON.stringify(model.get("shows"))}`);
    return `${[...lines, "explorer"].join("\n")}\n`;
  }

  async function copyCode() {
    code.hidden = false;
    code.value = asCode();
    code.select();
    try {
      await navigator.clipboard.writeText(code.value);
      done.textContent = "Copied.";
    } catch { // a page without the right to the clipboard: the text stands there, selected
      done.textContent = "Press Ctrl+C to copy the selected text.";
    }
  }

  /** Black on white, whatever the page's theme: pictures go into papers. */
  async function keep(kind) {
    const node = drawn();
    if (!(node instanceof SVGElement)) { done.textContent = node.textContent; return; }
    const width = Number(node.getAttribute("width")), height = Number(node.getAttribute("height"));
    node.setAttribute("color", "#000000");
    node.prepend(svg("rect", { width, height, fill: "#ffffff" }));
    const text = new XMLSerializer().serializeToString(node), data = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    if (kind === "svg") download(data, "routing.svg");
    else {
      const image = new Image(), sharp = Math.min(2, 16000 / Math.max(width, height)); // browsers draw no larger canvas
      image.src = data;
      await image.decode();
      const sheet = Object.assign(document.createElement("canvas"), { width: width * sharp, height: height * sharp });
      sheet.getContext("2d").drawImage(image, 0, 0, sheet.width, sheet.height);
      download(sheet.toDataURL("image/png"), "routing.png");
    }
    done.textContent = `Saved as routing.${kind}.`;
  }

  function download(href, name) { h("a", { href, download: name }).click(); }

  /** All affinities of a token, beside the mouse or the keyboard's place. */
  function showHover(chip, side, token) {
    const shown = layer(side), frame = search.closest(".moe-explorer").getBoundingClientRect(), place = chip.getBoundingClientRect();
    if (!shown?.scores) return hideHover();
    const experts = chosen(shown, token), scores = Array.from(shown.scores.subarray(token * shown.nExperts, (token + 1) * shown.nExperts));
    const most = Math.max(...scores, 1e-9), step = 240 / scores.length;
    const tall = (score) => Math.max(1, 60 * (model.get("log_scale") ? onLogScale(score / most) : score / most));
    const ranked = scores.map((score, e) => [score, e]).sort((a, b) => b[0] - a[0]).slice(0, 4).map(([score, e]) => `${e}: ${percent(score)}`);
    hover.replaceChildren(h("b", {}, `Token ${token}: `, spelled(reading(side).tokens[token])), svg("svg", { width: 240, height: 62, "aria-hidden": "true" }, ...scores.map((score, e) =>
      svg("rect", { x: e * step, y: 62 - tall(score), width: Math.max(0.5, step - 1), height: tall(score), fill: colour(e).fill, stroke: experts.includes(e) ? "currentColor" : "none", "stroke-width": 2 }))),
    h("span", {}, `Layer ${shown.index}: ${ranked.join(", ")}${scores.length > 4 ? " …" : ""}`));
    hover.hidden = false;
    hover.style.left = `${Math.max(0, Math.min(place.left - frame.left, frame.width - 264))}px`;
    hover.style.top = `${place.bottom - frame.top + 6}px`;
  }

  function hideHover() { hover.hidden = true; }

  return { search, tabs, canvas, saving, hover, draw, showHover, hideHover };
}
