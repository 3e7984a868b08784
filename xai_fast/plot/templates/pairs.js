// Pairs of cells: frames and lines on a card; in the viewer a reader points at a cell and sees its partners.
const PARTNERS = 5; // lines and entries of a cell
const LEAST = 0.0004; // shares below are not drawn
const stage = find("#stage");
const drawing = find("#drawing");
const grid = find("#cells");
let colors; // of the index
let view = null; // the pairs of the item in the viewer, or null
let roving = 0; // the cell that is the grid's tab stop
const nothingAsked = () => ({ hovered: null, listed: null, pinned: null, focused: null, chosen: null });
let asked = nothingAsked(); // cells: hovered, pinned, focused; positions in the list: listed (pointed at), chosen

const signed = (value) => {
  const size = Math.abs(value);
  const digits = size > 0 && size < 0.001 ? size.toExponential(1) : size.toPrecision(2);
  return `${value < 0 ? "\u2212" : "+"}${digits.replace("-", "\u2212")}`;
};
const place = (cell) => [Math.floor(cell / view.columns.length), cell % view.columns.length];
const named = (cell) => `row ${place(cell)[0]}, column ${place(cell)[1]}`;
const short = (cell) => `(${place(cell).join(", ")})`;
const heat = (share) => colors.heat[Math.round(Math.sqrt(clamp(share, 0, 1)) * (colors.heat.length - 1))];
const pairColor = (rank) => colors.pairs[rank % colors.pairs.length];
const sums = (i, j) => {
  if (!view.signed) return "";
  const both = [view.sum(i, j), view.sum(j, i)].map((value) => view.scale * value);
  return view.directed ? `S = ${both.map(signed).join(", ")}` : `I = ${signed(both[0] + both[1])}`; // once, at one of the two
};

// ---- numbers: see _pairs in xai_fast/plot/drawing.py
function readPairs(data) {
  const numbers = new DataView(bytes(data.values).buffer);
  const n = data.rows.length * data.columns.length;
  const at = (i) => (data.signed ? numbers.getInt16(2 * i, true) / 32767 : numbers.getUint16(2 * i, true) / 65535);
  const sum = (i, j) => at(i * n + j);
  // Relative to the square of the scale; mutual, so each pair counts once whoever carries x.
  const between = (i, j) => {
    if (i === j || data.order === 1) return 0;
    return data.signed ? sum(i, j) ** 2 + sum(j, i) ** 2 : sum(i, j) ** 2;
  };
  let strongest = 0;
  for (let i = 0; i < n; i++) {
    if (data.order === 1) strongest = Math.max(strongest, at(i) ** 2);
    for (let j = 0; j < i; j++) strongest = Math.max(strongest, between(i, j));
  }
  const partners = (cell) => {
    const all = [];
    for (let other = 0; other < n; other++) all.push({ cell: other, share: strongest ? between(cell, other) / strongest : 0 });
    return all.filter((one) => one.share > 0).sort((a, b) => b.share - a.share || a.cell - b.cell);
  };
  const own = (cell) => (strongest ? at(cell) ** 2 / strongest : 0);
  return { ...data, n, sum, partners, own };
}

// ---- on a card, in shares of the picture
function smallPairs(data) {
  const width = data.columns.length;
  const side = (cell) => [data.columns[cell % width], data.rows[Math.floor(cell / width)]];
  const middle = (cell) => side(cell).map(([low, high]) => (low + high) / 2);
  const shapes = data.top.map(({ cells, share }, rank) => {
    const d = cells.flatMap((cell, i) => {
      const [[x0, x1], [y0, y1]] = side(cell);
      const lines = cells.slice(i + 1).map((other) => `M${middle(cell)}L${middle(other)}`);
      return [...lines, `M${x0} ${y0}H${x1}V${y1}H${x0}Z`];
    }).join("");
    const wide = 1.25 + 1.75 * share;
    return draw("g", {}, draw("path", { d, class: "edge", "stroke-width": wide + 2 }), draw("path", { d, stroke: pairColor(rank), "stroke-width": wide }));
  });
  return draw("svg", { class: "drawing", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, ...shapes.reverse());
}

// ---- in the viewer, in CSS pixels of the stage
const add = (tag, attributes, ...children) => drawing.appendChild(draw(tag, attributes, ...children));

function box(cell) {
  const [row, column] = place(cell);
  const { clientWidth: width, clientHeight: height } = stage;
  const [y0, y1] = view.rows[row].map((value) => value * height);
  const [x0, x1] = view.columns[column].map((value) => value * width);
  return { x: x0, y: y0, width: x1 - x0, height: y1 - y0, cx: (x0 + x1) / 2, cy: (y0 + y1) / 2 };
}

function drawFrame(cell, color, width, inset = 0) {
  const { x, y, width: w, height: h } = box(cell);
  const by = Math.min(inset + width / 2, w * 0.4, h * 0.4);
  const frame = { x: x + by, y: y + by, width: Math.max(0, w - 2 * by), height: Math.max(0, h - 2 * by), rx: 2 };
  add("rect", { ...frame, class: "edge", "stroke-width": width + 2 });
  add("rect", { ...frame, stroke: color, "stroke-width": width });
}

function drawLine(one, other, color, width) {
  const [a, b] = [box(one), box(other)];
  const [dx, dy] = [b.cx - a.cx, b.cy - a.cy];
  // Where the line from a cell's middle leaves the cell.
  const reach = ({ width: w, height: h }) => Math.min(1, dx ? w / 2 / Math.abs(dx) : 1, dy ? h / 2 / Math.abs(dy) : 1);
  const ends = { x1: a.cx + reach(a) * dx, y1: a.cy + reach(a) * dy, x2: b.cx - reach(b) * dx, y2: b.cy - reach(b) * dy };
  add("line", { ...ends, class: "edge", "stroke-width": width + 2 });
  add("line", { ...ends, stroke: color, "stroke-width": width });
  return { x: (ends.x1 + ends.x2) / 2, y: (ends.y1 + ends.y2) / 2 };
}

function drawSets(positions) {
  const uses = new Map();
  const insets = positions.map((position) => view.top[position].cells.map((cell) => {
    uses.set(cell, (uses.get(cell) ?? -1) + 1);
    return 4 * uses.get(cell);
  }));
  const middles = [];
  for (let k = positions.length - 1; k >= 0; k--) { // the strongest last, so that it lies above the others
    const { cells, share } = view.top[positions[k]];
    const color = pairColor(positions[k]);
    const lines = cells.flatMap((one, i) => cells.slice(i + 1).map((other) => drawLine(one, other, color, 1.5 + 2 * share)));
    cells.forEach((cell, i) => drawFrame(cell, color, 2, insets[k][i]));
    const { cx, cy } = box(cells[0]);
    middles[k] = lines[0] ?? { x: cx, y: cy };
  }
  const taken = [];
  middles.forEach((middle, k) => {
    const free = (p) => taken.every((q) => Math.hypot(p.x - q.x, p.y - q.y) >= 19);
    const moves = [[0, 0], [0, -20], [0, 20], [20, 0], [-20, 0], [20, -20], [-20, 20]];
    const at = moves.map(([dx, dy]) => ({ x: middle.x + dx, y: middle.y + dy })).find(free) ?? middle;
    const [x, y] = [clamp(at.x, 11, stage.clientWidth - 11), clamp(at.y, 11, stage.clientHeight - 11)];
    taken.push({ x, y });
    add("circle", { cx: x, cy: y, r: 9, fill: pairColor(positions[k]), class: "badge" });
    add("text", { x, y, class: "badge-text" }, String(positions[k] + 1));
  });
}

function shade(cell, share) {
  const { x, y, width, height } = box(cell);
  add("rect", { x, y, width, height, fill: heat(share), "fill-opacity": 0.04 + 0.84 * Math.sqrt(share), class: "shade" });
}

function drawCell(cell) {
  const partners = view.partners(cell).filter((one) => one.share >= LEAST);
  for (const one of partners) shade(one.cell, one.share);
  drawGrid();
  const strongest = partners.slice(0, PARTNERS).reverse();
  for (const one of strongest) drawLine(cell, one.cell, "#fff", 1 + 3 * Math.sqrt(one.share));
  for (const one of strongest) {
    drawFrame(one.cell, "#fff", 1.5);
    const { cx, cy, y, height } = box(one.cell);
    // Small cells would be hidden by their number.
    add("text", { x: clamp(cx, 28, stage.clientWidth - 28), y: height >= 24 ? cy : Math.max(8, y - 8), class: "share" }, percent(one.share));
  }
  drawFrame(cell, colors.pairs[1], 3);
}

function drawGrid() {
  if (!find("#grid-lines").checked) return;
  const { clientWidth: width, clientHeight: height } = stage;
  for (const y of new Set(view.rows.flat())) add("line", { x1: 0, x2: width, y1: y * height, y2: y * height, class: "line" });
  for (const x of new Set(view.columns.flat())) add("line", { x1: x * width, x2: x * width, y1: 0, y2: height, class: "line" });
}

// ---- what is asked about, and the answer
function subject() {
  const { hovered, listed, pinned, focused, chosen } = asked;
  if (hovered !== null) return { cell: hovered };
  if (listed !== null) return { set: listed };
  if (pinned !== null) return { cell: pinned };
  if (focused !== null) return { cell: focused };
  return chosen === null ? {} : { set: chosen };
}

function drawPairs() {
  drawing.replaceChildren();
  if (!view) return;
  const { cell, set } = subject();
  drawing.setAttribute("viewBox", `0 0 ${stage.clientWidth} ${stage.clientHeight}`);
  stage.classList.toggle("asked", cell !== undefined || view.order === 1);
  if (view.order === 1) for (let i = 0; i < view.n; i++) if (view.own(i) >= LEAST) shade(i, view.own(i));
  if (cell !== undefined && view.order > 1) {
    drawCell(cell);
  } else {
    drawGrid();
    drawSets(set === undefined ? view.top.map((_, position) => position) : [set]);
  }
  tellPartners(cell);
  findAll("#top button").forEach((button, position) => button.setAttribute("aria-pressed", String(asked.chosen === position)));
}

function strengthEntry(swatch, who, small, share) {
  const label = make("span", { class: "who" }, who, small ? make("small", {}, small) : null);
  return [swatch, label, bar(share), make("span", { class: "amount" }, percent(share))];
}

function tellPartners(cell) {
  find("#partners-part").hidden = view.order === 1;
  const title = find("#partners-title");
  const note = find("#partners-note");
  const partners = cell === undefined ? [] : view.partners(cell).slice(0, PARTNERS);
  title.textContent = cell === undefined ? "Partners of a cell" : `Partners of ${named(cell)}`;
  if (cell === undefined) note.textContent = "Point at a cell of the picture, or choose one with the keyboard.";
  else note.textContent = partners.length ? `${asked.pinned === cell ? "Pinned. " : ""}Shares of the strongest interaction in the picture.` : "It acts with no other cell.";
  find("#partners").replaceChildren(...partners.map((one) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = heat(one.share);
    return make("li", {}, ...strengthEntry(swatch, `with ${short(one.cell)}`, sums(cell, one.cell), one.share));
  }));
}

function listSets() {
  const names = ["", "Strongest cells", "Strongest pairs", "Strongest triples", "Strongest sets of four"];
  find("#top-title").textContent = view.top.length ? names[view.order] ?? "Strongest sets" : "No cells act together here";
  const meaning = view.directed ? " S is the signed sum, with x at the first cell and at the second." : " I is the interaction with its sign.";
  const signs = view.signed ? meaning : "";
  find("#top-note").textContent = view.top.length ? `Shares of the strongest. Cells are (row, column) from 0.${signs}` : "";
  find("#top").replaceChildren(...view.top.map((one, position) => {
    const swatch = make("span", { class: "rank" }, String(position + 1));
    swatch.style.background = pairColor(position);
    const pair = one.cells.length === 2 ? sums(...one.cells) : "";
    const button = make("button", { type: "button" }, ...strengthEntry(swatch, one.cells.map(short).join(" \u2194 "), pair, one.share));
    button.addEventListener("click", () => {
      asked = { ...nothingAsked(), listed: asked.listed, chosen: asked.chosen === position ? null : position };
      drawPairs();
      find("#status").textContent = asked.chosen === null ? "All are shown." : `${one.cells.map(named).join(" with ")}, ${percent(one.share)}.`;
    });
    button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") { asked.listed = position; drawPairs(); } });
    button.addEventListener("pointerleave", () => { asked.listed = null; drawPairs(); });
    return make("li", {}, button);
  }));
}

function showPairs(data) {
  const inGrid = grid.contains(document.activeElement);
  view = data && readPairs(data);
  asked = nothingAsked();
  for (const id of ["#pairs", "#cells", "#cell-keys"]) find(id).hidden = !view;
  stage.classList.remove("asked");
  if (!view) return drawPairs();
  roving = view.top.length ? view.top[0].cells[0] : 0;
  find("#status").textContent = "";
  listSets();
  buildCells();
  drawPairs();
  if (inGrid) focusCell(roving);
}

// ---- cells: one of them is a tab stop, the arrow keys move it
function buildCells() {
  grid.replaceChildren(...view.rows.map(([y0, y1], row) => make("div", { role: "row" }, ...view.columns.map(([x0, x1], column) => {
    const index = row * view.columns.length + column;
    const cell = make("div", { role: "gridcell", "aria-label": `row ${row}, column ${column}`, tabindex: index === roving ? 0 : -1 });
    Object.assign(cell.style, { left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%` });
    return cell;
  }))));
}

const cellElement = (cell) => grid.children[place(cell)[0]].children[place(cell)[1]];

function makeRoving(cell) {
  cellElement(roving).tabIndex = -1;
  roving = cell;
  cellElement(cell).tabIndex = 0;
}

function describe(cell) {
  if (view.order === 1) return `${named(cell)}: ${percent(view.own(cell))} of the strongest`;
  const partners = view.partners(cell).slice(0, 3).map((one) => `${named(one.cell)}, ${percent(one.share)}`);
  return `${named(cell)}: ${partners.length ? `acts with ${partners.join("; ")}` : "acts with no other cell"}`;
}

function focusCell(cell) {
  makeRoving(cell);
  cellElement(cell).setAttribute("aria-label", describe(cell));
  cellElement(cell).focus({ preventScroll: true });
}

grid.addEventListener("focusin", (event) => {
  const row = [...grid.children].indexOf(event.target.parentElement);
  asked.focused = row * view.columns.length + [...event.target.parentElement.children].indexOf(event.target);
  event.target.setAttribute("aria-label", describe(asked.focused));
  drawPairs();
});
grid.addEventListener("focusout", () => { asked.focused = null; drawPairs(); });

function pin(cell) {
  asked.chosen = null;
  asked.pinned = asked.pinned === cell ? null : cell;
  makeRoving(cell);
  find("#status").textContent = asked.pinned === null ? "Not pinned." : `Pinned ${describe(cell)}.`;
  drawPairs();
}

grid.addEventListener("keydown", (event) => {
  if (!plainKey(event)) return;
  const [row, column] = place(roving);
  const to = (r, c) => clamp(r, 0, view.rows.length - 1) * view.columns.length + clamp(c, 0, view.columns.length - 1);
  const moves = {
    ArrowLeft: to(row, column - 1), ArrowRight: to(row, column + 1), ArrowUp: to(row - 1, column), ArrowDown: to(row + 1, column),
    Home: to(row, 0), End: to(row, Infinity),
  };
  if (event.key in moves) {
    asked.pinned = null;
    asked.hovered = null;
    focusCell(moves[event.key]);
  } else if (event.key === "Enter" || event.key === " ") {
    pin(roving);
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation(); // else the viewer would go to another item
});

// ---- pointer: the cell under it, or the nearest one where a layer's cells leave a margin
function cellAt(event) {
  const area = stage.getBoundingClientRect();
  const nearest = (intervals, value) => {
    const distance = ([low, high]) => Math.max(low - value, value - high, 0) + (low === high ? 1 : 0);
    return intervals.reduce((best, interval, i) => (distance(interval) < distance(intervals[best]) ? i : best), 0);
  };
  const row = nearest(view.rows, (event.clientY - area.top) / area.height);
  return row * view.columns.length + nearest(view.columns, (event.clientX - area.left) / area.width);
}

stage.addEventListener("pointermove", (event) => {
  if (!view || event.pointerType === "touch" || cellAt(event) === asked.hovered) return;
  asked.hovered = cellAt(event);
  drawPairs();
});
stage.addEventListener("pointerleave", () => { asked.hovered = null; drawPairs(); });
stage.addEventListener("click", (event) => { if (view) pin(cellAt(event)); });
find("#grid-lines").addEventListener("change", drawPairs);
new ResizeObserver(drawPairs).observe(stage);
