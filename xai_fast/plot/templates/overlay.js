"use strict";
(() => {
  // ---- strength of the overlay
  const ranges = [...document.querySelectorAll(".strength-range")];
  let lastStrength = 100;

  function setStrength(percent) {
    document.documentElement.style.setProperty("--heat", String(percent / 100));
    for (const range of ranges) range.value = String(percent);
    if (percent > 0) lastStrength = percent;
  }

  for (const range of ranges) range.addEventListener("input", () => setStrength(Number(range.value)));
  const switchOverlay = () => setStrength(Number(ranges[0].value) > 0 ? 0 : lastStrength);

  document.addEventListener("keydown", (event) => {
    if (event.key !== "o" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input[type=search], input[type=number], select")) return;
    switchOverlay();
    event.preventDefault();
  });
})();
