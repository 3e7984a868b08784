"use strict";
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const gallery = find("#gallery");
  const viewer = find("#viewer");
  const cards = [...gallery.children].map((element, index) => ({
    element,
    index,
    button: find(".open", element),
    values: JSON.parse(element.dataset.values),
    flags: JSON.parse(element.dataset.flags),
    text: element.dataset.search,
  }));
  let shown = cards;
  let current = 0; // position in `shown` of the card that has, or had last, the focus

  // Only one card is a tab stop; the arrow keys move it.
  function makeCurrent(position, focus) {
    if (!shown.length) return;
    current = Math.max(0, Math.min(position, shown.length - 1));
    for (const card of cards) card.button.tabIndex = -1;
    shown[current].button.tabIndex = 0;
    if (focus) {
      shown[current].button.focus();
      shown[current].element.scrollIntoView({ block: "nearest" });
    }
  }

  function columns() {
    const top = shown[0].element.offsetTop;
    const next = shown.findIndex((card) => card.element.offsetTop > top);
    return next < 0 ? shown.length : next;
  }

  // ---- search, filter, order
  const search = find("#search");
  const flag = find("#flag");
  const sort = find("#sort");
  const reverse = find("#reverse");

  function compare(a, b) {
    const direction = reverse.getAttribute("aria-pressed") === "true" ? -1 : 1;
    if (sort.value === "") return direction * (a.index - b.index);
    const [x, y] = [a.values[sort.value], b.values[sort.value]];
    if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
    return direction * (x - y) || a.index - b.index;
  }

  function arrange() {
    const kept = shown[current];
    const words = search.value.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (card) =>
      words.every((word) => card.text.includes(word)) && (flag.value === "" || card.flags.includes(Number(flag.value)));
    shown = cards.filter(matches).sort(compare);
    const hidden = new Set(cards);
    shown.forEach((card) => hidden.delete(card));
    hidden.forEach((card) => { card.element.hidden = true; });
    shown.forEach((card) => { card.element.hidden = false; });
    gallery.append(...shown.map((card) => card.element));
    find("#nothing").hidden = shown.length > 0;
    find("#count").textContent = shown.length === cards.length ? `${cards.length} shown` : `${shown.length} of ${cards.length} shown`;
    makeCurrent(Math.max(0, shown.indexOf(kept)), false);
  }

  search.addEventListener("input", arrange);
  flag.addEventListener("change", arrange);
  sort.addEventListener("change", arrange);
  reverse.addEventListener("click", () => {
    reverse.setAttribute("aria-pressed", String(reverse.getAttribute("aria-pressed") !== "true"));
    arrange();
  });
  find("#clear").addEventListener("click", () => {
    search.value = "";
    flag.value = "";
    arrange();
    search.focus();
  });

  // ---- one picture, large
  function show(position) {
    makeCurrent(position, false);
    const { element } = shown[current];
    for (const kind of [".photo", ".heat"]) find(kind, viewer).src = find(kind, element).src;
    find("#place").textContent = `${current + 1} of ${shown.length}`;
    const file = document.createElement("span");
    file.className = "file";
    file.append(find(".file bdi", element).cloneNode(true));
    find("#viewer-title").replaceChildren(find(".class bdi", element).cloneNode(true), file);
    find("#viewer-detail").replaceChildren(...[...find(".detail", element).children].map((child) => child.cloneNode(true)));
    // Not "disabled": a button that is disabled while it has the focus swallows the keys.
    find("#previous").setAttribute("aria-disabled", String(current === 0));
    find("#next").setAttribute("aria-disabled", String(current === shown.length - 1));
    if (!viewer.open) {
      viewer.showModal();
      find("#viewer-title").focus(); // an `autofocus` of the closed dialog would be the page's own while it loads
    }
  }

  cards.forEach((card) => card.button.addEventListener("click", () => show(shown.indexOf(card))));
  find("#previous").addEventListener("click", () => show(current - 1));
  find("#next").addEventListener("click", () => show(current + 1));
  find("#close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => makeCurrent(current, true));

  // ---- keys
  const moves = {
    ArrowLeft: () => current - 1,
    ArrowRight: () => current + 1,
    ArrowUp: () => (current - columns() < 0 ? current : current - columns()),
    ArrowDown: () => (current + columns() >= shown.length ? current : current + columns()),
    Home: () => 0,
    End: () => shown.length - 1,
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing && !viewer.open) {
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      arrange();
    } else if (!typing && shown.length && event.key in moves && (viewer.open || gallery.contains(event.target))) {
      if (viewer.open && (event.key === "ArrowUp" || event.key === "ArrowDown")) return; // these scroll the panel
      const position = Math.max(0, Math.min(moves[event.key](), shown.length - 1));
      if (viewer.open) show(position);
      else makeCurrent(position, true);
    } else {
      return;
    }
    event.preventDefault();
  });

  find(".toolbar").hidden = false;
  find("#keys").hidden = false;
  arrange();
})();
