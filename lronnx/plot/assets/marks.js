/* How marks are drawn where they are not Plotly's, and what is near a place. */

const DASHES = { solid: "solid", dashed: "6px,4px", dotted: "2px,3px" };
const SEGMENTS = { solid: [], dashed: [6, 4], dotted: [2, 3] };
const SYMBOLS = { circle: "circle", diamond: "diamond", square: "square", triangle: "triangle-up" };
// Plotly's triangle is so flat that a line through it hides half of it: larger, it covers as much as a circle.
const symbolSize = (mark) => mark.size * (mark.symbol === "triangle" ? 1.35 : 1);

/* The ends of an axis as Plotly has them: exponents where it is logarithmic. */
const exponents = (axis) => axis.range.map((value) => (axis.log ? Math.log10(value) : value));

/* On a logarithmic axis, which has no zero, what is not positive lies far below its end. */
const lifted = (values, axis) => {
  if (!axis?.log) return values;
  const end = Math.min(...axis.range) / 1e3;
  return Float64Array.from(values, (value) => (value > 0 ? value : end));
};

const stairs = (mark) => {
  const count = mark.y.length;
  const x = new Float64Array(2 * count);
  const y = new Float64Array(2 * count);
  for (let i = 0; i < count; i++) {
    x[2 * i] = mark.x[i];
    x[2 * i + 1] = mark.x[i + 1];
    y[2 * i] = y[2 * i + 1] = mark.y[i];
  }
  return [x, y];
};

const nearest = (sorted, value) => {
  let [low, high] = [0, sorted.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && Math.abs(sorted[low - 1] - value) <= Math.abs(sorted[low] - value) ? low - 1 : low;
};

const rectangle = (mark, position, x, y, chart) => {
  let ends;
  if (mark.kind === "Boxes") {
    const [w, h] = [mark.width[position] / 2, mark.height[position] / 2];
    ends = [x(mark.x[position] - w), x(mark.x[position] + w), y(mark.y[position] - h), y(mark.y[position] + h)];
  } else {
    const half = mark.width[position] / 2;
    const base = chart.bases(mark)[position];
    const [a, b] = [mark.x[position] - half, mark.x[position] + half];
    ends = mark.horizontal
      ? [x(base), x(mark.high[position]), y(a), y(b)]
      : [x(a), x(b), y(base), y(mark.high[position])];
  }
  const [a, b, c, d] = ends;
  return [Math.min(a, b), Math.min(c, d), Math.abs(b - a), Math.abs(d - c)];
};

const found = (mark, position, at, chart) => {
  const { x, panels } = chart.scale;
  const i = chart.data.panels.findIndex((panel) => panel.marks.includes(mark));
  const y = panels[i][mark.side];
  if (mark.kind === "Ticks") return [at[0], y(mark.row - 0.4), at[0], y(mark.row + 0.4)];
  const limit = (value) => clamp(value, x.start, x.end);
  return [limit(x(mark.x[position])), at[1], limit(x(mark.x[position + 1])), at[1]];
};

// ---------------------------------------------------------------- painters: each says how many marks it painted

const trail = (context, xs, ys, x, y) => {
  context.beginPath();
  let down = false;
  for (let i = 0; i < xs.length; i++) {
    const [px, py] = [x(xs[i]), y(ys[i])];
    const there = Number.isFinite(px) && Number.isFinite(py);
    if (there && down) context.lineTo(px, py);
    else if (there) context.moveTo(px, py);
    down = there;
  }
  context.stroke();
};

/* How many ticks, or how much of their weights, there is in every pixel of what is seen; null where most have a pixel
   to themselves. */
const crowded = (mark, x) => {
  const from = Math.floor(Math.min(x.start, x.end));
  const standing = new Float64Array(Math.max(Math.ceil(Math.abs(x.end - x.start)), 0) + 1);
  let [most, seen] = [0, 0];
  for (let i = 0; i < mark.count; i++) {
    const column = Math.floor(x(mark.x[i])) - from;
    if (!(column >= 0 && column < standing.length)) continue;
    standing[column] += mark.weights ? mark.weights[i] : 1;
    most = Math.max(most, standing[column]);
    seen += 1;
  }
  return seen > standing.length / 2 ? { from, standing, most } : null;
};

const PAINTERS = {
  Line(context, mark, x, y) {
    context.lineWidth = mark.width;
    context.lineJoin = "round";
    context.setLineDash(SEGMENTS[mark.dash || "solid"]);
    if (mark.count === 1) context.fillRect(x(mark.x[0]) - 2, y(mark.y[0]) - 2, 4, 4);
    trail(context, mark.x, mark.y, x, y);
    return mark.count;
  },
  Steps(context, mark, x, y) {
    context.lineWidth = mark.width;
    trail(context, ...stairs(mark), x, y);
    return mark.count;
  },
  Area(context, mark, x, y) {
    context.beginPath();
    const [low, high] = [lifted(mark.low, mark.axis), lifted(mark.high, mark.axis)];
    for (let i = 0; i < mark.count; i++) context.lineTo(x(mark.x[i]), y(low[i]));
    for (let i = mark.count - 1; i >= 0; i--) context.lineTo(x(mark.x[i]), y(high[i]));
    context.fill();
    return mark.count;
  },
  Points(context, mark, x, y) {
    const radius = mark.size / 2;
    const shape = OUTLINES[mark.symbol || "circle"];
    context.lineWidth = 1;
    for (let i = 0; i < mark.count; i++) {
      const [px, py] = [x(mark.x[i]), y(mark.y[i])];
      // The canvas shows symbols beyond the axes' ends: those at an end are whole, and those beyond are left out.
      if (!(px >= x.start - 1 && px <= x.end + 1)) continue;
      if (mark.low || mark.high) {
        const ends = [mark.low || mark.y, mark.high || mark.y].map((of) => clamp(y(of[i]), y.start, y.end));
        context.beginPath();
        context.moveTo(px, ends[0]);
        context.lineTo(px, ends[1]);
        context.stroke();
      }
      if (!(py >= y.start - 1 && py <= y.end + 1)) continue;
      context.beginPath();
      shape(context, px, py, radius);
      context.fill();
    }
    return mark.count;
  },
  Ticks(context, mark, x, y) {
    const [top, bottom] = [y(mark.row + 0.4), y(mark.row - 0.4)];
    const [start, height] = [Math.min(top, bottom), Math.abs(bottom - top)];
    const crowd = crowded(mark, x);
    if (crowd) {
      const { from, standing, most } = crowd;
      // One alone is the paler, the more stand elsewhere: otherwise a row would be solid, however unevenly they stand.
      const weakest = 1 - 0.75 * clamp((most - 1) / 6, 0, 1);
      const opacity = context.globalAlpha;
      standing.forEach((count, column) => {
        if (count === 0) return;
        const share = most > 1 ? clamp((count - 1) / (most - 1), 0, 1) : 1;
        context.globalAlpha = opacity * Math.min(count, 1) * (weakest + (1 - weakest) * share);
        context.fillRect(from + column, start, 1, height);
      });
      return mark.count;
    }
    for (let i = 0; i < mark.count; i++) {
      if (mark.weights) context.globalAlpha = mark.weights[i];
      context.fillRect(x(mark.x[i]) - 0.5, start, 1, height);
    }
    return mark.count;
  },
  Bars(context, mark, x, y, chart) {
    for (let i = 0; i < mark.count; i++) {
      const [left, top, width, height] = rectangle(mark, i, x, y, chart);
      if (mark.colors) context.fillStyle = mark.colors(i);
      context.fillRect(left, top, Math.max(width, 0.5), Math.max(height, 0.5));
    }
    return mark.count;
  },
};

const OUTLINES = {
  circle: (context, x, y, r) => context.arc(x, y, r, 0, 2 * Math.PI),
  square: (context, x, y, r) => context.rect(x - r, y - r, 2 * r, 2 * r),
  diamond: (context, x, y, r) => {
    context.moveTo(x, y - 1.3 * r);
    context.lineTo(x + 1.3 * r, y);
    context.lineTo(x, y + 1.3 * r);
    context.lineTo(x - 1.3 * r, y);
  },
  triangle: (context, x, y, r) => {
    context.moveTo(x, y - 1.2 * r);
    context.lineTo(x + 1.2 * r, y + r);
    context.lineTo(x - 1.2 * r, y + r);
  },
};

// ---------------------------------------------------------------- finders: what is near a place

const FINDERS = {
  Points(mark, x, y, px, py, offer) {
    for (let i = 0; i < mark.count; i++) {
      const [ax, ay] = [x(mark.x[i]), y(mark.y[i])];
      const distance = Math.hypot(ax - px, ay - py);
      if (distance <= 14 + mark.size / 2) offer(0, distance, { mark, position: i, at: [ax, ay] });
    }
  },
  Ticks(mark, x, y, px, py, offer) {
    const [a, b] = [y(mark.row - 0.5), y(mark.row + 0.5)];
    if (py < Math.min(a, b) || py > Math.max(a, b)) return;
    for (let i = 0; i < mark.count; i++) {
      const at = x(mark.x[i]);
      const distance = Math.abs(at - px);
      if (distance <= 12) offer(0, distance, { mark, position: i, at: [at, (a + b) / 2] });
    }
  },
  Line(mark, x, y, px, py, offer) {
    for (let i = 0; i < mark.count; i++) {
      const ax = x(mark.x[i]);
      if (Math.abs(ax - px) > 24) continue;
      const ay = y(mark.y[i]);
      const distance = Math.hypot(ax - px, ay - py);
      if (distance <= 24) offer(1, distance, { mark, position: i, at: [ax, ay] });
    }
  },
  Steps(mark, x, y, px, py, offer) {
    const value = x.back(px);
    const { x: edges, count } = mark;
    let [low, high] = [0, count - 1];
    if (value < edges[0] || value > edges[count]) return;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edges[middle] <= value) low = middle;
      else high = middle - 1;
    }
    const at = y(mark.y[low]);
    if (Number.isFinite(at)) offer(3, Math.abs(at - py), { mark, position: low, at: [px, at] });
  },
  Bars: inside,
  Boxes: inside,
};

function inside(mark, x, y, px, py, offer, chart) {
  for (let i = 0; i < mark.count; i++) {
    const rect = rectangle(mark, i, x, y, chart);
    const [left, top, width, height] = rect;
    const [dx, dy] = [Math.max(left - px, px - left - width, 0), Math.max(top - py, py - top - height, 0)];
    if (dx <= 2 && dy <= 4) offer(2, dx + dy, { mark, position: i, at: [left + width / 2, top], rect });
  }
}

// ---------------------------------------------------------------- legend swatches

const swatch = (mark) => {
  const color = toned(mark.color);
  const svg = makeSvg("svg", { class: "swatch", width: 22, height: 12, viewBox: "0 0 22 12", "aria-hidden": "true" });
  if (mark.kind === "Points") {
    const path = {
      circle: "M7 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
      square: "M7 2h8v8H7Z",
      diamond: "M11 1l5 5-5 5-5-5Z",
      triangle: "M11 1l5 9H6Z",
    }[mark.symbol || "circle"];
    svg.append(makeSvg("path", { d: path, fill: color }));
  } else if (mark.kind === "Ticks") {
    svg.append(makeSvg("path", { d: "M6 1v10M11 1v10M16 1v10", stroke: color, "stroke-width": 2 }));
  } else if (mark.kind === "Bars") {
    svg.append(makeSvg("rect", { x: 4, y: 1, width: 14, height: 10, rx: 2, fill: color }));
  } else {
    svg.append(
      makeSvg("line", {
        x1: 1,
        x2: 21,
        y1: 6,
        y2: 6,
        stroke: color,
        "stroke-width": Math.max(mark.width, 2),
        "stroke-dasharray": { dashed: "6 3", dotted: "2 2" }[mark.dash] || "none",
      }),
    );
  }
  return svg;
};
