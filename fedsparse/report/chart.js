// Scales, ticks and shapes of the plots. Everything is drawn into an <svg> that is as wide as its place.
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const make = (parent, tag, attributes = {}, text = null) => {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
};
const known = (value) => value !== null && Number.isFinite(value);
const trimmed = (value, digits) => String(Number(value.toPrecision(digits)));

// Amounts for people: 1.2 MB, 3 min 20 s, 1,500. As in fedsparse/units.py, with fewer digits on an axis.
const amount = (value, unit, digits = 3) => {
  if (!known(value)) return "–";
  if (value === 0) return "0";
  if (unit === "bytes") {
    const names = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let power = 0;
    while (Number(value.toPrecision(digits)) >= 1000 && power < names.length - 1) { value /= 1000; power += 1; }
    return `${trimmed(value, digits)} ${names[power]}`;
  }
  if (unit === "seconds") {
    if (value < 0.9995) return `${trimmed(value * 1e3, digits)} ms`;
    if (value < 119.5) return `${trimmed(value, digits)} s`;
    const steps = [[60, "min", 1, "s"], [3600, "h", 60, "min"], [86400, "d", 3600, "h"]];
    const [size, name, small, part] = steps[value < 3600 ? 0 : value < 86400 ? 1 : 2];
    const parts = Math.round(value / small), whole = Math.floor(parts * small / size), rest = parts - whole * size / small;
    return rest ? `${whole} ${name} ${rest} ${part}` : `${whole} ${name}`;
  }
  if (unit === "count") return Math.round(value).toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e5 ? trimmed(value, digits + 1) : value.toExponential(digits - 1);
};

// A step of 1, 2 or 5 times a power of ten; on a clock also 15 s, 1 min, 6 h.
const step = (span, count, unit) => {
  const rough = span / count;
  if (unit === "seconds" && rough > 10) {
    const found = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400].find((size) => size >= rough);
    if (found) return found;
  }
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((size) => size * power >= rough * 0.999) * power;
};

const scale = (low, high, from, to, log, unit, count) => {
  const bend = log ? Math.log10 : (value) => value;
  const span = bend(high) - bend(low) || 1;
  const at = (value) => from + (bend(value) - bend(low)) / span * (to - from);
  const ticks = [];
  if (log) {
    const decades = Math.log10(high / low);
    const sizes = decades < 1.2 ? [1, 2, 3, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
    const every = Math.max(1, Math.ceil(decades / count));
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += every) {
      for (const size of sizes) ticks.push(size * 10 ** power);
    }
  } else {
    const size = step(high - low || 1, count, unit);
    for (let place = Math.ceil(low / size - 1e-9); place * size <= high * (1 + 1e-9) + 1e-12; place += 1) ticks.push(place * size);
  }
  const inside = ticks.filter((value) => value >= low * (low > 0 ? 0.999 : 1.001) && value <= high * 1.001);
  const digits = log ? 1 : Math.max(2, Math.ceil(Math.log10(Math.max(Math.abs(low), Math.abs(high)) / (step(high - low || 1, count, unit)))) + 1);
  return { at, ticks: inside, text: (value) => amount(Math.abs(value) < 1e-12 * Math.abs(high) ? 0 : value, unit, Math.min(digits, 6)),
    invert: (pixel) => { const bent = bend(low) + (pixel - from) / (to - from) * span; return log ? 10 ** bent : bent; } };
};

// A path through points; it breaks where one is not known.
const path = (points) => points.map(([x, y], place) => !known(x) || !known(y) ? "" :
  `${place && known(points[place - 1][1]) && known(points[place - 1][0]) ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

const SHAPES = {
  circle: "M-3.6,0a3.6,3.6 0 1,0 7.2,0a3.6,3.6 0 1,0 -7.2,0Z",
  square: "M-3.3,-3.3H3.3V3.3H-3.3Z",
  triangle: "M0,-4.3L4.1,3.2H-4.1Z",
  diamond: "M0,-4.8L4.4,0L0,4.8L-4.4,0Z",
  cross: "M-4,-2.4L-2.4,-4L0,-1.6L2.4,-4L4,-2.4L1.6,0L4,2.4L2.4,4L0,1.6L-2.4,4L-4,2.4L-1.6,0Z",
  plus: "M-1.3,-4.2H1.3V-1.3H4.2V1.3H1.3V4.2H-1.3V1.3H-4.2V-1.3H-1.3Z",
  down: "M0,4.3L4.1,-3.2H-4.1Z",
};
const marker = (parent, look, x, y, hollow = false) => make(parent, "path", {
  d: SHAPES[look.marker], transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
  style: hollow ? `fill:var(--card);stroke:${look.colour};stroke-width:1.6` : `fill:${look.colour};stroke:var(--card);stroke-width:1`,
});

// The frame of a plot: grid, ticks whose texts do not meet, titles.
const frame = (svg, box, x, y, titles) => {
  for (const value of y ? y.ticks : []) {
    make(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y.at(value), y2: y.at(value) });
    make(svg, "text", { x: box.left - 8, y: y.at(value) + 4, "text-anchor": "end" }, y.text(value));
  }
  let free = -Infinity;
  for (const value of x.ticks) {
    make(svg, "line", { class: "grid", x1: x.at(value), x2: x.at(value), y1: box.top, y2: box.bottom });
    const text = x.text(value), half = text.length * 3.4;
    if (x.at(value) - half < free || x.at(value) + half > box.right + 14) continue;
    make(svg, "text", { x: x.at(value), y: box.bottom + 18, "text-anchor": "middle" }, text);
    free = x.at(value) + half + 8;
  }
  make(svg, "line", { class: "base", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
  make(svg, "text", { class: "name", x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" }, titles.x);
  if (titles.y) make(svg, "text", { class: "name", x: 2, y: box.top - 10 }, titles.y);
};
