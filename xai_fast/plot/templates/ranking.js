// A ranking: tabs by order, sets with their subsets, a network each, the matrix of pairs, and the fit of the network.
const status = find("#status");
const state = { feature: null, chosen: null };
const same = (a, b) => a.length === b.length && a.every((one, i) => one === b[i]);
let data; // see _data in xai_fast/plot/ranking_page.py
let tabs = [];
let panels = [];
let rows = []; // { element, members, panel }
let lines = []; // of the networks: { element, members }
let nodes = []; // of the networks: { element, feature }
let cells = []; // of the matrix, row by row
let pairAt = new Map();
let roving = [0, 0];

const joined = (members) => members.map((i) => data.names[i]).join(" \u00d7 ");

// ---- the lists
function listed(one, panel, rank) {
  const id = `set-${panel}-${rank}`;
  const [low, high] = [clamp(Math.abs(one.share) - one.spread, 0, 1), clamp(Math.abs(one.share) + one.spread, 0, 1)];
  const strength = draw("svg", { class: `strength${one.share < 0 ? " negative" : ""}`, viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "track", width: 100, height: 10 }), draw("rect", { class: "fill", width: 100 * Math.abs(one.share), height: 10 }),
    draw("rect", { class: "spread", x: 100 * low, y: 4, width: 100 * (high - low), height: 2 }));
  const names = one.features.flatMap((i, k) => [...(k ? [make("span", { class: "times" }, " \u00d7 ")] : []), bdi(data.names[i])]);
  const button = make("button", { type: "button", "aria-expanded": "false", "aria-controls": id },
    make("span", { class: "rank" }, String(rank)), make("span", { class: "names" }, ...names), strength, make("span", { class: "amount" }, one.effect));
  const support = one.support.map(([name, effect]) => make("li", {}, make("span", {}, bdi(name)), make("span", {}, effect)));
  const detail = make("div", { class: "detail", id, hidden: "" }, make("p", {}, one.about),
    ...(support.length ? [make("p", {}, "Its subsets alone:"), make("ol", { class: "support" }, ...support)] : []));
  const element = make("li", { class: `set order-${one.features.length}` }, button, detail);
  button.addEventListener("click", () => choose(one.features));
  rows.push({ element, members: one.features, panel });
  return element;
}

// ---- the network: features on a circle, sets between them
function network(placed) {
  const flat = placed.nodes.length <= 12; // with more names than this, they are written outwards, where they cannot meet
  const at = new Map(placed.nodes.map(([feature, , x, y]) => [feature, [100 * x, -100 * y]]));
  const drawn = placed.lines.map(([members, share, x, y]) => {
    const [cx, cy] = [100 * x, -100 * y];
    const ends = members.map((i) => at.get(i));
    const d = members.length === 2 ? `M${ends[0]}Q${cx} ${cy} ${ends[1]}` : ends.map((end) => `M${end}L${cx} ${cy}`).join("");
    const star = members.length > 2 ? draw("circle", { cx, cy, r: 1.8 + 2.4 * share }) : null;
    const element = draw("g", { class: `line order-${members.length}`, opacity: 0.3 + 0.7 * share },
      draw("title", {}, joined(members)), draw("path", { d, "stroke-width": 0.8 + 4.2 * share }), star);
    lines.push({ element, members });
    return element;
  });
  const named = placed.nodes.map(([feature, short, px, py]) => {
    const [x, y] = at.get(feature);
    const left = px < -1e-6;
    const turned = `translate(${1.07 * x} ${1.07 * y}) rotate(${(Math.atan2(y, x) * 180) / Math.PI + (left ? 180 : 0)})`;
    const place = flat ? { x: 1.09 * x, y: 1.12 * y, "text-anchor": Math.abs(px) < 0.15 ? "middle" : left ? "end" : "start" } : { transform: turned, "text-anchor": left ? "end" : "start" };
    const element = draw("g", { class: "node", role: "button", tabindex: 0, "aria-pressed": "false", "aria-label": data.names[feature] },
      draw("title", {}, data.names[feature]), draw("circle", { cx: x, cy: y, r: 5 }), draw("text", place, short));
    const toggle = () => filter(state.feature === feature ? null : feature);
    element.addEventListener("click", toggle);
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      toggle();
      event.preventDefault();
    });
    nodes.push({ element, feature });
    return element;
  });
  const high = flat ? 130 : 200;
  const keys = placed.orders.map(([order, name]) => make("span", { class: `key order order-${order}` }, name));
  return make("figure", { class: "network" },
    draw("svg", { viewBox: `-200 ${-high} 400 ${2 * high}`, role: "group", "aria-label": "Network of interactions" }, ...drawn.reverse(), ...named),
    make("figcaption", {}, ...keys, placed.caption));
}

function panel(one, position) {
  const tab = make("button", { type: "button", role: "tab", id: `tab-${one.order}`, "aria-controls": `panel-${one.order}` }, one.title);
  tab.addEventListener("click", () => select(position));
  tab.addEventListener("keydown", (event) => {
    const last = tabs.length - 1;
    const to = { ArrowRight: position === last ? 0 : position + 1, ArrowLeft: position ? position - 1 : last, Home: 0, End: last }[event.key];
    if (to === undefined || !plainKey(event)) return;
    select(to, true);
    event.preventDefault();
  });
  tabs.push(tab);
  const sets = one.sets.map((set, i) => listed(set, one.order, i + 1));
  const list = make("div", { class: "listed" }, make("h2", {}, one.title), make("p", { class: "note" }, one.note), make("ol", { class: "sets" }, ...sets),
    make("p", { class: "nothing", hidden: "" }, sets.length ? "None of the sets listed here has this feature." : "No interaction."));
  const element = make("section", { class: "panel", id: `panel-${one.order}`, role: "tabpanel", "aria-labelledby": tab.id }, list, one.network && network(one.network));
  panels.push({ element, order: one.order });
  return element;
}

// ---- what is emphasised: the sets with a feature, or the one that was chosen
function update() {
  const has = (members) => state.feature === null || members.includes(state.feature);
  for (const { element, members } of rows) {
    const opened = state.chosen !== null && same(members, state.chosen);
    element.hidden = !has(members);
    find("button", element).setAttribute("aria-expanded", String(opened));
    find(".detail", element).hidden = !opened;
  }
  for (const { element, members } of lines) element.classList.toggle("dimmed", state.chosen ? !same(members, state.chosen) : !has(members));
  for (const { element, feature } of nodes) {
    element.setAttribute("aria-pressed", String(feature === state.feature));
    element.classList.toggle("dimmed", state.chosen ? !state.chosen.includes(feature) : false);
  }
  for (const { element } of panels) find(".nothing", element).hidden = findAll(".set", element).some((row) => !row.hidden);
  const chosen = (state.chosen ?? []).map((i) => data.matrix?.features.indexOf(i) ?? -1);
  cells.forEach((row, a) => row.forEach((cell, b) => cell.classList.toggle("chosen", chosen.length === 2 && a !== b && chosen.includes(a) && chosen.includes(b))));
}

function select(position, focus) {
  tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", String(i === position));
    tab.tabIndex = i === position ? 0 : -1;
    panels[i].element.hidden = i !== position;
  });
  if (focus) tabs[position].focus();
  state.chosen = null;
  update();
}

function choose(members) {
  state.chosen = state.chosen && same(state.chosen, members) ? null : members;
  update();
}

function filter(feature) {
  Object.assign(state, { feature, chosen: null });
  find("#feature").value = feature === null ? "" : String(feature);
  update();
  status.textContent = feature === null ? "All features." : `Only sets with ${data.names[feature]}.`;
}

find("#feature").addEventListener("change", () => filter(find("#feature").value === "" ? null : Number(find("#feature").value)));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && data) filter(null); });

// ---- the matrix: one cell is a tab stop, the arrow keys move it
const silent = find("#readout").textContent;

function describe([a, b]) {
  const [first, second] = [a, b].map((i) => data.names[data.matrix.features[i]]);
  if (a === b) return `${first}: a feature with itself`;
  const [, , effect, rank] = pairAt.get(a < b ? `${a} ${b}` : `${b} ${a}`);
  return `${first} \u00d7 ${second}: ${rank ? `${effect}, rank ${rank} of ${data.matrix.total}` : "not looked at, or too weak to be kept"}`;
}

function read(place) {
  find("#readout").textContent = place ? describe(place) : silent;
  findAll("#matrix [role=rowheader]").forEach((head, a) => head.classList.toggle("on", place !== null && place[0] === a));
  findAll("#matrix [role=columnheader]").forEach((head, b) => head.classList.toggle("on", place !== null && place[1] === b));
}

function showPair([a, b]) {
  const wanted = [a, b].map((i) => data.matrix.features[i]).sort((x, y) => x - y);
  if (a === b || !rows.some((row) => row.panel === 2 && same(row.members, wanted))) return;
  select(panels.findIndex((one) => one.order === 2));
  filter(null);
  choose(wanted);
  status.textContent = `Chosen: ${describe([a, b])}.`;
}

function moveTo(to) {
  cells[roving[0]][roving[1]].tabIndex = -1;
  roving = to;
  cells[to[0]][to[1]].tabIndex = 0;
  cells[to[0]][to[1]].focus();
}

function buildMatrix({ features, pairs, colors, ends, note }) {
  const count = features.length;
  pairAt = new Map(pairs.map((pair) => [`${pair[0]} ${pair[1]}`, pair]));
  const head = (role, i) => make("div", { role, title: data.names[features[i]] }, bdi(data.names[features[i]]));
  cells = features.map((_, a) => features.map((__, b) => {
    const shade = a === b ? null : pairAt.get(`${Math.min(a, b)} ${Math.max(a, b)}`)[4];
    const cell = make("div", { role: "gridcell", class: shade === null ? "none" : "", tabindex: -1 });
    if (shade !== null) cell.style.background = colors[shade];
    cell.addEventListener("focus", () => {
      cell.setAttribute("aria-label", describe([a, b]));
      roving = [a, b];
      read(roving);
    });
    cell.addEventListener("blur", () => read(null));
    cell.addEventListener("pointerenter", () => read([a, b]));
    cell.addEventListener("click", () => showPair([a, b]));
    return cell;
  }));
  const matrix = find("#matrix");
  matrix.style.gridTemplateColumns = `max-content repeat(${count}, minmax(.8rem, ${count <= 14 ? "2.4rem" : "1.6rem"}))`;
  matrix.append(...cells.map((row, a) => make("div", { role: "row" }, head("rowheader", a), ...row)),
    make("div", { role: "row" }, make("div", { class: "corner" }), ...features.map((_, b) => head("columnheader", b))));
  matrix.addEventListener("pointerleave", () => read(null));
  matrix.addEventListener("keydown", (event) => {
    const [a, b] = roving;
    const to = (i) => clamp(i, 0, count - 1);
    const steps = { ArrowLeft: [a, to(b - 1)], ArrowRight: [a, to(b + 1)], ArrowUp: [to(a - 1), b], ArrowDown: [to(a + 1), b], Home: [a, 0], End: [a, count - 1] };
    if (!plainKey(event)) return;
    if (event.key in steps) moveTo(steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") showPair(roving);
    else return;
    event.preventDefault();
  });
  find(".scale").setAttribute("aria-label", ends);
  find(".scale").style.background = `linear-gradient(90deg, ${colors.join(", ")})`;
  find("#matrix-note").textContent = `from ${ends}.${note}`;
  find("#pairs").hidden = false;
  roving = [0, Math.min(1, count - 1)];
  cells[roving[0]][roving[1]].tabIndex = 0;
}

// ---- the fit: losses epoch by epoch, in steps of ten
function buildFit({ verdict, good, training_losses: training, validation_losses: validation, best_epoch: best }) {
  const part = find("#fit");
  part.hidden = false;
  part.append(make("h2", {}, "Does the network fit?"), make("p", { class: good ? "verdict" : "verdict poor" }, verdict));
  if (validation.length < 2) return;
  const positive = [...training, ...validation].filter((value) => value > 0);
  const smallest = Math.max(positive.reduce((a, b) => Math.min(a, b), 1), 1e-9);
  const logs = (losses) => losses.map((value) => Math.log10(Math.max(value, smallest)));
  const all = [...logs(training), ...logs(validation)];
  const low = Math.floor(all.reduce((a, b) => Math.min(a, b)));
  const high = Math.max(Math.ceil(all.reduce((a, b) => Math.max(a, b))), low + 1);
  const x = (epoch) => 30 + (280 * epoch) / (validation.length - 1);
  const y = (value) => 8 + (104 * (high - value)) / (high - low);
  const curve = (kind, losses) => draw("polyline", { class: kind, points: logs(losses).map((value, i) => `${x(i)},${y(value)}`).join(" ") });
  const marks = Array.from({ length: high - low + 1 }, (_, i) => low + i).flatMap((power) => [
    draw("line", { x1: 30, x2: 310, y1: y(power), y2: y(power) }), draw("text", { x: 25, y: y(power) + 3 }, String(Number(`1e${power}`)))]);
  const ends = [[30, 1], [310, validation.length]].map(([at, epoch]) => draw("text", { class: "epoch", x: at, y: 126 }, String(epoch)));
  part.append(make("figure", { class: "training" },
    draw("svg", { viewBox: "0 0 320 130", role: "img", "aria-label": "Losses of the training, epoch by epoch" }, draw("g", { class: "grid" }, ...marks, ...ends),
      curve("trained", training), curve("held", validation), draw("circle", { cx: x(best), cy: y(logs(validation)[best]), r: 3.2 })),
    make("figcaption", {}, make("span", { class: "key" }, "Loss on the rows trained on"), " ", make("span", { class: "key held" }, "on those held back"), "; the dot is the epoch that was kept.")));
}

load("index").then((content) => {
  data = content;
  find("#sets").append(...data.panels.map(panel));
  find("[role=tablist]").append(...tabs);
  const features = [...new Set(rows.flatMap((row) => row.members))].sort((a, b) => data.names[a].localeCompare(data.names[b]));
  find("#feature").append(...features.map((i) => make("option", { value: i }, data.names[i])));
  if (data.matrix) buildMatrix(data.matrix);
  if (data.fit) buildFit(data.fit);
  find("#choose").hidden = false;
  if (tabs.length) select(0);
  document.body.dataset.loaded = "";
}).catch(sayFault);
