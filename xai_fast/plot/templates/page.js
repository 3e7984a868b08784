"use strict";
const find = (selector, root = document) => root.querySelector(selector);
const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.max(low, Math.min(value, high));
const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1\u202f%" : `${share < 0.0995 ? (100 * share).toFixed(1) : Math.round(100 * share)}\u202f%`);
const pressed = (button) => button.getAttribute("aria-pressed") === "true";
const press = (button, wanted) => button.setAttribute("aria-pressed", String(Boolean(wanted)));
const plainKey = (event) => !event.ctrlKey && !event.metaKey && !event.altKey;

// ---- elements; all text is put on the page as text, never as HTML
function fillIn(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}
const make = (tag, attributes = {}, ...children) => fillIn(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fillIn(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const bdi = (text) => make("bdi", {}, text);
const bar = (share) => draw("svg", { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
  draw("rect", { width: (100 * clamp(share, 0, 1)).toFixed(1), height: 4 }));

// ---- data: scripts in the folder beside the page, as a page on a disk may load nothing else
const KEPT = 512; // scripts whose content is kept
const arrived = new Map();
const loading = new Map();
globalThis.xaiFast = (name, content) => arrived.set(name, content);

function load(name) {
  const known = loading.get(name) ?? new Promise((resolve, reject) => {
    const script = make("script", { src: `${document.documentElement.dataset.folder}/${name}.js` });
    script.addEventListener("load", () => {
      script.remove();
      const content = arrived.get(name);
      arrived.delete(name);
      if (content === undefined) reject(new Error(name));
      else resolve(content);
    });
    script.addEventListener("error", () => { script.remove(); reject(new Error(name)); });
    document.head.append(script);
  }).catch((error) => { loading.delete(name); throw error; });
  loading.delete(name); // the least recently used is forgotten first
  loading.set(name, known);
  while (loading.size > KEPT) loading.delete(loading.keys().next().value);
  return known;
}

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
function sayFault(error) {
  find("#fault").hidden = false;
  find("#fault").textContent = `The file ${document.documentElement.dataset.folder}/${error.message}.js beside this page cannot be loaded.`;
}

// ---- light and dark
find("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
