// What a person can press, and the plots that follow.
"use strict";
const options = (select, entries, chosen, change) => {
  for (const entry of entries) {
    const node = document.createElement("option");
    node.value = entry.name;
    node.textContent = entry.label;
    node.selected = entry.name === chosen;
    select.append(node);
  }
  select.addEventListener("change", () => { change(select.value); refresh(); });
};

const refresh = () => {
  by("y-name").textContent = metricOf().label;
  by("x-name").textContent = axisOf().label;
  by("tip").hidden = true;
  draw();
  drawTarget();
  for (const button of by("legend").children) button.setAttribute("aria-pressed", String(!state.hidden.has(Number(button.dataset.place))));
  remember();
};

const legend = () => data.groups.forEach((group, place) => {
  const button = document.createElement("button"), style = styles[place];
  button.type = "button";
  button.dataset.place = place;
  const sample = make(button, "svg", { viewBox: "0 0 38 12", "aria-hidden": "true" });
  make(sample, "path", { d: "M1,6H37", style: `stroke:${style.colour};stroke-width:2.2;stroke-dasharray:${style.dash.map((n) => n * 1.6).join(" ")}` });
  marker(sample, style, 19, 6);
  button.append(group.label);
  button.addEventListener("click", () => { if (!state.hidden.delete(place)) state.hidden.add(place); refresh(); });
  by("legend").append(button);
});

const point = (event) => {
  if (!drawn) return;
  const { lines, x, box, svg, axis, guide } = drawn, bounds = svg.getBoundingClientRect();
  const pixel = Math.max(box.left, Math.min(box.right, event.clientX - bounds.left)), cost = x.invert(pixel), tip = by("tip");
  const said = lines.map(({ group, line }) => ({ group, found: line.filter(([spent]) => spent <= cost * (1 + 1e-9)).pop() })).filter(({ found }) => found);
  said.sort((a, b) => (metricOf().lower ? 1 : -1) * (a.found[1] - b.found[1]));
  guide.setAttribute("x1", pixel);
  guide.setAttribute("x2", pixel);
  guide.setAttribute("visibility", "visible");
  tip.replaceChildren(row(`within ${amount(cost, axis.unit || "count")}`, "", true),
    ...said.slice(0, 12).map(({ group, found }) => row(group.label, amount(found[1], "") + (known(found[2]) ? ` ± ${amount(found[2], "", 1)}` : ""))));
  tip.hidden = false;
  const left = pixel + 14 + tip.offsetWidth > bounds.width ? pixel - 14 - tip.offsetWidth : pixel + 14;
  tip.style.left = `${Math.max(0, left)}px`;
};
const row = (name, value, strong = false) => {
  const node = document.createElement("div");
  for (const text of [name, value]) {
    const part = document.createElement("span");
    part.append(strong ? Object.assign(document.createElement("b"), { textContent: text }) : text);
    node.append(part);
  }
  return node;
};
const leave = () => { by("tip").hidden = true; if (drawn) drawn.guide.setAttribute("visibility", "hidden"); };

const save = (name, kind, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
// The picture by itself: what the style sheet says is written into it, and a legend is set below.
const picture = () => {
  const copy = drawn.svg.cloneNode(true), real = [...drawn.svg.querySelectorAll("*")];
  [...copy.querySelectorAll("*")].forEach((node, place) => {
    const style = getComputedStyle(real[place]);
    for (const key of ["fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "font-size", "font-family", "visibility"]) {
      node.style.setProperty(key, style.getPropertyValue(key));
    }
  });
  const [, , width, height] = copy.getAttribute("viewBox").split(" ").map(Number), root = getComputedStyle(document.documentElement);
  shown().forEach(({ group, style, place }, n) => {
    const y = height + 14 + 20 * n, look = { ...style, colour: root.getPropertyValue(`--c${data.groups[place].look.colour}`).trim() };
    make(copy, "path", { d: `M58,${y}h38`, style: `stroke:${look.colour};stroke-width:2.2;stroke-dasharray:${look.dash.map((d) => d * 1.6).join(" ")}` });
    marker(copy, look, 77, y).style.stroke = "none";
    make(copy, "text", { x: 106, y: y + 4, style: `font:12px sans-serif;fill:${root.getPropertyValue("--ink")}` }, group.label);
  });
  const whole = height + 20 * shown().length + 10;
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("viewBox", `0 0 ${width} ${whole}`);
  copy.setAttribute("width", width);
  copy.setAttribute("height", whole);
  copy.style.height = "";
  copy.style.background = root.getPropertyValue("--card");
  return new XMLSerializer().serializeToString(copy);
};
const table = () => {
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`, lines = [["method", state.axis, state.metric, "half_interval"].join(",")];
  for (const { group, line } of drawn.lines) for (const [x, y, half] of line) lines.push([quoted(group.label), x, y, known(half) ? half : ""].join(","));
  return `${lines.join("\n")}\n`;
};

remembered();
options(by("metric"), data.metrics, state.metric, (value) => { state.metric = value; state.logy = null; });
options(by("axis"), data.axes, state.axis, (value) => { state.axis = value; state.logx = null; });
legend();
for (const flag of FLAGS) {
  if (state[flag] !== null) by(flag).checked = state[flag];
  by(flag).addEventListener("change", () => { state[flag] = by(flag).checked; refresh(); });
}
by("all").addEventListener("click", () => { state.hidden.clear(); refresh(); });
by("none").addEventListener("click", () => { state.hidden = new Set(data.groups.keys()); refresh(); });
by("save-svg").addEventListener("click", () => save(`${state.metric}-${state.axis}.svg`, "image/svg+xml", picture()));
by("save-csv").addEventListener("click", () => save(`${state.metric}-${state.axis}.csv`, "text/csv", table()));
by("chart").addEventListener("pointermove", point);
by("chart").addEventListener("pointerdown", point);
by("chart").addEventListener("pointerleave", leave);
addEventListener("resize", refresh);
addEventListener("hashchange", () => { remembered(); by("metric").value = state.metric; by("axis").value = state.axis; refresh(); });
refresh();
