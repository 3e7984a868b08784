"use strict";
// The numbers of a picture: what `_data` of interaction_report.py has written.
function readInteractions(text) {
  const data = JSON.parse(text);
  const bytes = Uint8Array.from(atob(data.values), (character) => character.charCodeAt(0));
  const numbers = new DataView(bytes.buffer);
  const n = data.rows.length * data.columns.length;
  const at = (i) => (data.kind === "sums" ? numbers.getInt16(2 * i, true) / 32767 : numbers.getUint16(2 * i, true) / 65535);
  const sum = (i, j) => at(i * n + j);
  // Relative to the square of the scale; mutual, so each pair counts once whoever carries x.
  const between = (i, j) => {
    if (i === j || data.order === 1) return 0;
    return data.kind === "sums" ? sum(i, j) ** 2 + sum(j, i) ** 2 : sum(i, j) ** 2;
  };
  let strongest = 0;
  for (let i = 0; i < n; i++) {
    if (data.order === 1) strongest = Math.max(strongest, at(i) ** 2);
    for (let j = 0; j < i; j++) strongest = Math.max(strongest, between(i, j));
  }
  const share = (i, j) => (strongest ? between(i, j) / strongest : 0);
  const partners = (cell) => {
    const all = [];
    for (let other = 0; other < n; other++) all.push({ cell: other, share: share(cell, other) });
    return all.filter((one) => one.share > 0).sort((a, b) => b.share - a.share || a.cell - b.cell);
  };
  const own = (cell) => (strongest ? at(cell) ** 2 / strongest : 0);
  return { ...data, n, sum, share, partners, own };
}
