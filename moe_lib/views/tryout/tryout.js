// Draws `view`, which the kernel computes: the text with its answer marked, bars, and the experts of the tokens.
//
// Typing is gathered for a moment before it is sent, so that the kernel answers once.

const TYPING = 350; // milliseconds
const SHORT = 60; // characters of an example on its button

const percent = (share) => (share === null ? NO_NUMBER : share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);
const short = (text) => (text.length > SHORT ? `${text.slice(0, SHORT - 1)}…` : text);

function render({ model, el }) {
  const id = freshId("moe-tryout");
  const view = () => model.get("view");
  let timer; // set while something waits to be sent
  const part = (tag, name, attributes = {}, ...children) =>
    h(tag, { class: `moe-tryout-${name}`, "data-testid": `tryout-${name}`, ...attributes }, ...children);
  const typed = () => ({ text: area.value, question: view().asks ? ask.value : null });
  function send(content, wait) {
    clearTimeout(timer);
    timer = setTimeout(() => { timer = undefined; model.send(content()); }, wait);
  }
  const area = part("textarea", "text", { id: `${id}-text`, rows: view().asks ? 5 : 2, spellcheck: "false", dir: "auto", oninput: () => send(typed, TYPING) });
  const ask = part("input", "question", { id: `${id}-question`, type: "text", spellcheck: "false", dir: "auto", oninput: () => send(typed, TYPING),
    onkeydown: (event) => { if (event.key === "Enter") { event.preventDefault(); send(typed, 0); } } });
  const question = h("div", {}, h("label", { for: ask.id }, "Question (type your own; Enter asks)"), ask);
  question.hidden = !view().asks;
  const examples = part("div", "examples", { role: "group", "aria-label": "Examples to try" });
  const problem = part("p", "problem", { role: "alert" });
  const verdict = part("p", "verdict", { role: "status", "aria-live": "polite" });
  const marked = part("div", "marked", { dir: "auto", role: "group", "aria-label": "The text, its answer marked" });
  const bars = part("ul", "bars");
  const routes = part("div", "routes");
  const summary = part("p", "summary");
  const barSection = h("section", { "aria-label": "Probabilities" }, h("h4", {}, view().asks ? "Likeliest answers" : "Labels"), bars);
  const routeTitle = h("h4", {});
  const routeSection = h("section", { "aria-label": "Routing" }, routeTitle, routes);
  // JupyterLab would otherwise take Enter and the arrow keys for its own.
  const root = h("div", { class: "moe-widget moe-tryout", "data-testid": "tryout", "data-lm-suppress-shortcuts": "true" },
    examples, h("label", { for: area.id }, "Text (type your own)"), area, question, problem, verdict, marked,
    h("div", { class: "moe-tryout-columns" }, barSection, routeSection), summary);
  el.append(root);

  view().examples.forEach((one, number) => examples.append(
    h("button", { type: "button", "data-testid": `tryout-example-${number}`, title: one.question ? `${one.question}\n\n${one.text}` : one.text,
      onclick: () => { clearTimeout(timer); timer = undefined; model.send({ example: number }); } }, short(one.question ?? one.text))));
  examples.hidden = !view().examples.length;
  if (view().examples.length) examples.prepend(h("span", {}, "Try:"));

  function drawText() {
    const { text, span, asks } = view();
    marked.hidden = !asks || !text;
    // Python counts characters, JavaScript halves of some: Array.from counts as Python does.
    const letters = Array.from(text);
    const cut = (from, to) => letters.slice(from, to).join("");
    if (span) marked.replaceChildren(cut(0, span[0]), h("mark", { "data-testid": "tryout-mark" }, cut(...span)), cut(span[1]));
    else marked.replaceChildren(text);
  }

  function drawBars() {
    const { bars: found, answer } = view();
    bars.replaceChildren(...found.map(({ name, share }, number) => {
      const chosen = answer !== "" && (name === answer || name === `“${answer}”`);
      return h("li", { class: chosen ? "moe-tryout-chosen" : "", "data-testid": `tryout-bar-${number}` },
        h("bdi", { class: "moe-tryout-name", title: name }, name),
        h("span", { class: "moe-tryout-track", "aria-hidden": "true" }, h("span", { class: "moe-tryout-fill", style: `width: ${(100 * share).toFixed(2)}%` })),
        h("span", { class: "moe-tryout-value" }, percent(share)), h("span", { class: "moe-tryout-tick" }, chosen ? "◂ answer" : ""));
    }));
  }

  function drawRoutes() {
    const { layers, routes: tokens, routes_of: which, colours } = view();
    routeTitle.textContent = layers.length ? `Experts chosen by ${which}` : "Routing";
    if (!layers.length) return routes.replaceChildren(h("p", {}, "This model is dense: there is nothing to route."));
    const badge = ([expert, weight]) => h("span", { class: "moe-tryout-badge", title: `expert ${expert}, weight ${weight?.toFixed(2) ?? NO_NUMBER}`,
      style: `background: ${colours[expert].fill}; color: ${colours[expert].text}; border-${colours[expert].side}: 3px ${colours[expert].edge} ${colours[expert].text}` }, String(expert));
    const scroll = routes.scrollLeft;
    routes.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "layer"), ...tokens.map((token) => h("th", { scope: "col" }, h("bdi", {}, token.text.trim() || "␣"))))),
      h("tbody", {}, ...layers.map((layer, place) => h("tr", { "data-testid": `tryout-layer-${layer}` }, h("th", { scope: "row" }, String(layer)),
        ...tokens.map((token) => h("td", {}, ...token.experts[place].map(badge))))))));
    routes.scrollLeft = scroll;
  }

  function update() {
    if (timer !== undefined) return; // the reader is ahead of this answer
    const { text, question: asked, answer, no_answer: none, note, bars: found, asks, problem: wrong } = view();
    if (area.value !== text) area.value = text;
    if (asks && ask.value !== asked) ask.value = asked;
    const shown = found.length > 0;
    problem.textContent = wrong;
    verdict.classList.toggle("moe-tryout-none", none !== "");
    const said = !shown ? `Type a text${asks ? " and a question about it" : ""}${view().examples.length ? ", or press an example" : ""}.` : none || `${asks ? "Answer" : "Label"}: ${answer}`;
    verdict.textContent = note ? `${said} (${note})` : said;
    barSection.hidden = routeSection.hidden = !shown;
    drawText();
    drawBars();
    drawRoutes();
    summary.textContent = shown ? view().summary : "";
  }

  update();
  model.on("change:view", update);
  return () => { clearTimeout(timer); model.off("change:view", update); };
}

export default { render };
