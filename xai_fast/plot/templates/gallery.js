"use strict";
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const PAGE = 48; // cards: divisible by 2, 3, 4, 6 and 8 columns
  const KEPT = 512; // scripts whose content is kept
  const gallery = find("#gallery");
  const viewer = find("#viewer");
  const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });

  // ---- data: scripts in the folder beside the page, as a page on a disk may load nothing else
  const arrived = new Map();
  const loading = new Map();
  globalThis.xaiFast = (name, content) => arrived.set(name, content);

  function load(name) {
    if (!loading.has(name)) {
      loading.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `shards/${name}.js`;
        script.addEventListener("load", () => {
          script.remove();
          const content = arrived.get(name);
          arrived.delete(name);
          if (content === undefined) reject(new Error(name));
          else resolve(content);
        });
        script.addEventListener("error", () => { script.remove(); reject(new Error(name)); });
        document.head.append(script);
      }).catch((error) => { loading.delete(name); throw error; }));
    } else { // the least recently used is forgotten first
      const promise = loading.get(name);
      loading.delete(name);
      loading.set(name, promise);
    }
    while (loading.size > KEPT) loading.delete(loading.keys().next().value);
    return loading.get(name);
  }

  const chunkOf = (item) => String(Math.floor(item / index.chunk)).padStart(6, "0");
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const sayFault = (error) => {
    find("#fault").hidden = false;
    find("#fault").textContent = `The file shards/${error.message}.js beside this page cannot be loaded.`;
  };

  let index; // see xai_fast/jobs/gallery/page.py
  let shown = new Uint32Array(0);
  let names = null; // of all items in lower case, once somebody searches
  let page = 0;
  let current = 0; // position in `shown` of the card that has, or had last, the focus
  let turn = 0;
  let cards = [];

  // ---- which items, in which order
  const search = find("#search");
  const [least, most] = [find("#least"), find("#most")];
  const [classes, status, sort, reverse] = ["class", "status", "sort", "reverse"].map((id) => find(`#${id}`));
  const controls = [classes, status, sort, least, most];

  function matching(words) {
    const kept = new Uint32Array(index.count);
    const wanted = classes.value === "" ? null : Number(classes.value);
    const kind = status.value === "" ? null : Number(status.value);
    const score = index.score === null ? null : index.numbers[index.score].values;
    const low = least.value === "" ? -Infinity : Number(least.value);
    const high = most.value === "" ? Infinity : Number(most.value);
    const limited = score !== null && (low > -Infinity || high < Infinity);
    let length = 0;
    for (let item = 0; item < index.count; item++) {
      if (wanted !== null && index.classes.values[item] !== wanted) continue;
      if (kind !== null && index.status[item] !== kind) continue;
      if (limited && !(score[item] >= low && score[item] <= high)) continue;
      if (words.length && !words.every((word) => names[item].includes(word))) continue;
      kept[length++] = item;
    }
    return kept.subarray(0, length);
  }

  function order(items) {
    const direction = reverse.getAttribute("aria-pressed") === "true" ? -1 : 1;
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
      names = list.map((name) => name.normalize("NFC").toLowerCase());
    }
    shown = order(matching(words));
    find("#nothing").hidden = shown.length > 0;
    const all = index.count.toLocaleString("en");
    find("#count").textContent = shown.length === index.count ? `${all} shown` : `${shown.length.toLocaleString("en")} of ${all} shown`;
    turnTo(0);
  }

  // ---- one page of cards
  function turnTo(wanted, position = null) {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.max(0, Math.min(wanted, pages - 1));
    current = position === null ? page * PAGE : position;
    const items = shown.subarray(page * PAGE, (page + 1) * PAGE);
    cards = [...items].map(card);
    gallery.replaceChildren(...cards.map((one) => one.element));
    makeCurrent(current, false);
    find("#pager").hidden = pages === 1;
    find("#page").value = String(page + 1);
    find("#page").max = String(pages);
    find("#pages").textContent = `of ${pages.toLocaleString("en")}`;
    for (const id of ["first-page", "previous-page"]) find(`#${id}`).setAttribute("aria-disabled", String(page === 0));
    for (const id of ["last-page", "next-page"]) find(`#${id}`).setAttribute("aria-disabled", String(page === pages - 1));
    fill(++turn);
  }

  function card(item) {
    const element = find("#card").content.firstElementChild.cloneNode(true);
    const score = index.score === null ? NaN : index.numbers[index.score].values[item];
    const state = index.status[item];
    find(".class bdi", element).textContent = classOf(item);
    find(".value", element).textContent = score === score ? number(score) : "";
    find(".bar rect", element).setAttribute("width", score >= 0 && score <= 1 && index.share ? (100 * score).toFixed(1) : "0");
    find(".bar", element).toggleAttribute("hidden", !index.share);
    find(".file bdi", element).textContent = index.range ? String(index.first + item) : "\u00a0";
    if (state !== index.ok) {
      element.classList.add("without");
      find(".marks", element).append(mark(index.statuses[state]));
    }
    const button = find(".open", element);
    button.setAttribute("aria-label", `${classOf(item)}, item ${index.first + item}`);
    button.addEventListener("click", () => show(page * PAGE + cards.findIndex((one) => one.element === element)));
    return { item, element, button, entry: null };
  }

  const classOf = (item) => (index.classes === null || index.classes.values[item] === index.classes.none ? "" : index.classes.names[index.classes.values[item]]);

  function mark(text) {
    const made = document.createElement("span");
    made.className = "mark";
    made.textContent = text;
    return made;
  }

  function draw(place, entry) {
    const picture = find(".picture", place);
    picture.classList.toggle("small", entry.small);
    picture.classList.toggle("drawn", entry.drawn);
    for (const [kind, type] of [["photo", "jpeg"], ["heat", "png"]]) {
      const image = find(`.${kind}`, picture);
      if (entry[kind]) image.src = `data:image/${type};base64,${entry[kind]}`;
      else image.removeAttribute("src");
    }
  }

  async function fill(which) {
    const wanted = cards;
    try {
      await Promise.all(wanted.map(async (one) => {
        const entry = (await load(chunkOf(one.item)))[one.item % index.chunk];
        one.entry = entry;
        draw(one.element, entry);
        find(".file bdi", one.element).textContent = entry.name;
        find(".file", one.element).title = entry.name;
        one.button.setAttribute("aria-label", [classOf(one.item), entry.name].filter(Boolean).join(", "));
        if (entry.error) find(".marks .mark", one.element)?.setAttribute("title", entry.error);
      }));
      gallery.dataset.page = String(page);
      // What is looked at next, most likely.
      if (which === turn) shown.subarray((page + 1) * PAGE, (page + 2) * PAGE).forEach((item) => { load(chunkOf(item)).catch(() => {}); });
    } catch (error) {
      sayFault(error);
    }
  }

  // ---- one item, large
  async function show(position) {
    goTo(position, false);
    const one = cards[current - page * PAGE];
    const here = current;
    if (!viewer.open) {
      viewer.showModal();
      find("#viewer-title").focus(); // an `autofocus` of the closed dialog would be the page's own while it loads
    }
    find("#place").textContent = `${(current + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`;
    // Not "disabled": a button that is disabled while it has the focus swallows the keys.
    find("#previous").setAttribute("aria-disabled", String(current === 0));
    find("#next").setAttribute("aria-disabled", String(current === shown.length - 1));
    try {
      const entry = (await load(chunkOf(one.item)))[one.item % index.chunk];
      if (here === current) detail(one.item, entry);
      if (index.large) {
        const [larger] = await load(`${chunkOf(one.item)}-large`);
        if (here === current && viewer.open) draw(find(".stage", viewer), larger);
      }
    } catch (error) {
      sayFault(error);
    }
  }

  function detail(item, entry) {
    draw(find(".stage", viewer), entry);
    find(".stage", viewer).classList.toggle("without", index.status[item] !== index.ok);
    const file = document.createElement("span");
    file.className = "file";
    file.append(document.createElement("bdi"));
    file.firstChild.textContent = entry.name;
    const heading = document.createElement("bdi");
    heading.textContent = classOf(item) || (index.status[item] === index.ok ? "Item" : index.statuses[index.status[item]]);
    find("#viewer-title").replaceChildren(heading, file);
    const facts = document.createElement("dl");
    facts.className = "facts";
    const rows = [["place in the job", (index.first + item).toLocaleString("en")], ["status", index.statuses[index.status[item]]]];
    for (const one of index.numbers) if (one.values[item] === one.values[item]) rows.push([one.label, number(one.values[item])]);
    for (const [label, value] of [...rows, ...entry.facts]) {
      const row = document.createElement("div");
      for (const [kind, text] of [["dt", label], ["dd", value]]) {
        const made = document.createElement(kind);
        made.textContent = text;
        row.append(made);
      }
      facts.append(row);
    }
    const reason = document.createElement("p");
    reason.className = "reason";
    reason.textContent = entry.error;
    find("#viewer-detail").replaceChildren(...(entry.error ? [reason] : []), facts);
  }

  // ---- places and keys; only one card is a tab stop, and the arrow keys move it
  function makeCurrent(position, focus) {
    if (!shown.length) return;
    current = Math.max(page * PAGE, Math.min(position, page * PAGE + cards.length - 1));
    for (const one of cards) one.button.tabIndex = -1;
    const one = cards[current - page * PAGE];
    one.button.tabIndex = 0;
    if (focus) {
      one.button.focus();
      one.element.scrollIntoView({ block: "nearest" });
    }
  }

  function goTo(position, focus) {
    const wanted = Math.max(0, Math.min(position, shown.length - 1));
    if (Math.floor(wanted / PAGE) !== page) turnTo(Math.floor(wanted / PAGE), wanted);
    makeCurrent(wanted, focus);
  }

  function columns() {
    const top = cards[0].element.offsetTop;
    const next = cards.findIndex((one) => one.element.offsetTop > top);
    return next < 0 ? cards.length : next;
  }

  function turnPage(wanted) {
    turnTo(wanted);
    if (viewer.open) show(current);
    else scrollTo({ top: find(".toolbar").offsetTop });
  }

  const moves = {
    ArrowLeft: () => current - 1,
    ArrowRight: () => current + 1,
    ArrowUp: () => (current - columns() < 0 ? current : current - columns()),
    ArrowDown: () => (current + columns() >= shown.length ? current : current + columns()),
    Home: () => (viewer.open ? 0 : page * PAGE),
    End: () => (viewer.open ? shown.length - 1 : page * PAGE + cards.length - 1),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !index) return;
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing && !viewer.open) {
      search.focus();
    } else if (event.key === "Escape" && event.target === search && search.value) {
      search.value = "";
      arrange().catch(sayFault);
    } else if (!typing && !viewer.open && (event.key === "n" || event.key === "p")) {
      turnPage(page + (event.key === "n" ? 1 : -1));
    } else if (!typing && shown.length && event.key in moves && (viewer.open || gallery.contains(event.target))) {
      if (viewer.open && (event.key === "ArrowUp" || event.key === "ArrowDown")) return; // these scroll the panel
      const position = moves[event.key]();
      if (viewer.open) show(position);
      else goTo(position, true);
    } else {
      return;
    }
    event.preventDefault();
  });

  let pause = 0;
  search.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => arrange().catch(sayFault), 60);
  });
  for (const control of controls) control.addEventListener("change", () => arrange().catch(sayFault));
  reverse.addEventListener("click", () => {
    reverse.setAttribute("aria-pressed", String(reverse.getAttribute("aria-pressed") !== "true"));
    arrange().catch(sayFault);
  });
  find("#clear").addEventListener("click", () => {
    for (const control of [search, ...controls]) control.value = "";
    arrange().catch(sayFault);
    search.focus();
  });
  find("#page").addEventListener("change", () => turnPage(Number(find("#page").value || 1) - 1));
  find("#first-page").addEventListener("click", () => turnPage(0));
  find("#previous-page").addEventListener("click", () => turnPage(page - 1));
  find("#next-page").addEventListener("click", () => turnPage(page + 1));
  find("#last-page").addEventListener("click", () => turnPage(Infinity));
  find("#previous").addEventListener("click", () => show(current - 1));
  find("#next").addEventListener("click", () => show(current + 1));
  find("#close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => makeCurrent(current, true));

  // ---- the start
  function option(select, value, text) {
    const made = document.createElement("option");
    made.value = String(value);
    made.textContent = text;
    select.append(made);
  }

  function choices(select, values, names, none) {
    const counts = new Uint32Array(names.length);
    for (const value of values) if (value !== none) counts[value]++;
    names.forEach((name, value) => { if (counts[value]) option(select, value, `${name} (${counts[value].toLocaleString("en")})`); });
  }

  load("index").then((content) => {
    index = content;
    index.status = bytes(index.status);
    choices(status, index.status, index.statuses, -1);
    if (index.classes !== null) {
      index.classes.values = new Uint16Array(bytes(index.classes.values).buffer);
      choices(classes, index.classes.values, index.classes.names, index.classes.none);
      classes.parentElement.hidden = false;
    }
    index.numbers.forEach((one, place) => {
      one.values = new Float32Array(bytes(one.values).buffer);
      option(sort, place, one.label);
    });
    find(".limits").hidden = index.score === null;
    find(".toolbar").hidden = false;
    find("#keys").hidden = false;
    return arrange();
  }).catch(sayFault);
})();
