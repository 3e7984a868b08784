// All methods of an item side by side, on the cards and in the viewer, each with a button of its own.
const besides = findAll(".beside");
const [cardsBeside, viewerBeside] = besides;
const shownIn = (button) => (pressed(button) ? -1 : method.selectedIndex); // no single method where all are side by side

// Each map is a button that shows it alone.
function mapsOf(item, entry, position, tabindex) {
  return index.methods.map((name, which) => {
    const picture = pictureOf();
    paint(picture, entry, which);
    const spent = index.numbers.find((one) => one.label === `${prefixOf(name)}evaluations`)?.values[item] ?? NaN;
    const told = !entry.layers[which] ? "no map" : spent === spent ? `${number(spent)} evaluation${spent === 1 ? "" : "s"}` : "";
    const marks = factsOf(item, which).filter((fact) => !concerns(fact.label, -1));
    const parts = name.split(/(?<=_)/).flatMap((part) => [part, make("wbr")]);
    const button = make("button", { type: "button", class: "open", tabindex }, picture,
      make("span", { class: "class" }, make("bdi", {}, ...parts)), make("span", { class: "spent" }, told),
      ...marks.map((fact) => make("span", { class: "mark", title: fact.text }, fact.label.slice(prefixOf(name).length))));
    button.addEventListener("click", () => showAlone(position(), which));
    return make("li", {}, button);
  });
}

function showMaps(item, entry) { // in the viewer
  const maps = find("#maps");
  const focused = [...maps.children].findIndex((one) => one.contains(document.activeElement));
  maps.hidden = !pressed(viewerBeside);
  maps.replaceChildren(...(pressed(viewerBeside) ? mapsOf(item, entry, () => current, 0) : []));
  maps.children[focused]?.firstChild.focus({ preventScroll: true });
}

function showAlone(position, which) {
  goTo(position, false);
  press(viewerBeside, false);
  method.value = which;
  method.dispatchEvent(new Event("change"));
  openItem(position);
  find("#viewer-title").focus();
}

// There are many maps, so only those of cards in sight are loaded.
const nearby = new IntersectionObserver((found) => {
  const inSight = new Set(found.filter((one) => one.isIntersecting).map((one) => one.target));
  for (const one of cards.filter(({ element }) => inSight.has(element))) {
    nearby.unobserve(one.element);
    fillCard(one).catch(sayFault);
  }
}, { rootMargin: "50%" });

function switchBeside(button) {
  press(button, !pressed(button));
  if (viewer.open) {
    openItem(current);
    return;
  }
  const held = gallery.contains(document.activeElement);
  turnTo(page, current);
  makeCurrent(current, held);
}
function showMethods() { // a method is chosen where one is shown
  for (const [i, select] of findAll("select.method").entries()) select.parentElement.hidden = index.methods.length < 2 || pressed(besides[i]);
}
for (const button of besides) button.addEventListener("click", () => switchBeside(button));
