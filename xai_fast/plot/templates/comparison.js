// A comparison of methods: a table that sorts, and by metric a plot of cost, differences, and items; see summary in xai_fast/comparison/result.py.
const data = JSON.parse(find("#data").textContent);
const metrics = Object.keys(data.metrics);
const costs = data.evaluations.mean;
const state = { metric: metrics[0], column: null, turned: false, reference: null };
const known = (value) => value !== null && value !== undefined;
const lower = (name) => data.metrics[name].better === "lower";
const bestOf = (name) => data.metrics[name].best;

// ---- numbers: two digits of the error, if there is one
function written(value, error, sign = false) {
  if (!known(value)) return "\u2013";
  const size = error || Math.abs(value) / 10;
  const places = size ? clamp(1 - Math.floor(Math.log10(size)), 0, 8) : 0;
  const text = Math.abs(value).toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  return `${value < 0 ? "\u2212" : sign ? "+" : ""}${text}`;
}
const amount = (value) => known(value) ? Number(value.toPrecision(3)).toLocaleString("en") : "\u2013";
const broken = (name) => make("bdi", {}, ...name.split(/(?<=[_(,:])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part])));
const numbered = (m) => [make("span", { class: "number" }, `${m + 1} `), broken(data.methods[m])];
const head = (scope, ...content) => make("th", { scope }, ...content);

// ---- the table of scores
const columns = [
  ...metrics.map((name) => ({ name, of: data.metrics[name], lower: lower(name), note: `${data.metrics[name].better} is better` })),
  { name: "evaluations", of: data.evaluations, lower: true, note: "per item" },
  ...(data.seconds ? [{ name: "seconds", of: { mean: data.seconds }, lower: true, note: "in all" }] : []),
];

function cell({ of }, m) {
  const error = of.error?.[m] ?? null;
  const best = of.best?.includes(data.methods[m]);
  const few = of.count && of.count[m] < data.items ? make("span", { class: "few" }, `${of.count[m]} items`) : null;
  return make("td", {}, make("span", { class: best ? "best" : "" }, of.best ? written(of.mean[m], error) : amount(of.mean[m])),
    best ? make("span", { class: "unseen" }, " within error of the best") : null,
    of.best && known(error) ? make("span", { class: "error" }, ` \u00b1 ${written(error, error)}`) : null, few);
}

function order() {
  const rows = data.methods.map((_, m) => m);
  if (!state.column) return rows;
  const { of, lower: least } = state.column;
  const sign = (least ? 1 : -1) * (state.turned ? -1 : 1);
  return rows.sort((a, b) => (known(of.mean[b]) - known(of.mean[a])) || sign * (of.mean[a] - of.mean[b]));
}

function buildScores() {
  find("#scores thead").append(make("tr", {}, head("col", "Method"), ...columns.map((column) => {
    const button = make("button", { type: "button" }, broken(column.name), make("small", {}, column.note));
    button.addEventListener("click", () => {
      state.turned = state.column === column && !state.turned;
      state.column = column;
      showScores();
      find("#status").textContent = `Sorted by ${column.name}, the ${state.turned ? "worst" : "best"} first.`;
    });
    column.head = head("col", button);
    return column.head;
  })));
}
function showScores() {
  for (const column of columns) {
    if (column === state.column) column.head.setAttribute("aria-sort", column.lower !== state.turned ? "ascending" : "descending");
    else column.head.removeAttribute("aria-sort");
  }
  find("#scores tbody").replaceChildren(...order().map((m) => make("tr", {}, head("row", ...numbered(m)), ...columns.map((column) => cell(column, m)))));
}

// ---- quality against cost; the best is at the top left, whichever way is better
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return { step, at: Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step) };
}

function showCost() {
  const found = data.metrics[state.metric];
  const shown = data.methods.map((_, m) => m).filter((m) => known(found.mean[m]) && known(costs[m]));
  const figure = find("#cost");
  if (!shown.length) { figure.replaceChildren("Scores or costs are not known."); return; }
  const [wide, high, left, right, top, bottom] = [Math.max(figure.clientWidth, 280), 320, 48, 12, 12, 46];
  const errors = shown.map((m) => found.error[m] ?? 0);
  let least = Math.min(...shown.map((m, i) => found.mean[m] - errors[i]));
  let most = Math.max(...shown.map((m, i) => found.mean[m] + errors[i]));
  const margin = 0.06 * (most - least || Math.abs(most) || 1);
  [least, most] = [least - margin, most + margin];
  const log = (cost) => Math.log10(1 + cost); // baselines cost nothing
  const limit = Math.max(log(Math.max(...shown.map((m) => costs[m]))), 0.5);
  const x = (cost) => left + 12 + (wide - left - right - 24) * (log(cost) / limit);
  const share = (value) => (lower(state.metric) ? value - least : most - value) / (most - least);
  const y = (value) => top + (high - top - bottom) * share(value);
  const scale = ticks(least, most, 5);
  const decades = [0, ...Array.from({ length: 8 }, (_, i) => 10 ** i)].filter((cost) => log(cost) <= limit + 1e-9);
  const grid = draw("g", { class: "grid" },
    ...scale.at.flatMap((at) => [draw("line", { x1: left, x2: wide - right, y1: y(at), y2: y(at) }),
      draw("text", { x: left - 8, y: y(at), "text-anchor": "end" }, written(at, scale.step * 10))]),
    ...decades.flatMap((cost) => [draw("line", { x1: x(cost), x2: x(cost), y1: top, y2: high - bottom }),
      draw("text", { x: x(cost), y: high - bottom + 14, "text-anchor": "middle" }, cost.toLocaleString("en"))]),
    draw("text", { x: (left + wide - right) / 2, y: high - 10, "text-anchor": "middle" }, "gradient evaluations per item"));
  const front = shown.filter((m) => found.front[m]).sort((a, b) => costs[a] - costs[b]);
  const steps = front.map((m, i) => `${i ? "H" : "M"}${i ? x(costs[m]) : `${x(costs[m])} ${y(found.mean[m])}`}${i ? `V${y(found.mean[m])}` : ""}`).join("");
  const line = draw("path", { class: "front", d: `${steps}H${wide - right}` });
  const points = shown.map((m, i) => draw("g", { class: found.front[m] ? "point on" : "point" },
    draw("title", {}, `${data.methods[m]}: ${written(found.mean[m], errors[i])}, ${amount(costs[m])} evaluations`),
    draw("line", { x1: x(costs[m]), x2: x(costs[m]), y1: y(found.mean[m] - errors[i]), y2: y(found.mean[m] + errors[i]) }),
    draw("circle", { cx: x(costs[m]), cy: y(found.mean[m]), r: found.front[m] ? 5.5 : 4.5 })));
  const names = front.map((m) => `${data.methods[m]} (${written(found.mean[m], found.error[m])} at ${amount(costs[m])})`).join(", ");
  const svg = draw("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${state.metric} against gradient evaluations per item. On the front: ${names}.` }, grid, line, ...points);
  figure.replaceChildren(svg, make("figcaption", {}, `The ${data.metrics[state.metric].better} the better; the best is at the top. On the front, which no method beats at its cost: ${names}. Bars are standard errors.`));
  nameAll(svg, [...front, ...shown.filter((m) => !found.front[m])].map((m) => [data.methods[m], x(costs[m]), y(found.mean[m]), Math.abs(y(found.error[m] ?? 0) - y(0))]), wide, high - bottom);
}

// Each name goes where it covers no point and no other name, those of the front first; where there is no place, the number of its row in the table does.
function nameAll(svg, wanted, wide, high) {
  const taken = wanted.flatMap(([, x, y, error]) => [{ x: x - 5, y: y - 5, w: 10, h: 10 }, { x: x - 1, y: y - error, w: 2, h: 2 * error }]);
  for (const [name, x, y] of wanted) {
    for (const words of [name.length > 26 ? `${name.slice(0, 25)}\u2026` : name, String(data.methods.indexOf(name) + 1)]) {
      if (put(words, x, y)) break;
    }
  }
  function put(words, x, y) {
    const text = draw("text", { class: "name" }, words);
    svg.append(text);
    const w = text.getComputedTextLength();
    const places = [-11, 11, -24, 24].flatMap((shift) => [[x + 5, y + shift], [x - 5 - w, y + shift]]);
    const free = places.map(([left, middle]) => ({ x: left, y: middle - 7, w, h: 14 })).find((box) => box.x > 50 && box.x + w <= wide && box.y > 0 && box.y + 14 < high
      && taken.every((other) => box.x >= other.x + other.w || other.x >= box.x + w || box.y >= other.y + other.h || other.y >= box.y + 14));
    if (!free) { text.remove(); return false; }
    fillIn(text, { x: free.x, y: free.y + 7 }, []);
    taken.push(free);
    return true;
  }
}

// ---- differences of all methods from one
function showDifferences() {
  const found = data.metrics[state.metric];
  const from = state.reference;
  const minus = (value) => (known(value) ? -value : null);
  const rows = found.differences.filter((one) => one.a === from || one.b === from).map((one) => {
    const inner = [one.low, one.high];
    const outer = [one.corrected_low, one.corrected_high];
    return one.b === from ? { who: one.a, mean: one.mean, p: one.corrected_p, inner, outer }
      : { who: one.b, mean: minus(one.mean), p: one.corrected_p, inner: inner.map(minus).reverse(), outer: outer.map(minus).reverse() };
  });
  const sign = lower(state.metric) ? -1 : 1;
  rows.sort((a, b) => (known(b.mean) - known(a.mean)) || sign * (b.mean - a.mean));
  const ends = [0, ...rows.flatMap((one) => one.outer.map((end) => end ?? 0))];
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  const at = (value) => 4 + (192 * (value - least)) / (most - least || 1);
  find("#differences").replaceChildren(...rows.map((one) => {
    const interval = known(one.inner[0]);
    const error = interval ? (one.inner[1] - one.inner[0]) / 4 : null;
    const verdict = !known(one.p) || one.p > 0.05 ? "" : sign * one.mean > 0 ? "better" : "worse";
    const stretch = (kind, [low, high], y, height) => (interval ? draw("rect", { class: kind, x: at(low), y, width: at(high) - at(low), height }) : null);
    const strip = draw("svg", { viewBox: "0 0 200 12", preserveAspectRatio: "none", "aria-hidden": "true" },
      draw("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: 12 }), stretch("outer", one.outer, 5.5, 1), stretch("interval", one.inner, 4, 4),
      known(one.mean) ? draw("rect", { class: "mean", x: at(one.mean) - 1, y: 1, width: 2, height: 10 }) : null);
    const p = known(one.p) ? `, p ${one.p < 0.001 ? "< 0.001" : `= ${Number(one.p.toPrecision(2))}`}` : "";
    return make("li", { class: verdict }, make("span", { class: "who" }, broken(one.who), make("small", {}, make("span", { class: "verdict" }, verdict || (known(one.p) ? "no difference found" : "too few items with both scores")), p)),
      strip, make("span", { class: "amount" }, written(one.mean, error, true), make("small", {}, interval ? one.outer.map((end) => written(end, error)).join(" to ") : "")));
  }));
}

// ---- items
const itemOf = (one) => (data.maps ? make("a", { href: `${data.maps}#item-${one.place}` }, broken(one.item)) : broken(one.item));
function showApart() {
  const rows = data.metrics[state.metric].apart;
  find("#apart").closest("section").hidden = !rows.length;
  find("#apart thead").replaceChildren(make("tr", {}, ...["Item", "Deviation", "Best method", "Its score", "Worst method", "Its score"].map((name) => head("col", name))));
  find("#apart tbody").replaceChildren(...rows.map((one) => make("tr", {}, head("row", itemOf(one)), make("td", {}, amount(one.spread)),
    ...["best", "worst"].flatMap((end) => [make("td", {}, broken(one[end])), make("td", {}, amount(one[`of_${end}`]))]))));
}

// ---- agreement
function buildAgreement() {
  if (!data.agreement) return;
  find("#agreement-part").hidden = false;
  find("#agreement thead").append(make("tr", {}, head("col", "Method"), ...data.methods.map((name, m) => fillIn(head("col"), { title: name, "aria-label": name }, [String(m + 1)]))));
  find("#agreement tbody").append(...data.agreement.map((row, m) => make("tr", {}, head("row", ...numbered(m)), ...row.map((value) => {
    const shade = make("td", {}, known(value) ? (Math.round(100 * value) / 100 + 0).toFixed(2).replace("-", "\u2212") : "\u2013");
    if (known(value)) shade.style.background = `color-mix(in srgb, var(${value < 0 ? "--down" : "--up"}) ${Math.round(38 * Math.abs(value))}%, var(--paper))`;
    return shade;
  }))));
}

// ---- one metric at a time
const tabs = metrics.map((name, i) => {
  const tab = make("button", { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": "metric" }, name);
  tab.addEventListener("click", () => select(i));
  tab.addEventListener("keydown", (event) => {
    const last = metrics.length - 1;
    const to = { ArrowRight: i === last ? 0 : i + 1, ArrowLeft: i ? i - 1 : last, Home: 0, End: last }[event.key];
    if (to === undefined || !plainKey(event)) return;
    select(to, true);
    event.preventDefault();
  });
  return tab;
});

function select(position, focus) {
  tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", String(i === position));
    tab.tabIndex = i === position ? 0 : -1;
  });
  if (focus) tabs[position].focus();
  state.metric = metrics[position];
  state.reference = bestOf(state.metric)[0] ?? data.methods[0];
  find("#metric").setAttribute("aria-labelledby", tabs[position].id);
  find("#reference").value = state.reference;
  showCost();
  showDifferences();
  showApart();
}

find("#warnings").hidden = !data.warnings.length;
find("#warnings").append(...data.warnings.map((text) => make("li", {}, bdi(text))));
find("#findings").append(...data.conclusions.map((text, i) => make("li", {}, make("strong", {}, bdi(metrics[i])), bdi(text.slice(metrics[i].length)))));
find("#reference").append(...data.methods.map((name) => make("option", { value: name }, name)));
find("#reference").addEventListener("change", () => { state.reference = find("#reference").value; showDifferences(); });
find("[role=tablist]").append(...tabs);
if (data.maps) {
  find("#maps").hidden = false;
  find("#maps").append(make("a", { href: data.maps }, "All maps, side by side"), " for each item.");
}
find("#differences").closest("section").hidden = data.methods.length < 2;
buildScores();
showScores();
buildAgreement();
if (metrics.length) select(0);
new ResizeObserver(() => { if (metrics.length) showCost(); }).observe(find("#metric"));
document.body.dataset.loaded = "";
