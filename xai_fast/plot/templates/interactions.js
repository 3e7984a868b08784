"use strict";
(() => {
  const PARTNERS = 5; // lines and entries of a cell
  const find = (selector, root = document) => root.querySelector(selector);
  const main = find("#main");
  const explorer = find("#explorer");
  const stage = find("#stage");
  const drawing = find("#drawing");
  const grid = find("#cells");
  const cards = [...document.querySelectorAll(".card")];
  if (!cards.length) return;
  const colors = JSON.parse(main.dataset.colors);
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  let current = -1;
  let view = null; // what is known about the current picture
  let roving = 0; // the cell that is the grid's tab stop
  const nothing = () => ({ hovered: null, listed: null, pinned: null, focused: null, chosen: null });
  let asked = nothing(); // cells: hovered, pinned, focused; positions in the list: listed (pointed at), chosen

  const place = (cell) => [Math.floor(cell / view.columns.length), cell % view.columns.length];
  const named = (cell) => `row ${place(cell)[0]}, column ${place(cell)[1]}`;
  const short = (cell) => `(${place(cell).join(", ")})`;
  const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1\u202f%" : `${share < 0.0995 ? (100 * share).toFixed(1) : Math.round(100 * share)}\u202f%`);
  const signed = (value) => {
    const size = Math.abs(value);
    const digits = size > 0 && size < 0.001 ? size.toExponential(1) : size.toPrecision(2);
    return `${value < 0 ? "\u2212" : "+"}${digits.replace("-", "\u2212")}`;
  };
  const heat = (share) => colors.heat[Math.round(Math.min(1, Math.sqrt(share)) * (colors.heat.length - 1))];
  const sums = (i, j) => (view.kind === "sums" ? `S = ${signed(view.scale * view.sum(i, j))}, ${signed(view.scale * view.sum(j, i))}` : "");

  // ---- drawing, in CSS pixels of the stage
  function make(tag, attributes, parent = drawing) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    parent.append(element);
    return element;
  }

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
    make("rect", { ...frame, class: "edge", "stroke-width": width + 2 });
    make("rect", { ...frame, stroke: color, "stroke-width": width });
  }

  // Where the line from a cell's middle towards a point leaves the cell.
  function edge(from, to) {
    const [dx, dy] = [to.cx - from.cx, to.cy - from.cy];
    const reach = Math.min(1, dx ? from.width / 2 / Math.abs(dx) : 1, dy ? from.height / 2 / Math.abs(dy) : 1);
    return [from.cx + reach * dx, from.cy + reach * dy];
  }

  function drawLine(one, other, color, width) {
    const [a, b] = [box(one), box(other)];
    const [x1, y1] = edge(a, b);
    const [x2, y2] = edge(b, a);
    make("line", { x1, y1, x2, y2, class: "edge", "stroke-width": width + 2 });
    make("line", { x1, y1, x2, y2, stroke: color, "stroke-width": width });
    return { x: (x1 + x2) / 2, y: (y1 + y2) / 2 };
  }

  function drawBadge(where, rank, color) {
    const x = Math.max(11, Math.min(where.x, stage.clientWidth - 11));
    const y = Math.max(11, Math.min(where.y, stage.clientHeight - 11));
    make("circle", { cx: x, cy: y, r: 9, fill: color, class: "badge" });
    make("text", { x, y, class: "badge-text" }).textContent = String(rank + 1);
    return { x, y };
  }

  function drawSets(positions) {
    const uses = new Map();
    const insets = positions.map((position) => view.top[position].cells.map((cell) => {
      const before = uses.get(cell) ?? 0;
      uses.set(cell, before + 1);
      return 4 * before;
    }));
    const middles = [];
    for (let k = positions.length - 1; k >= 0; k--) {
      const { cells, share } = view.top[positions[k]];
      const color = colors.pairs[positions[k] % colors.pairs.length];
      const width = 1.5 + 2 * share;
      const lines = cells.flatMap((one, i) => cells.slice(i + 1).map((other) => drawLine(one, other, color, width)));
      cells.forEach((cell, i) => drawFrame(cell, color, 2, insets[k][i]));
      const { cx, cy } = box(cells[0]);
      middles[k] = lines[0] ?? { x: cx, y: cy };
    }
    const taken = [];
    middles.forEach((middle, k) => {
      const free = (p) => taken.every((q) => Math.hypot(p.x - q.x, p.y - q.y) >= 19);
      const moves = [[0, 0], [0, -20], [0, 20], [20, 0], [-20, 0], [20, -20], [-20, 20]];
      const at = moves.map(([dx, dy]) => ({ x: middle.x + dx, y: middle.y + dy })).find(free) ?? middle;
      taken.push(drawBadge(at, positions[k], colors.pairs[positions[k] % colors.pairs.length]));
    });
  }

  function shade(cell, share) {
    const { x, y, width, height } = box(cell);
    make("rect", { x, y, width, height, fill: heat(share), "fill-opacity": 0.04 + 0.84 * Math.sqrt(share), class: "shade" });
  }

  function drawCell(cell) {
    const partners = view.partners(cell);
    for (const one of partners) if (one.share >= 0.0004) shade(one.cell, one.share);
    drawGrid();
    const strongest = partners.slice(0, PARTNERS).filter((one) => one.share >= 0.0004);
    for (const one of [...strongest].reverse()) drawLine(cell, one.cell, "#fff", 1 + 3 * Math.sqrt(one.share));
    for (const one of [...strongest].reverse()) {
      drawFrame(one.cell, "#fff", 1.5);
      const { cx, cy, y, height } = box(one.cell);
      // Small cells would be hidden by their number.
      const above = Math.max(8, y - 8);
      make("text", { x: Math.max(28, Math.min(cx, stage.clientWidth - 28)), y: height >= 24 ? cy : above, class: "share" }).textContent = percent(one.share);
    }
    drawFrame(cell, colors.pairs[1], 3);
  }

  function drawGrid() {
    if (!find("#grid-lines").checked) return;
    const { clientWidth: width, clientHeight: height } = stage;
    const sides = (intervals) => new Set(intervals.flat());
    for (const y of sides(view.rows)) make("line", { x1: 0, x2: width, y1: y * height, y2: y * height, class: "line" });
    for (const x of sides(view.columns)) make("line", { x1: x * width, x2: x * width, y1: 0, y2: height, class: "line" });
  }

  // ---- what is asked about, and the answer
  function subject() {
    const { hovered, listed, pinned, focused, chosen } = asked;
    if (hovered !== null) return { cell: hovered };
    if (listed !== null) return { set: listed };
    if (focused !== null && pinned === null) return { cell: focused };
    if (pinned !== null) return { cell: pinned };
    return chosen === null ? {} : { set: chosen };
  }

  function draw() {
    const { cell, set } = subject();
    drawing.replaceChildren();
    drawing.setAttribute("viewBox", `0 0 ${stage.clientWidth} ${stage.clientHeight}`);
    stage.classList.toggle("asked", cell !== undefined || view.order === 1);
    if (view.order === 1) for (let i = 0; i < view.n; i++) if (view.own(i) >= 0.0004) shade(i, view.own(i));
    if (cell !== undefined) {
      drawCell(cell);
    } else {
      drawGrid();
      drawSets(set === undefined ? view.top.map((_, position) => position) : [set]);
    }
    tell(cell);
    find("#partners-part").classList.toggle("asked", cell !== undefined);
    for (const [position, entry] of [...find("#top").children].entries()) {
      find("button", entry).setAttribute("aria-pressed", String(asked.chosen === position));
    }
  }

  function entry(swatch, who, small, share) {
    const label = document.createElement("span");
    label.className = "who";
    label.append(who);
    if (small) {
      const line = document.createElement("small");
      line.append(small);
      label.append(line);
    }
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of Object.entries({ class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" })) bar.setAttribute(name, value);
    make("rect", { width: (100 * share).toFixed(2), height: 4 }, bar);
    const amount = document.createElement("span");
    amount.className = "amount";
    amount.append(percent(share));
    return [swatch, label, bar, amount];
  }

  function tell(cell) {
    if (view.order === 1) return;
    const title = find("#partners-title");
    const note = find("#partners-note");
    if (cell === undefined) {
      title.textContent = "Partners of a cell";
      note.textContent = "Point at a cell of the picture, or choose one with the keyboard.";
      find("#partners").replaceChildren();
      return;
    }
    const partners = view.partners(cell).slice(0, PARTNERS);
    title.textContent = `Partners of ${named(cell)}`;
    note.textContent = partners.length ? `${asked.pinned === cell ? "Pinned. " : ""}Shares of the strongest interaction in the picture.` : "It acts with no other cell.";
    find("#partners").replaceChildren(...partners.map((one) => {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = heat(one.share);
      const item = document.createElement("li");
      item.append(...entry(swatch, `with ${short(one.cell)}`, sums(cell, one.cell), one.share));
      return item;
    }));
  }

  function listSets() {
    const names = ["", "Strongest cells", "Strongest pairs", "Strongest triples", "Strongest sets of four"];
    find("#top-title").textContent = view.top.length ? names[view.order] : "No cells act together here";
    const signs = view.kind === "sums" ? " S is the signed sum, with x at the first cell and at the second." : "";
    find("#top-note").textContent = view.top.length ? `Shares of the strongest. Cells are (row, column) from 0.${signs}` : "";
    find("#top").replaceChildren(...view.top.map((one, position) => {
      const swatch = document.createElement("span");
      swatch.className = "rank";
      swatch.style.background = colors.pairs[position % colors.pairs.length];
      swatch.append(String(position + 1));
      const button = document.createElement("button");
      button.type = "button";
      const pair = one.cells.length === 2 ? sums(one.cells[0], one.cells[1]) : "";
      button.append(...entry(swatch, one.cells.map(short).join(" \u2194 "), pair, one.share));
      button.addEventListener("click", () => {
        asked = { ...nothing(), listed: asked.listed, chosen: asked.chosen === position ? null : position };
        draw();
        find("#status").textContent = asked.chosen === null ? "All are shown." : `${one.cells.map(named).join(" with ")}, ${percent(one.share)}.`;
      });
      button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") { asked.listed = position; draw(); } });
      button.addEventListener("pointerleave", () => { asked.listed = null; draw(); });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
  }

  // ---- one picture
  function show(position, { moveTo = null } = {}) {
    current = Math.max(0, Math.min(position, cards.length - 1));
    const element = cards[current];
    view = readInteractions(element.dataset.view);
    asked = nothing();
    roving = view.top.length ? view.top[0].cells[0] : 0;
    find("#photo").src = find(".photo", element).src;
    find("#photo").width = find(".photo", element).width;
    for (const side of ["width", "height"]) find("#photo").setAttribute(side, find(".photo", element).getAttribute(side));
    const question = find(".asked bdi", element);
    find("#question").hidden = !question;
    find("#question").replaceChildren(...(question ? [question.cloneNode(true)] : []));
    find("#place").textContent = `Picture ${current + 1} of ${cards.length}`;
    const title = ["bdi", ".value", ".file"].map((part) => find(`.class ${part}, .caption > ${part}`, element)?.cloneNode(true));
    find("#explorer-title").replaceChildren(...title.filter((part) => part && part.textContent));
    find("#detail").replaceChildren(...[...find(".detail", element).children].map((child) => child.cloneNode(true)));
    find("#previous").setAttribute("aria-disabled", String(current === 0));
    find("#next").setAttribute("aria-disabled", String(current === cards.length - 1));
    find("#partners-part").hidden = view.order === 1;
    cards.forEach((card, i) => {
      const button = find(".open", card);
      button.setAttribute("aria-current", String(i === current));
      button.tabIndex = i === current ? 0 : -1;
    });
    find("#status").textContent = "";
    listSets();
    buildCells();
    draw();
    if (moveTo === "grid") focusCell(roving);
    if (moveTo === "title") {
      find("#explorer-title").focus({ preventScroll: true });
      explorer.scrollIntoView({ behavior: still.matches ? "auto" : "smooth", block: "start" });
    }
  }

  // ---- cells: one of them is a tab stop, the arrow keys move it
  function buildCells() {
    const row = (r) => {
      const line = document.createElement("div");
      line.setAttribute("role", "row");
      line.append(...view.columns.map((_, column) => {
        const cell = document.createElement("div");
        const [y0, y1] = view.rows[r];
        const [x0, x1] = view.columns[column];
        cell.setAttribute("role", "gridcell");
        cell.setAttribute("aria-label", `row ${r}, column ${column}`);
        cell.tabIndex = r * view.columns.length + column === roving ? 0 : -1;
        Object.assign(cell.style, { left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%` });
        return cell;
      }));
      return line;
    };
    grid.replaceChildren(...view.rows.map((_, r) => row(r)));
    grid.setAttribute("aria-rowcount", String(view.rows.length));
    grid.setAttribute("aria-colcount", String(view.columns.length));
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
    const element = event.target.closest("[role=gridcell]");
    const row = [...grid.children].indexOf(element.parentElement);
    asked.focused = row * view.columns.length + [...element.parentElement.children].indexOf(element);
    element.setAttribute("aria-label", describe(asked.focused));
    draw();
  });
  grid.addEventListener("focusout", () => { asked.focused = null; draw(); });

  function pin(cell) {
    asked.chosen = null;
    asked.pinned = asked.pinned === cell ? null : cell;
    makeRoving(cell);
    find("#status").textContent = asked.pinned === null ? "Not pinned." : `Pinned ${describe(cell)}.`;
    draw();
  }

  grid.addEventListener("keydown", (event) => {
    if (event.metaKey || event.altKey || (event.ctrlKey && !["Home", "End"].includes(event.key))) return;
    const [row, column] = place(roving);
    const [rows, columns] = [view.rows.length, view.columns.length];
    const to = (r, c) => Math.max(0, Math.min(r, rows - 1)) * columns + Math.max(0, Math.min(c, columns - 1));
    const moves = {
      ArrowLeft: () => to(row, column - 1),
      ArrowRight: () => to(row, column + 1),
      ArrowUp: () => to(row - 1, column),
      ArrowDown: () => to(row + 1, column),
      Home: () => (event.ctrlKey ? 0 : to(row, 0)),
      End: () => (event.ctrlKey ? view.n - 1 : to(row, columns - 1)),
    };
    if (event.key in moves) {
      asked.pinned = null;
      asked.hovered = null;
      focusCell(moves[event.key]());
    } else if (event.key === "Enter" || event.key === " ") {
      pin(roving);
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      const next = current + (event.key === "PageUp" ? -1 : 1);
      if (next >= 0 && next < cards.length) show(next, { moveTo: "grid" });
    } else {
      return;
    }
    event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    asked.pinned = null;
    asked.chosen = null;
    asked.hovered = null;
    draw();
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
    if (event.pointerType === "touch") return;
    const cell = cellAt(event);
    if (cell === asked.hovered) return;
    asked.hovered = cell;
    draw();
  });
  stage.addEventListener("pointerleave", () => { asked.hovered = null; draw(); });
  stage.addEventListener("click", (event) => pin(cellAt(event)));

  // ---- everything else
  find("#grid-lines").addEventListener("change", draw);
  find("#previous").addEventListener("click", () => { if (current > 0) show(current - 1); });
  find("#next").addEventListener("click", () => { if (current + 1 < cards.length) show(current + 1); });
  cards.forEach((card, position) => {
    find(".open", card).addEventListener("click", () => show(position, { moveTo: "title" }));
    card.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -cards.length, End: cards.length };
      if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
      const next = Math.max(0, Math.min(position + steps[event.key], cards.length - 1));
      cards.forEach((other, i) => { find(".open", other).tabIndex = i === next ? 0 : -1; });
      find(".open", cards[next]).focus();
      event.preventDefault();
    });
  });
  explorer.hidden = false;
  show(0);
  new ResizeObserver(() => draw()).observe(stage);
})();
