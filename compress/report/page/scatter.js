"use strict";
// Quality over size: points with their intervals on a logarithmic axis, and the frontier of what no other run beats.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const { budget, panels } = JSON.parse(byId("data").textContent);  // budget: MB
  const NEAR = 28;  // pixels at which the pointer finds a point
  const SHAPES = [  // a model's, of about the same area
    (x, y) => ["circle", { cx: x, cy: y, r: 6 }],
    (x, y) => ["rect", { x: x - 5.5, y: y - 5.5, width: 11, height: 11 }],
    (x, y) => ["path", { d: `M${x} ${y - 7.5}L${x + 7} ${y + 5}H${x - 7}Z` }],
    (x, y) => ["path", { d: `M${x} ${y - 8}L${x + 8} ${y}L${x} ${y + 8}L${x - 8} ${y}Z` }],
    (x, y) => ["path", { d: `M${x} ${y + 7.5}L${x + 7} ${y - 5}H${x - 7}Z` }],
    (x, y) => ["path", { d: `M${x - 2.5} ${y - 7}h5v4.5h4.5v5h-4.5v4.5h-5v-4.5h-4.5v-5h4.5Z` }],
  ];

  function drawn(parent, kind, attributes, text) {
    const node = document.createElementNS(NS, kind);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  // Steps of 1, 2 or 5 times a power of ten, about `wanted` of them.
  function ticks(low, high, wanted) {
    const rough = (high - low) / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((times) => times * power >= rough);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number += 1)
      found.push([number * step, (number * step).toFixed(decimals).replace("-", "−")]);
    return found;
  }

  function logTicks(low, high, room) {
    for (const steps of [[1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8], [1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1)
        for (const step of steps) {
          const value = step * 10 ** power;
          if (value >= low && value <= high) found.push([value, String(Number(value.toPrecision(2)))]);
        }
      if (found.length * 52 <= room || steps.length === 1) return found;
    }
    return [];
  }

  // From the smallest on, each that is better than all before it.
  function frontier(points, lower) {
    const better = (one, other) => (lower ? one < other : one > other);
    const ordered = [...points].sort((a, b) => a.megabytes - b.megabytes || (better(a.value, b.value) ? -1 : 1));
    const found = [];
    for (const point of ordered)
      if (!found.length || better(point.value, found[found.length - 1].value)) found.push(point);
    return found;
  }

  function panel(figure, data) {
    const place = figure.querySelector(".plot");
    const chosen = figure.querySelector("select.score");
    let spots = [];

    function show(spot, x, y) {
      for (const other of spots) other.node.classList.toggle("lit", other === spot);
      if (!spot) return compress.untip();
      const title = document.createElement("b");
      title.textContent = spot.point.name;
      const lines = document.createElement("table");
      for (const [what, told] of [["model", spot.point.model], ...spot.point.told]) {
        const line = lines.insertRow();
        line.insertCell().textContent = what;
        line.insertCell().textContent = told;
      }
      compress.tip(x, y, title, lines);
    }

    function draw() {
      const score = data.scores[chosen.value];
      const points = score.points.filter((point) => compress.shows({ ...point, task: data.task }));
      figure.hidden = !data.scores.some(({ points: each }) =>
        each.some((point) => compress.shows({ ...point, task: data.task })));
      place.replaceChildren();
      spots = [];
      if (!points.length) {
        place.textContent = figure.hidden ? "" : "None of the runs that are shown has this score.";
        return;
      }
      const width = Math.max(280, place.clientWidth);
      const height = Math.round(Math.min(440, Math.max(300, width * 0.62)));
      const frame = { left: 52, right: width - 12, top: 14, bottom: height - 44 };
      const svg = drawn(place, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group" });
      svg.setAttribute("aria-label", `${score.label} over the size of the model file, ${points.length} runs`);

      const sizes = points.map((point) => point.megabytes);
      const beside = Math.max(1.35, (Math.max(...sizes) / Math.min(...sizes)) ** 0.12);
      const from = Math.log(Math.min(...sizes) / beside), to = Math.log(Math.max(...sizes) * beside);
      const ends = points.flatMap((point) => [point.value, point.low ?? point.value, point.high ?? point.value]);
      let bottom = Math.min(...ends), top = Math.max(...ends);
      const margin = (top - bottom || Math.abs(top) || 1) * 0.08;
      bottom -= margin;
      top += margin;
      const xOf = (size) => frame.left + (frame.right - frame.left) * (Math.log(size) - from) / (to - from);
      const yOf = (value) => frame.bottom - (frame.bottom - frame.top) * (value - bottom) / (top - bottom);

      for (const [value, label] of logTicks(Math.exp(from), Math.exp(to), frame.right - frame.left)) {
        drawn(svg, "line", { x1: xOf(value), x2: xOf(value), y1: frame.top, y2: frame.bottom, class: "gridline" });
        drawn(svg, "text", { x: xOf(value), y: frame.bottom + 17, "text-anchor": "middle" }, label);
      }
      for (const [value, label] of ticks(bottom, top, height / 60)) {
        drawn(svg, "line", { x1: frame.left, x2: frame.right, y1: yOf(value), y2: yOf(value), class: "gridline" });
        drawn(svg, "text", { x: frame.left - 7, y: yOf(value) + 4, "text-anchor": "end" }, label);
      }
      drawn(svg, "text", { x: (frame.left + frame.right) / 2, y: height - 6, "text-anchor": "middle" }, "model file, MB");
      const taken = [];  // boxes that names stay out of
      const crosses = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
      if (Math.log(budget) > from && Math.log(budget) < to) {
        const x = xOf(budget);
        drawn(svg, "line", { x1: x, x2: x, y1: frame.top, y2: frame.bottom, class: "budget" });
        const label = drawn(svg, "text", { x: x + 5, y: frame.top + 10, class: "budget-label" }, `${budget / 1000} GB`);
        const box = label.getBBox();
        taken.push({ x: box.x, y: box.y, w: box.width, h: box.height });
      }

      const best = frontier(points, score.lower);
      drawn(svg, "polyline", {
        points: best.map((point) => `${xOf(point.megabytes)},${yOf(point.value)}`).join(" "), class: "frontier",
      });
      best.slice(1).forEach((point, place) => {  // names stay off the line
        const from = [xOf(best[place].megabytes), yOf(best[place].value)];
        const to = [xOf(point.megabytes), yOf(point.value)];
        const steps = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / 5);
        for (let step = 0; step <= steps; step += 1) {
          const [x, y] = [0, 1].map((axis) => from[axis] + (to[axis] - from[axis]) * step / steps);
          taken.push({ x: x - 2, y: y - 2, w: 4, h: 4 });
        }
      });
      for (const point of points) {
        const x = xOf(point.megabytes), y = yOf(point.value);
        const model = data.models.indexOf(point.model) % SHAPES.length;
        const node = drawn(svg, "g", { class: `point m${model}`, tabindex: 0, role: "img" });
        node.setAttribute("aria-label", [point.name, ...point.told.map((pair) => pair.join(": "))].join("; "));
        if (point.low !== null)
          drawn(node, "path", {
            d: `M${x} ${yOf(point.low)}V${yOf(point.high)}M${x - 4} ${yOf(point.low)}h8M${x - 4} ${yOf(point.high)}h8`,
            class: "whisker", fill: "none",
          });
        const [kind, attributes] = SHAPES[model](x, y);
        drawn(node, kind, { ...attributes, class: "mark" });
        const spot = { point, node, x, y };
        spots.push(spot);
        taken.push({ x: x - 8, y: y - 8, w: 16, h: 16 });
        if (point.low !== null)
          taken.push({ x: x - 4, y: yOf(point.high), w: 8, h: yOf(point.low) - yOf(point.high) });
        node.addEventListener("focus", () => {
          const box = svg.getBoundingClientRect();
          show(spot, box.left + x, box.top + y);
        });
        node.addEventListener("blur", () => show(null));
      }
      // Names where there is room, those of the frontier first; the box beside the pointer tells the others.
      const order = [...spots].sort((a, b) => best.includes(b.point) - best.includes(a.point));
      for (const { point, x, y } of order) {
        const label = drawn(svg, "text", { class: "label" }, point.name + (point.misses ? " *" : ""));
        const w = label.getBBox().width;
        const free = [4, -8, 16, -20, 28].flatMap((down) => [[x + 11, y + down], [x - 11 - w, y + down]]).find(([left, base]) => {
          const box = { x: left - 2, y: base - 12, w: w + 4, h: 16 };
          return left >= frame.left && left + w <= frame.right && base - 12 >= frame.top && base + 4 <= frame.bottom &&
            !taken.some((other) => crosses(box, other)) && taken.push(box);
        });
        if (free) {
          label.setAttribute("x", free[0]);
          label.setAttribute("y", free[1]);
        } else label.remove();
      }
      legend(score, points);
    }

    function legend(score, points) {
      const place = figure.querySelector(".legend");
      const used = data.models.filter((model) => points.some((point) => point.model === model));
      place.replaceChildren(...used.map((model) => {
        const key = document.createElement("span");
        key.className = "key";
        const svg = drawn(key, "svg", { width: 18, height: 18, class: `m${data.models.indexOf(model) % SHAPES.length}` });
        const [kind, attributes] = SHAPES[data.models.indexOf(model) % SHAPES.length](9, 9);
        drawn(svg, kind, { ...attributes, class: "mark" });
        key.append(model);
        return key;
      }));
      const note = document.createElement("span");
      note.textContent = `${score.lower ? "Less" : "More"} is better; dashed: the frontier` +
        (points.some((point) => point.misses) ? "; *: misses its budget" : "") + ".";
      place.append(note);
    }

    place.addEventListener("pointermove", (event) => {
      const box = place.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      const near = spots.map((spot) => ({ spot, far: Math.hypot(spot.x - x, spot.y - y) }))
        .filter(({ far }) => far <= NEAR).sort((a, b) => a.far - b.far)[0];
      show(near ? near.spot : null, event.clientX, event.clientY);
    });
    place.addEventListener("pointerleave", () => show(null));
    chosen.addEventListener("change", draw);
    document.addEventListener("filtered", draw);
    let known = 0;
    new ResizeObserver(() => {
      if (place.clientWidth !== known) {
        known = place.clientWidth;
        draw();
      }
    }).observe(place);
  }

  for (const figure of all(".panel")) panel(figure, panels[Number(figure.dataset.panel)]);
})();
