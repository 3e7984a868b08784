// Items: found, filtered, sorted, paged; one of them large in the viewer.
const PAGE = 48; // cards: divisible by 2, 3, 4, 6 and 8 columns
const gallery = find("#gallery");
const viewer = find("#viewer");
const number = (value) => (value && Math.abs(value) < 1e-4 ? value.toExponential(3) : value.toLocaleString("en", { maximumSignificantDigits: 4 }));
const [search, method, classes, show, sort, reverse, least, most] =
  ["search", "method", "class", "show", "sort", "reverse", "least", "most"].map((id) => find(`#${id}`));

let index; // see _index in xai_fast/plot/report.py
let shown = new Uint32Array(0);
let names = null; // of all items in lower case, once somebody searches
let page = 0;
let current = 0; // position in `shown` of the card that has, or had last, the focus
let turn = 0;
let cards = [];

const chunkOf = (item) => {
  const chunk = Math.floor(item / index.chunk);
  return [Math.floor(chunk / 1000), chunk % 1000].map((part) => String(part).padStart(3, "0")).join("/");
};
const entryOf = async (item) => (await load(chunkOf(item)))[item % index.chunk];
const explained = (item) => index.statuses[index.status[item]] === "explained";
const headingOf = (item) => index.headings[index.classes[item]] ?? "";
const scoreOf = (item) => (index.score === null ? NaN : index.score.values[item]);
const prefixOf = (name) => `${name.replaceAll("_", " ")}: `; // of the labels that are about one of several methods
const concerns = (label, which) => index.methods.every((name, i) => i === which || !label.startsWith(prefixOf(name)));
const factsOf = (item, which) => index.facts.filter((fact) => fact.values[item] && concerns(fact.label, which));

// ---- which items, in which order
const limited = () => index.numbers[sort.value] ?? index.score;

function matching(words) {
  const kept = new Uint32Array(index.count);
  const wanted = classes.value === "" ? null : Number(classes.value);
  const [kind, which] = show.value.split(":");
  const status = kind === "status" ? Number(which) : null;
  const fact = kind === "fact" ? index.facts[which].values : null;
  const values = limited()?.values;
  const low = least.value === "" ? -Infinity : Number(least.value);
  const high = most.value === "" ? Infinity : Number(most.value);
  const bounded = values && (low > -Infinity || high < Infinity);
  let length = 0;
  for (let item = 0; item < index.count; item++) {
    if (wanted !== null && index.classes[item] !== wanted) continue;
    if (status !== null && index.status[item] !== status) continue;
    if (fact !== null && !fact[item]) continue;
    if (bounded && !(values[item] >= low && values[item] <= high)) continue;
    if (words.length && !words.every((word) => names[item].includes(word))) continue;
    kept[length++] = item;
  }
  return kept.subarray(0, length);
}

function ordered(items) {
  const direction = pressed(reverse) ? -1 : 1;
  if (sort.value === "") return direction < 0 ? items.reverse() : items;
  const values = index.numbers[sort.value].values;
  return items.sort((a, b) => {
    const [x, y] = [values[a], values[b]];
    if (x !== x || y !== y) return (x !== x) - (y !== y) || a - b; // NaN is last
    return direction * (x - y) || a - b;
  });
}

async function arrange() {
  const words = search.value.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length && names === null) {
    const list = index.range ? Array.from({ length: index.count }, (_, item) => String(index.first + item)) : await load("names");
    names = list.map((name, item) => `${name} ${headingOf(item)}`.normalize("NFC").toLowerCase());
  }
  shown = ordered(matching(words));
  find("#nothing").hidden = shown.length > 0;
  find(".limits").hidden = !limited();
  find("#limited").textContent = limited()?.label ?? "";
  const all = index.count.toLocaleString("en");
  find("#count").textContent = shown.length === index.count ? `${all} shown` : `${shown.length.toLocaleString("en")} of ${all} shown`;
  turnTo(0);
}

// ---- one page of cards
function turnTo(wanted, position = null) {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  page = clamp(wanted, 0, pages - 1);
  cards = [...shown.subarray(page * PAGE, (page + 1) * PAGE)].map(card);
  gallery.replaceChildren(...cards.map((one) => one.element));
  makeCurrent(position ?? page * PAGE, false);
  find("#pager").hidden = pages === 1;
  find("#page").value = String(page + 1);
  find("#page").max = String(pages);
  find("#pages").textContent = `of ${pages.toLocaleString("en")}`;
  for (const id of ["first-page", "previous-page"]) find(`#${id}`).setAttribute("aria-disabled", String(page === 0));
  for (const id of ["last-page", "next-page"]) find(`#${id}`).setAttribute("aria-disabled", String(page === pages - 1));
  fill(++turn);
}

function card(item) {
  const score = scoreOf(item);
  const name = index.range ? String(index.first + item) : "\u00a0";
  const picture = pictureOf();
  const marks = factsOf(item, shownIn(cardsBeside)).map((fact) => make("span", { class: "mark", title: fact.text }, fact.label));
  if (!explained(item)) marks.push(make("span", { class: "mark status" }, index.statuses[index.status[item]]));
  const button = make("button", { type: "button", class: "open", "aria-haspopup": "dialog", tabindex: -1 }, picture, make("span", { class: "caption" },
    make("span", { class: "class" }, bdi(headingOf(item) || name)),
    make("span", { class: "value" }, score === score ? (index.score.share ? percent(score) : number(score)) : ""),
    index.score?.share && score === score ? bar(score) : null,
    make("span", { class: "file" }, bdi(name)), make("span", { class: "marks" }, ...marks)));
  const element = make("li", { class: explained(item) ? "card" : "card without" }, button);
  button.addEventListener("click", () => {
    press(viewerBeside, pressed(cardsBeside));
    openItem(positionOf(element));
  });
  return { item, element, button };
}

const pictureOf = () => make("span", { class: "picture" }, make("img", { class: "photo", alt: "", decoding: "async" }), make("img", { class: "heat", alt: "", decoding: "async" }));

function paint(picture, entry, which) {
  const layer = entry.layers[which] ?? null;
  if (entry.ratio) picture.style.aspectRatio = String(entry.ratio);
  picture.style.setProperty("--ratio", String(entry.ratio ?? 1));
  picture.classList.toggle("small", entry.small);
  picture.classList.toggle("heated", layer?.kind === "heat");
  const images = { photo: entry.photo && `data:image/jpeg;base64,${entry.photo}`, heat: layer?.kind === "heat" && `data:image/png;base64,${(withSigns() && layer.signed) || layer.image}` };
  for (const [kind, source] of Object.entries(images)) {
    if (source) find(`.${kind}`, picture).src = source;
    else find(`.${kind}`, picture).removeAttribute("src");
  }
  if (layer?.kind === "heat" && layer.signed && signs[0].hidden) {
    for (const one of [...signs, find("#signs-note")]) one.hidden = false;
    setSigns(withSigns());
  }
  find(".over", picture)?.remove();
  const over = layer?.kind === "bars" ? bars(layer) : layer?.kind === "words" ? coloured(layer) : layer?.kind === "links" ? links(layer) : layer?.kind === "pairs" && picture !== stage ? smallPairs(layer) : null;
  if (over) picture.append(fillIn(over, { class: `${over.getAttribute("class")} over` }, []));
}

function bars({ values }) {
  const largest = Math.max(...values.map(Math.abs)) || 1;
  const rects = values.map((value, i) => draw("rect", {
    class: value < 0 ? "down" : "up", x: i + 0.1, width: 0.8, y: 50 - 44 * Math.max(0, value / largest), height: 44 * Math.abs(value / largest),
  }));
  return draw("svg", { class: "bars", viewBox: `0 0 ${values.length} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "axis", width: values.length, y: 49.8, height: 0.4 }), ...rects);
}

function links({ box, frame, lines, values, words }) {
  const largest = Math.abs(values[0]) || 1;
  const shapes = lines.map((line, i) => {
    const share = Math.abs(values[i]) / largest;
    const [x0, y0, x1, y1] = line;
    const d = frame === undefined ? `M${x0} ${y0}L${x1} ${y1}` : line;
    const ends = frame === undefined ? `M${x0} ${y0}h0M${x1} ${y1}h0` : `${line.match(/^M[-\d.,]+/)[0]}h0`; // dots, by their round caps
    const wide = 1 + 2.5 * share;
    return draw("g", { opacity: 0.3 + 0.7 * share }, draw("title", {}, number(values[i])),
      ...[[d, wide + 1.5], [ends, wide + 4.5]].map(([path, width]) => draw("path", { d: path, class: "edge", "stroke-width": width })),
      ...[[d, wide], [ends, wide + 3]].map(([path, width]) => draw("path", { d: path, class: values[i] < 0 ? "against" : "for", "stroke-width": width })));
  });
  const texts = words.map(([word, x, y, length]) => draw("text", { x, y, textLength: length, class: "word" }, word));
  return draw("svg", { class: "drawing", viewBox: `0 0 ${box[0]} ${box[1]}`, "aria-hidden": "true" }, ...(frame ? [draw("path", { d: frame, class: "frame" })] : []), ...shapes.reverse(), ...texts);
}

function coloured({ words }) {
  return make("span", { class: "words" }, ...words.map(([word, background, ink, number]) => {
    const span = make("span", { title: number }, bdi(word));
    Object.assign(span.style, { background, color: ink }); // a page may set what its policy forbids in attributes
    return span;
  }));
}

// Grey is what arrives, coloured what is kept, left of the line where it is added; see xai_fast/plot/ledger.py.
function ledgerBars({ rows, span: [low, high], text }, operations) {
  const numbers = new Float32Array(bytes(rows).buffer);
  const at = (value) => 170 + (180 * (value - low)) / (high - low);
  const rect = (kind, from, to, y) => draw("rect", { class: kind, x: at(Math.min(from, to)), width: at(Math.max(from, to)) - at(Math.min(from, to)), y, height: 10 });
  const short = (name) => {
    const kept = name.length > 25 ? name.replace(/ (convolution|dense)$/, "") : name; // the module tells it
    return kept.length > 27 ? `\u2026${kept.slice(-26)}` : kept;
  };
  const lines = ["input", ...operations].map((name, i) => {
    const [arrives, ...kept] = numbers.subarray(4 * i, 4 * i + 4);
    const ends = [0, 0]; // of what is added, and of what is kept
    const parts = kept.map((value, k) => {
      const side = Number(value > 0);
      return rect(`kept-${k}`, ends[side], (ends[side] += value), 16 * i + 3);
    });
    const about = ["arrives", "bias", "stabiliser", "rule"].map((label, k) => `${label} ${number([arrives, ...kept][k])}`).join(", ");
    return draw("g", {}, draw("title", {}, `${name}: ${about}`), draw("text", { x: 164, y: 16 * i + 12, "text-anchor": "end" }, short(name)), rect("arrives", 0, arrives, 16 * i + 3), ...parts);
  });
  const bottom = 16 * lines.length;
  return draw("svg", { viewBox: `0 0 360 ${bottom}`, role: "img", "aria-label": text }, ...lines, draw("rect", { x: at(0), width: 0.75, height: bottom }));
}

async function fillCard(one) {
  const entry = await entryOf(one.item);
  const which = shownIn(cardsBeside);
  paint(find(".picture", one.element), entry, which);
  find(".file bdi", one.element).textContent = entry.name;
  find(".file", one.element).title = entry.name;
  if (!headingOf(one.item)) {
    find(".class bdi", one.element).textContent = entry.name;
    find(".file", one.element).hidden = true;
  }
  find(".lost", one.element)?.remove();
  const ledger = entry.layers[which]?.ledger;
  if (ledger?.lost) find(".marks", one.element).append(make("span", { class: "mark lost", title: ledger.text }, "relevance is lost"));
  if (entry.question && !find(".question", one.element)) find(".caption", one.element).prepend(make("span", { class: "question" }, bdi(entry.question)));
  one.button.setAttribute("aria-label", [entry.question, headingOf(one.item), entry.name, ledger?.lost && ledger.text].filter(Boolean).join(", "));
  find(".status", one.element)?.setAttribute("title", entry.error);
  find(".maps", one.element)?.remove();
  if (pressed(cardsBeside)) one.element.append(make("ul", { class: "maps", "aria-label": `All methods, ${entry.name}` }, ...mapsOf(one.item, entry, () => positionOf(one.element), -1)));
}

async function fill(which) {
  nearby.disconnect();
  showMethods();
  gallery.classList.toggle("side-by-side", pressed(cardsBeside));
  if (pressed(cardsBeside)) {
    for (const one of cards) nearby.observe(one.element);
    return;
  }
  try {
    await Promise.all(cards.map(fillCard));
    if (which !== turn) return;
    gallery.dataset.page = String(page);
    // What is looked at next, most likely.
    shown.subarray((page + 1) * PAGE, (page + 2) * PAGE).forEach((item) => { load(chunkOf(item)).catch(() => {}); });
  } catch (error) {
    sayFault(error);
  }
}

// ---- one item, large
async function openItem(position) {
  goTo(position, false);
  const one = cards[current - page * PAGE];
  const opened = current;
  if (!viewer.open) {
    viewer.showModal();
    find("#viewer-title").focus(); // an `autofocus` of the closed dialog would be the page's own while it loads
  }
  find("#place").textContent = `${(current + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`;
  // Not "disabled": a button that is disabled while it has the focus swallows the keys.
  find("#previous").setAttribute("aria-disabled", String(current === 0));
  find("#next").setAttribute("aria-disabled", String(current === shown.length - 1));
  try {
    const entry = await entryOf(one.item);
    if (opened === current) detail(one.item, entry);
    if (!index.large || pressed(viewerBeside)) return;
    const [larger] = await load(`${chunkOf(one.item)}-large`);
    if (opened === current && viewer.open) paint(stage, larger, method.selectedIndex);
  } catch (error) {
    sayFault(error);
  }
}

function detail(item, entry) {
  showMethods();
  const beside = pressed(viewerBeside);
  const which = shownIn(viewerBeside);
  const layer = entry.layers[which] ?? null;
  paint(stage, entry, which);
  showPairs(layer?.kind === "pairs" ? layer : null);
  stage.hidden = beside || (!entry.photo && (!layer || layer.kind === "numbers"));
  showMaps(item, entry);
  find(".panel .strength").hidden = !(beside ? entry.layers : [layer]).some((one) => ["heat", "pairs", "links"].includes(one?.kind));
  const ledger = layer?.ledger;
  find("#ledger").hidden = !ledger;
  find("#ledger-text").textContent = ledger?.text ?? "";
  find("#ledger-text").classList.toggle("lost", Boolean(ledger?.lost));
  find("#ledger-bars").replaceChildren(...(ledger ? [ledgerBars(ledger, index.operations[method.selectedIndex])] : []));
  viewer.classList.toggle("without", !explained(item));
  const heading = headingOf(item) || (explained(item) ? entry.name : index.statuses[index.status[item]]);
  find("#viewer-title").replaceChildren(bdi(heading), make("span", { class: "file" }, bdi(heading === entry.name ? "" : entry.name)));
  for (const [id, text] of [["question", entry.question], ["reason", entry.error]]) {
    find(`#${id}`).hidden = !text;
    find(`#${id}`).replaceChildren(bdi(text));
  }
  const ranked = ["bars", "links"].includes(layer?.kind) ? layer.values.map((value, i) => [value, layer.names[i]]).sort(([a], [b]) => Math.abs(b) - Math.abs(a)) : [];
  const largest = Math.abs(ranked[0]?.[0] ?? 0) || 1;
  find("#features").replaceChildren(...ranked.slice(0, 12).filter(([value]) => value !== null).map(([value, name]) => make("li", { class: value < 0 ? "negative" : "" },
    make("span"), make("span", { class: "who" }, bdi(name)), bar(Math.abs(value) / largest), make("span", { class: "amount" }, number(value)))));
  find("#classes").replaceChildren(...entry.classes.map(([name, share]) => make("li", { class: name === headingOf(item) ? "explained" : "" }, bdi(name), make("span", {}, percent(share)), bar(share))));
  const facts = factsOf(item, which).map((fact) => [fact.label, "yes", fact.text]);
  const numbers = index.numbers.filter((one) => one.values[item] === one.values[item] && concerns(one.label, which)).map((one) => [one.label, number(one.values[item])]);
  const rows = [["position", (index.first + item).toLocaleString("en")], ["status", index.statuses[index.status[item]]], ...facts, ...numbers, ...entry.notes];
  find("#facts").replaceChildren(...rows.map(([label, value, text]) => make("div", {}, make("dt", {}, label), make("dd", {}, bdi(value)), text ? make("dd", { class: "note" }, text) : null)));
}

// ---- places and keys; only one card is a tab stop, and the arrow keys move it
function makeCurrent(position, focus) {
  if (!shown.length) return;
  current = clamp(position, page * PAGE, page * PAGE + cards.length - 1);
  for (const one of cards) one.button.tabIndex = -1;
  const one = cards[current - page * PAGE];
  one.button.tabIndex = 0;
  if (!focus) return;
  one.button.focus();
  one.element.scrollIntoView({ block: "nearest" });
}

function goTo(position, focus) {
  const wanted = clamp(position, 0, shown.length - 1);
  if (Math.floor(wanted / PAGE) !== page) turnTo(Math.floor(wanted / PAGE), wanted);
  makeCurrent(wanted, focus);
}

const positionOf = (element) => page * PAGE + cards.findIndex((one) => one.element === element);

function columns() {
  const next = cards.findIndex((one) => one.element.offsetTop > cards[0].element.offsetTop);
  return next < 0 ? cards.length : next;
}

function turnPage(wanted) {
  turnTo(wanted);
  scrollTo({ top: find(".toolbar").offsetTop });
}

const moves = {
  ArrowLeft: () => current - 1,
  ArrowRight: () => current + 1,
  PageUp: () => current - 1,
  PageDown: () => current + 1,
  ArrowUp: () => (current - columns() < 0 ? current : current - columns()),
  ArrowDown: () => (current + columns() >= shown.length ? current : current + columns()),
  Home: () => (viewer.open ? 0 : page * PAGE),
  End: () => (viewer.open ? shown.length - 1 : page * PAGE + cards.length - 1),
};
const scrolls = { true: ["ArrowUp", "ArrowDown"], false: ["PageUp", "PageDown"] }; // in the viewer, and outside of it

document.addEventListener("keydown", (event) => {
  if (!plainKey(event) || !index) return;
  const typing = event.target.matches("input:not([type=range], [type=checkbox]), select");
  if (event.key === "/" && !typing && !viewer.open) {
    search.focus();
  } else if (event.key === "Escape" && event.target === search && search.value) {
    search.value = "";
    arrange().catch(sayFault);
  } else if (event.key === "o" && !typing) {
    setStrength(Number(ranges[0].value) > 0 ? 0 : lastStrength);
  } else if (event.key === "s" && !typing && !signs[0].hidden) {
    switchSigns();
  } else if (event.key === "a" && !typing && index.methods.length > 1) {
    switchBeside(viewer.open ? viewerBeside : cardsBeside);
  } else if (!typing && !viewer.open && (event.key === "n" || event.key === "p")) {
    turnPage(page + (event.key === "n" ? 1 : -1));
  } else if (!event.target.matches("input, select") && shown.length && event.key in moves && !scrolls[viewer.open].includes(event.key) && (viewer.open || gallery.contains(event.target))) {
    if (viewer.open) openItem(moves[event.key]());
    else goTo(moves[event.key](), true);
  } else {
    return;
  }
  event.preventDefault();
});

// ---- strength of the overlay
const ranges = findAll(".strength-range");
let lastStrength = 100;
function setStrength(strength) {
  document.documentElement.style.setProperty("--heat", String(strength / 100));
  for (const range of ranges) range.value = String(strength);
  if (strength > 0) lastStrength = strength;
}
for (const range of ranges) range.addEventListener("input", () => setStrength(Number(range.value)));

// ---- maps with their signs, or by magnitude
const signs = findAll(".signs");
const withSigns = () => pressed(signs[0]);
function setSigns(wanted) {
  for (const button of signs) press(button, wanted);
  for (const one of findAll("[data-signs]")) one.hidden = (one.dataset.signs === "true") !== (wanted && !signs[0].hidden);
}
function switchSigns() {
  setSigns(!withSigns());
  repaint();
}
function repaint() {
  fill(++turn);
  if (viewer.open) openItem(current);
}
for (const button of signs) button.addEventListener("click", switchSigns);

let pause = 0;
search.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(() => arrange().catch(sayFault), 60);
});
for (const control of [classes, show, sort, least, most]) control.addEventListener("change", () => arrange().catch(sayFault));
for (const select of findAll("select.method")) select.addEventListener("change", () => {
  for (const other of findAll("select.method")) other.value = select.value;
  const before = limited();
  useScore();
  if (limited() !== before && (least.value || most.value)) {
    arrange().catch(sayFault);
    return;
  }
  find("#limited").textContent = limited()?.label ?? "";
  turnTo(page, current);
  if (viewer.open) openItem(current);
});
function useScore() { // that of the method that is shown
  const scores = index.numbers.filter((one) => one.label.endsWith("score"));
  const name = (index.methods[method.selectedIndex] ?? "").replaceAll("_", " ");
  index.score = scores.find((one) => one.label.startsWith(`${name}: `)) ?? scores[0] ?? null;
}
reverse.addEventListener("click", () => {
  press(reverse, !pressed(reverse));
  arrange().catch(sayFault);
});
find("#clear").addEventListener("click", () => {
  for (const control of [search, classes, show, least, most]) control.value = "";
  arrange().catch(sayFault);
  search.focus();
});
find("#page").addEventListener("change", () => turnPage(Number(find("#page").value || 1) - 1));
for (const [id, wanted] of [["first", () => 0], ["previous", () => page - 1], ["next", () => page + 1], ["last", () => Infinity]]) find(`#${id}-page`).addEventListener("click", () => turnPage(wanted()));
find("#previous").addEventListener("click", () => openItem(current - 1));
find("#next").addEventListener("click", () => openItem(current + 1));
find("#close").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => makeCurrent(current, true));

// ---- the start
const option = (value, text) => make("option", { value }, text);
const counted = (name, count) => `${name} (${count.toLocaleString("en")})`;
function countsOf(values, labels) {
  const counts = new Uint32Array(labels.length);
  for (const one of values) if (one >= 0) counts[one]++;
  return counts;
}

load("index").then((content) => {
  index = content;
  colors = index.colors;
  index.status = bytes(index.status);
  index.classes = new Int32Array(bytes(index.classes).buffer);
  for (const one of index.numbers) one.values = new Float32Array(bytes(one.values).buffer);
  for (const one of index.facts) one.values = bytes(one.values);
  gallery.classList.toggle("many", index.many);
  setSigns(index.signed);
  for (const select of findAll("select.method")) {
    select.append(...index.methods.map((name, i) => option(i, name)));
  }
  for (const one of [...besides, find("#beside-key")]) one.hidden = index.methods.length < 2;
  press(cardsBeside, index.beside && index.methods.length > 1);
  useScore();
  const classCounts = countsOf(index.classes, index.headings);
  classes.append(...index.headings.map((name, i) => option(i, counted(name, classCounts[i]))));
  classes.parentElement.hidden = index.headings.length < 2;
  if (index.statuses.length > 1) countsOf(index.status, index.statuses).forEach((count, i) => {
    show.append(option(`status:${i}`, counted(index.statuses[i], count)));
    find(".summary").append(make("div", {}, make("dt", {}, index.statuses[i]), make("dd", {}, count.toLocaleString("en"))));
  });
  show.append(...index.facts.map((one, i) => option(`fact:${i}`, counted(one.label, one.values.reduce((sum, value) => sum + value, 0)))));
  show.parentElement.hidden = show.options.length < 2;
  index.numbers.forEach((one, i) => sort.append(option(i, one.label)));
  find(".toolbar").hidden = false;
  find("#keys").hidden = false;
  return arrange();
}).then(() => {
  const wanted = Number(/^#item-(\d+)$/.exec(location.hash)?.[1] ?? NaN); // the position of an item to open
  if (!(wanted < index.count)) return;
  press(viewerBeside, pressed(cardsBeside));
  openItem(wanted);
}).catch(sayFault);
