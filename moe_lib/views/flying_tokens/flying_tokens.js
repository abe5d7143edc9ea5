// Draws `view`: devices with their experts, and tokens that fly to them. The page counts for itself how many have flown,
// so that playing does not wait for the kernel; the kernel is told, and writes the words.

const PACE = 700; // milliseconds from one token to the next
const SIDE = 22; // of an expert's square

function render({ model, el }) {
  const id = freshId("moe-flying");
  const view = () => model.get("view");
  let at = view().at; // tokens that have flown, as the page shows it
  let playing = null;
  let known = at; // as the kernel last said
  const told = []; // what the kernel was told and has not answered yet
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  const select = (name, label, send) => {
    const control = h("select", { id: `${id}-${name}`, "data-testid": `flying-${name}`, onchange: () => { stop(); send(control.value); } });
    return { control, field: h("label", { class: "moe-flying-field", for: control.id }, `${label} `, control) };
  };
  const devices = select("devices", "Devices", (value) => model.send({ devices: Number(value) }));
  const limit = select("limit", "A token may use", (value) => model.send({ limit: Number(value) }));
  const copies = select("copies", "Copies of busy experts", (value) => model.send({ copies: Number(value) }));
  const button = (name, words, onclick) => h("button", { type: "button", "data-testid": `flying-${name}`, onclick }, words);
  const play = button("play", "Play", () => (playing ? stop() : start()));
  const step = button("step", "One token", () => { stop(); advance(); tell(); });
  const again = button("again", "From the start", () => { stop(); at = 0; draw(); tell(); });
  const slider = h("input", { type: "range", min: 0, step: 1, "aria-label": "Tokens that have flown", "data-testid": "flying-at",
    oninput: () => { stop(); at = Number(slider.value); draw(); }, onchange: () => tell() });
  const place = h("span", { class: "moe-flying-place", "data-testid": "flying-place" });
  const problem = h("p", { role: "alert" });
  const sky = svg("svg", { class: "moe-flying-sky", "aria-hidden": "true", "data-testid": "flying-sky" });
  const said = h("p", { class: "moe-flying-said", id: `${id}-said` });
  const links = h("div", { class: "moe-flying-links", "data-testid": "flying-links" });
  const summary = h("p", { class: "moe-flying-summary", role: "status", "aria-live": "polite", "data-testid": "flying-summary" });
  const root = h("div", { class: "moe-widget moe-flying", "data-testid": "flying-tokens", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "moe-flying-bar" }, devices.field, limit.field, copies.field),
    h("div", { class: "moe-flying-bar" }, play, step, again, slider, place), problem, sky, said, links, summary);
  keepArrowKeys(root);
  el.append(root);

  function start() {
    if (at >= view().flights.length) at = 0;
    play.textContent = "Pause";
    playing = setInterval(() => { advance(); if (at >= view().flights.length) { stop(); tell(); } }, PACE);
    advance();
  }
  function stop() {
    if (!playing) return;
    clearInterval(playing);
    playing = null;
    play.textContent = "Play";
    tell();
  }
  function tell() {
    if (at === (told.length ? told[told.length - 1] : view().at)) return;
    told.push(at);
    model.send({ at });
  }
  function advance() {
    if (at < view().flights.length) { at += 1; draw(true); }
  }

  /** Where everything is: device -> x of its box, expert -> middle of its square there. */
  function plan() {
    const { held } = view();
    const width = Math.floor(960 / held.length) - 16;
    const columns = Math.max(1, Math.floor((width - 12) / (SIDE + 4)));
    const rows = Math.max(...held.map((experts) => Math.ceil(experts.length / columns)));
    return { width, columns, height: 92 + rows * (SIDE + 4), left: (device) => 8 + device * (width + 16) };
  }

  function expertAt(device, expert, where) {
    const number = view().held[device].indexOf(expert);
    const { columns, left } = where;
    return [left(device) + 8 + (number % columns) * (SIDE + 4) + SIDE / 2, 84 + Math.floor(number / columns) * (SIDE + 4) + SIDE / 2];
  }

  function draw(fly = false) {
    const now = view();
    const where = plan();
    const flight = at ? now.flights[at - 1] : null;
    sky.setAttribute("viewBox", `0 0 960 ${where.height + 10}`);
    const used = new Set(flight ? flight.choices.map(([expert, device]) => `${device}-${expert}`) : []);
    const parts = now.held.map((experts, device) => svg("g", {},
      svg("rect", { class: "moe-flying-device", x: where.left(device), y: 26, width: where.width, height: where.height - 30, rx: 6 }),
      svg("text", { class: "moe-flying-title", x: where.left(device) + 8, y: 18 }, `device ${device}`),
      ...experts.map((expert) => {
        const [x, y] = expertAt(device, expert, where);
        const { fill, text } = now.colours[expert];
        const on = used.has(`${device}-${expert}`);
        return svg("g", { class: on ? "moe-flying-on" : "" },
          svg("rect", { x: x - SIDE / 2, y: y - SIDE / 2, width: SIDE, height: SIDE, rx: 3, fill }),
          svg("text", { class: "moe-flying-number", x, y: y + 4, fill: text }, String(expert)));
      })));
    if (flight) parts.push(...way(flight, now.labels[at - 1], where, fly && !still.matches));
    sky.replaceChildren(...parts);
    slider.max = now.flights.length;
    slider.value = at;
    slider.setAttribute("aria-valuetext", `${at} of ${now.flights.length} tokens`);
    place.textContent = `${at} of ${now.flights.length}`;
    step.disabled = at >= now.flights.length;
    links.replaceChildren(table(now));
  }

  /** The token at home, a line to each of its experts, and a dot that flies along it. */
  function way(flight, label, where, fly) {
    const x = Math.min(where.left(flight.home) + where.width - 10, where.left(flight.home) + 10);
    const y = 48;
    const short = [...label].length > 14 ? `${[...label].slice(0, 13).join("")}…` : label;
    const parts = [];
    for (const [expert, device] of flight.choices) {
      const [ex, ey] = expertAt(device, expert, where);
      const away = device !== flight.home;
      parts.push(svg("path", { class: `moe-flying-way${away ? " moe-flying-away" : ""}`, d: `M${x + 6},${y} C${x + 6},${ey - 60} ${ex},${y - 20} ${ex},${ey - SIDE / 2}` }));
      const dot = svg("circle", { class: "moe-flying-dot", cx: 0, cy: 0, r: 6 });
      dot.style.transform = `translate(${ex}px, ${ey - SIDE / 2 - 4}px)`;
      if (fly) dot.animate([{ transform: `translate(${x + 6}px, ${y}px)` }, { transform: dot.style.transform }], { duration: PACE * 0.7, easing: "ease-in-out" });
      parts.push(dot);
    }
    return [...parts, svg("circle", { class: "moe-flying-dot", cx: x + 6, cy: y, r: 6 }),
      svg("text", { class: "moe-flying-label", x: x + 18, y: y + 4 }, short)];
  }

  /** Rows from device to device, and the work of each. */
  function table(now) {
    const n = now.held.length;
    const sent = Array.from({ length: n }, () => Array(n).fill(0));
    const work = Array(n).fill(0);
    for (const { home, choices, to } of now.flights.slice(0, at)) {
      to.forEach((device) => { sent[home][device] += 1; });
      choices.forEach(([, device]) => { work[device] += 1; });
    }
    const most = Math.max(1, ...sent.flat());
    const hardest = Math.max(1, ...work);
    const cell = (from, to) => {
      if (from === to) return h("td", { class: "moe-flying-own" }, "–");
      const number = sent[from][to];
      return h("td", { class: number === most ? "moe-flying-most" : "", style: `--share: ${((60 * number) / most).toFixed(1)}%` }, String(number));
    };
    const all = sent.flat().reduce((a, b) => a + b, 0);
    said.textContent = `Rows sent from a device (line) to another (column): ${all}, with ${bytes(all * now.row_bytes)}; the busiest link is framed. Right: pairs of token and expert that a device computes.`;
    return h("table", { "aria-describedby": said.id },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "from \\ to"), ...work.map((_, device) => h("th", { scope: "col" }, String(device))), h("th", { scope: "col" }, "computes"))),
      h("tbody", {}, ...sent.map((row, from) => h("tr", {}, h("th", { scope: "row" }, String(from)), ...row.map((_, to) => cell(from, to)),
        h("td", { class: "moe-flying-work" }, h("span", { class: "moe-flying-fill", style: `width: ${((100 * work[from]) / hardest).toFixed(1)}px`, "aria-hidden": "true" }), String(work[from]))))));
  }

  const bytes = (n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : n >= 1e3 ? `${(n / 1e3).toFixed(0)} kB` : `${n} B`);
  const options = (control, values, value) => {
    control.replaceChildren(...values.map(([key, words]) => h("option", { value: key }, words)));
    control.value = value;
  };

  function update() {
    const now = view();
    options(devices.control, now.choices.map((n) => [String(n), String(n)]), String(now.devices));
    options(limit.control, now.limits.map((n) => [String(n), n === now.devices ? "all devices" : n === 1 ? "1 device" : `${n} devices`]), String(now.limit));
    limit.control.disabled = now.limits.length < 2;
    options(copies.control, [["0", "none"], [String(now.devices), `${now.devices} more`]], String(now.copies));
    const answered = told.indexOf(now.at);
    told.splice(0, answered + 1);
    if (answered < 0 && at === known && !playing) at = now.at; // set in code; a reader who is ahead stays there
    known = now.at;
    summary.textContent = now.summary;
    problem.textContent = now.problem;
    draw();
  }

  update();
  model.on("change:view", update);
  return () => { clearInterval(playing); model.off("change:view", update); };
}

export default { render };
