"use strict";
(() => {
  const find = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const status = find("#status");
  const tabs = all("[role=tab]");
  const panels = tabs.map((tab) => document.getElementById(tab.getAttribute("aria-controls")));
  const rows = all(".set");
  const membersOf = new Map([
    ...rows.map((row) => [row, JSON.parse(row.dataset.features)]),
    ...all(".line").map((line) => [line, line.dataset.features.split(" ").map(Number)]),
  ]);
  const same = (a, b) => a.length === b.length && a.every((one, i) => one === b[i]);
  const state = { feature: null, chosen: null };

  // ---- what is emphasised: the sets with a feature, or the one that was chosen
  function draw() {
    for (const [element, members] of membersOf) {
      const has = state.feature === null || members.includes(state.feature);
      if (element.matches(".set")) element.hidden = !has;
      else element.classList.toggle("dimmed", state.chosen ? !same(members, state.chosen) : !has);
    }
    for (const panel of panels) {
      const listed = all(".set", panel);
      find(".listed > .nothing", panel).hidden = !listed.length || listed.some((row) => !row.hidden);
    }
    for (const node of all(".node")) {
      const feature = Number(node.dataset.feature);
      node.setAttribute("aria-pressed", String(feature === state.feature));
      node.classList.toggle("dimmed", state.chosen ? !state.chosen.includes(feature) : false);
    }
    for (const row of rows) {
      const open = state.chosen !== null && same(membersOf.get(row), state.chosen);
      find("button", row).setAttribute("aria-expanded", String(open));
      find(".detail", row).hidden = !open;
    }
    if (matrix) mark(state.chosen);
  }

  // ---- tabs: one of them is a tab stop, the arrow keys move it
  function select(position, focus) {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === position));
      tab.tabIndex = i === position ? 0 : -1;
      panels[i].hidden = i !== position;
    });
    if (focus) tabs[position].focus();
    state.chosen = null;
    draw();
  }
  tabs.forEach((tab, i) => {
    panels[i].setAttribute("role", "tabpanel");
    panels[i].setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => select(i));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      select((to + tabs.length) % tabs.length, true);
      event.preventDefault();
    });
  });

  // ---- a set is chosen from a list
  function choose(members) {
    state.chosen = state.chosen && members && same(state.chosen, members) ? null : members;
    draw();
  }
  for (const row of rows) {
    find("button", row).addEventListener("click", () => choose(membersOf.get(row)));
  }

  // ---- a feature is chosen, from the list or in the network
  const features = find("#feature");
  function filter(feature) {
    state.feature = feature;
    state.chosen = null;
    features.value = feature === null ? "" : String(feature);
    draw();
    const name = features.selectedIndex > 0 ? features.options[features.selectedIndex].text : "";
    status.textContent = feature === null ? "All features." : `Only sets with ${name || "this feature"}.`;
  }
  features.addEventListener("change", () => filter(features.value === "" ? null : Number(features.value)));
  for (const node of all(".node")) {
    const toggle = () => {
      const feature = Number(node.dataset.feature);
      filter(state.feature === feature ? null : feature);
    };
    node.addEventListener("click", toggle);
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      toggle();
      event.preventDefault();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    filter(null);
  });

  // ---- the matrix: one cell is a tab stop, the arrow keys move it
  const matrix = find("#matrix");
  const data = matrix && JSON.parse(matrix.dataset.pairs);
  const readout = find("#readout");
  const silent = readout && readout.textContent;
  const lines = matrix ? all("[role=row]", matrix).slice(0, data.names.length) : [];
  const grid = lines.map((line) => all("[role=gridcell]", line));
  const heads = matrix ? all("[role=columnheader]", matrix) : [];
  const pairOf = new Map(data ? data.pairs.map(([a, b, effect, rank]) => [`${a} ${b}`, { effect, rank }]) : []);
  let roving = [0, Math.min(1, grid.length - 1)];

  function describe([a, b]) {
    if (a === b) return `${data.names[a]}: a feature with itself`;
    const pair = pairOf.get(a < b ? `${a} ${b}` : `${b} ${a}`);
    const what = pair.rank ? `${pair.effect}, rank ${pair.rank} of ${data.total}` : "not looked at, or too weak to be kept";
    return `${data.names[a]} \u00d7 ${data.names[b]}: ${what}`;
  }
  function mark(chosen) {
    grid.flat().forEach((cell) => cell.classList.remove("chosen"));
    if (!chosen || chosen.length !== 2) return;
    const [a, b] = chosen.map((one) => data.features.indexOf(one));
    if (a < 0 || b < 0) return;
    grid[a][b].classList.add("chosen");
    grid[b][a].classList.add("chosen");
  }
  function read(place) {
    readout.textContent = place ? describe(place) : silent;
    lines.forEach((line, a) => line.firstElementChild.classList.toggle("on", Boolean(place) && place[0] === a));
    heads.forEach((head, b) => head.classList.toggle("on", Boolean(place) && place[1] === b));
  }
  const placeOf = (cell) => {
    const a = lines.indexOf(cell.parentElement);
    return [a, grid[a].indexOf(cell)];
  };
  function move(to) {
    grid[roving[0]][roving[1]].tabIndex = -1;
    roving = to;
    grid[to[0]][to[1]].tabIndex = 0;
    grid[to[0]][to[1]].focus();
  }
  function show([a, b]) {
    const wanted = [data.features[a], data.features[b]].sort((x, y) => x - y);
    const row = rows.find((one) => panels[tabs.findIndex((tab) => tab.id === "tab-2")].contains(one) && same(membersOf.get(one), wanted));
    if (a === b || !row) return;
    select(tabs.findIndex((tab) => tab.id === "tab-2"));
    state.feature = null;
    features.value = "";
    choose(wanted);
    status.textContent = `Chosen: ${describe([a, b])}.`;
  }
  if (matrix) {
    grid.forEach((row) => row.forEach((cell) => { cell.tabIndex = -1; }));
    grid[roving[0]][roving[1]].tabIndex = 0;
    matrix.addEventListener("focusin", (event) => {
      const place = placeOf(event.target);
      event.target.setAttribute("aria-label", describe(place));
      roving = place;
      read(place);
    });
    matrix.addEventListener("focusout", () => read(null));
    matrix.addEventListener("pointerover", (event) => read(event.target.matches("[role=gridcell]") ? placeOf(event.target) : null));
    matrix.addEventListener("pointerleave", () => read(null));
    matrix.addEventListener("click", (event) => { if (event.target.matches("[role=gridcell]")) show(placeOf(event.target)); });
    matrix.addEventListener("keydown", (event) => {
      if (event.metaKey || event.altKey || event.ctrlKey) return;
      const [a, b] = roving;
      const last = grid.length - 1;
      const within = (i) => Math.max(0, Math.min(i, last));
      const moves = {
        ArrowLeft: [a, within(b - 1)], ArrowRight: [a, within(b + 1)], ArrowUp: [within(a - 1), b], ArrowDown: [within(a + 1), b],
        Home: [a, 0], End: [a, last],
      };
      if (event.key in moves) move(moves[event.key]);
      else if (event.key === "Enter" || event.key === " ") show(roving);
      else return;
      event.preventDefault();
    });
  }

  find("#choose").hidden = false;
  if (tabs.length) select(0);
  draw();
})();
