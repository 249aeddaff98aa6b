// The page: what is chosen, what is drawn, and the address that remembers it.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const styles = data.groups.map((group) => ({ colour: `var(--c${group.look.colour})`, dash: data.dashes[group.look.dash],
  marker: data.markers[group.look.marker] }));
const FLAGS = ["logx", "logy", "bands", "seeds", "front"];
const state = { metric: data.metric, axis: data.axis, hidden: new Set(data.hidden), logx: null, logy: null, bands: true, seeds: false, front: false };

const remembered = () => {
  const said = new URLSearchParams(location.hash.slice(1));
  if (data.metrics.some((metric) => metric.name === said.get("y"))) state.metric = said.get("y");
  if (data.axes.some((axis) => axis.name === said.get("x"))) state.axis = said.get("x");
  if (said.has("hide")) state.hidden = new Set(said.get("hide").split(",").filter(Boolean).map(Number));
  for (const flag of FLAGS) if (said.has(flag)) state[flag] = said.get(flag) === "1";
};
const remember = () => {
  const said = new URLSearchParams({ y: state.metric, x: state.axis, hide: [...state.hidden].join(",") });
  for (const flag of FLAGS) if (state[flag] !== null) said.set(flag, state[flag] ? "1" : "0");
  history.replaceState(null, "", `#${said}`);
};

const axisOf = () => data.axes.find((axis) => axis.name === state.axis);
const metricOf = () => data.metrics.find((metric) => metric.name === state.metric);
const shown = () => data.groups.map((group, place) => ({ group, style: styles[place], place })).filter(({ place }) => !state.hidden.has(place));
const wide = (values, by) => { const found = values.filter((value) => known(value) && value > 0); return found.length && Math.max(...found) > by * Math.min(...found); };

const points = (group) => {
  const x = group.costs[state.axis] || [], found = group.metrics[state.metric] || { mean: [], half: [] };
  return x.map((cost, place) => [cost, found.mean[place], found.half[place]]).filter(([cost, mean]) => known(cost) && known(mean));
};

const ranges = (lines) => {
  const xs = lines.flatMap(({ line }) => line.map(([x]) => x)), ys = lines.flatMap(({ line }) => line.map(([, y]) => y));
  const ends = lines.map(({ line }) => line.length ? line[line.length - 1][0] : null);
  const logx = (state.logx ?? wide(ends, 30)) && xs.some((x) => x > 0);
  const logy = (state.logy ?? (metricOf().lower && wide(ys, 30))) && ys.some((y) => y > 0);
  const good = (values, log) => log ? values.filter((value) => value > 0) : values;
  const [gx, gy] = [good(xs, logx), good(ys, logy)];
  let [x0, x1] = gx.length ? [logx ? Math.min(...gx) : 0, Math.max(...gx)] : [0, 1];
  let [y0, y1] = gy.length ? [Math.min(...gy), Math.max(...gy)] : [0, 1];
  const room = logy ? 1 : 0.06 * (y1 - y0) || 0.06 * Math.abs(y1) || 0.5;
  if (logy) { y0 /= 1.4; y1 *= 1.4; } else { y0 -= room; y1 += room; }
  if (logx) { x0 /= 1.1; x1 *= 1.1; } else if (x1 === x0) x1 = x0 + 1;
  return { x0, x1, y0, y1, logx, logy };
};

// A page that is not shown yet, as in a frame that is opened later, has no width; what is drawn then only must make sense.
const LEAST = 240;
const widthOf = (svg) => Math.max(LEAST, svg.parentNode.clientWidth);

let drawn = null;
const draw = () => {
  const svg = by("chart"), width = widthOf(svg), height = Math.max(280, Math.min(460, width * 0.52));
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  const lines = shown().map((entry) => ({ ...entry, line: points(entry.group) }));
  const r = ranges(lines), axis = axisOf(), box = { left: 58, right: width - 12, top: 26, bottom: height - 48 };
  by("logx").checked = Boolean(r.logx);
  by("logy").checked = Boolean(r.logy);
  const x = scale(r.x0, r.x1, box.left, box.right, r.logx, axis.unit || "count", width < 500 ? 4 : 7);
  const y = scale(r.y0, r.y1, box.bottom, box.top, r.logy, "", 6);
  frame(svg, box, x, y, { x: axis.label, y: metricOf().label });
  const clip = make(make(svg, "clipPath", { id: "inside" }), "rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top });
  const inside = make(svg, "g", { "clip-path": `url(#${clip.parentNode.id})` });
  if (data.target !== null && state.metric === data.metric && data.target > r.y0 && data.target < r.y1) {
    make(inside, "line", { class: "mark", x1: box.left, x2: box.right, y1: y.at(data.target), y2: y.at(data.target) });
  }
  const at = ([cost, value]) => [r.logx && cost <= 0 ? NaN : x.at(cost), r.logy && value <= 0 ? NaN : y.at(value)];
  if (state.bands) for (const { line, style } of lines) band(inside, line, style, at, r);
  if (state.front) make(inside, "path", { class: "front", d: path(stairs(lines, r).map(at)) });
  if (state.seeds) for (const { group, style } of lines) for (const seed of group.seeds) {
    const xs = seed.costs[state.axis] || [], ys = seed.metrics[state.metric] || [];
    make(inside, "path", { class: "seed", d: path(xs.map((cost, place) => at([cost, ys[place] ?? NaN]))), style: `fill:none;stroke:${style.colour};stroke-width:1;stroke-opacity:.45` });
  }
  for (const { line, style, place, group } of lines) {
    make(inside, "path", { class: "line", "data-group": group.label, d: path(line.map(at)),
      style: `fill:none;stroke:${style.colour};stroke-width:2.2;stroke-linejoin:round;stroke-dasharray:${style.dash.map((n) => n * 1.6).join(" ")}` });
    const every = Math.max(1, Math.ceil(line.length / 7)), offset = place % every;
    line.forEach((point, n) => { if (n % every === offset || line.length === 1) { const [px, py] = at(point); if (known(px) && known(py)) marker(inside, style, px, py); } });
  }
  if (data.target !== null && state.metric === data.metric && data.target > r.y0 && data.target < r.y1) {
    make(svg, "text", { class: "halo", x: box.left + 8, y: y.at(data.target) - 6 }, `target ${amount(data.target, "")}`);
  }
  svg.setAttribute("aria-label", `${metricOf().label} against ${axis.label}, ${lines.length} methods: ` + lines.map(({ group, line }) =>
    `${group.label} ends at ${line.length ? amount(line[line.length - 1][1], "") : "nothing"}`).join(", "));
  drawn = { lines, x, y, box, svg, axis, guide: make(svg, "line", { class: "guide", y1: box.top, y2: box.bottom, visibility: "hidden" }) };
};

const band = (parent, line, style, at, r) => {
  const found = line.filter(([, , half]) => known(half));
  if (found.length < 2) return;
  const floor = (value) => r.logy && value <= 0 ? r.y0 : value;
  const edge = (sign) => found.map(([cost, mean, half]) => at([cost, floor(mean + sign * half)]));
  make(parent, "path", { class: "band", d: `${path([...edge(1), ...edge(-1).reverse()])}Z`, style: `fill:${style.colour};fill-opacity:.13;stroke:none` });
};

// The best mean so far over all that is shown.
const stairs = (lines, r) => {
  const sign = metricOf().lower ? -1 : 1, found = [];
  let best = -Infinity;
  for (const [cost, value] of lines.flatMap(({ line }) => line).sort((a, b) => a[0] - b[0])) {
    if (sign * value <= best) continue;
    if (found.length) found.push([cost, found[found.length - 1][1]]);
    best = sign * value;
    found.push([cost, value]);
  }
  if (found.length) found.push([r.x1, found[found.length - 1][1]]);
  return found;
};

const drawTarget = () => {
  const any = data.groups.some((group) => group.needed);
  by("needs").hidden = !any;
  if (!any) return;
  const axis = axisOf(), svg = by("target"), width = widthOf(svg), rows = shown().filter(({ group }) => group.needed && group.needed[state.axis]);
  by("needs-title").textContent = `What it took to reach ${data.targetText}: ${axis.label}`;
  const narrow = width < 560, left = narrow ? 12 : Math.min(220, 20 + 7.2 * Math.max(4, ...rows.map(({ group }) => group.label.length)));
  const tall = narrow ? 54 : 32, box = { left, right: width - 16, top: 8, bottom: 12 + tall * rows.length };
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${box.bottom + 48}`);
  svg.style.height = `${box.bottom + 48}px`;
  const all = rows.flatMap(({ group }) => [...group.needed[state.axis].reached, ...group.needed[state.axis].censored]).filter((v) => v > 0);
  if (!all.length) return;
  const log = wide(all, 8), low = Math.min(...all), high = Math.max(...all);
  const x = log ? scale(low / 1.3, high * 1.3, box.left, box.right, true, axis.unit || "count", narrow ? 4 : 7)
    : scale(0, high * 1.06, box.left, box.right, false, axis.unit || "count", narrow ? 4 : 7);
  frame(svg, box, x, null, { x: axis.label });
  rows.forEach(({ group, style }, row) => {
    const middle = box.top + tall * (row + (narrow ? 0.68 : 0.5)), { reached, censored, median } = group.needed[state.axis];
    make(svg, "text", { class: "name", x: narrow ? box.left : box.left - 12, y: narrow ? middle - 18 : middle + 4, "text-anchor": narrow ? "start" : "end" }, short(group.label, narrow ? 40 : 28));
    if (known(median) && median > 0) make(svg, "line", { x1: x.at(median), x2: x.at(median), y1: middle - 12, y2: middle + 12, style: `stroke:${style.colour};stroke-width:3;stroke-opacity:.45` });
    const spread = (place, count) => middle + (count > 1 ? (place / (count - 1) - 0.5) * Math.min(14, 4 * count) : 0);
    reached.forEach((value, place) => marker(svg, style, x.at(value), spread(place, reached.length)));
    censored.forEach((value, place) => {
      const from = x.at(value), y = spread(place, censored.length);
      make(svg, "path", { class: "censored", d: `M${from},${y}h16m-4,-3l4,3l-4,3`, style: `fill:none;stroke:${style.colour};stroke-width:1.6` });
      marker(svg, style, from, y, true);
    });
  });
  svg.setAttribute("aria-label", rows.map(({ group }) => `${group.label}: ${group.needed[state.axis].text}`).join("; "));
};
const short = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;
