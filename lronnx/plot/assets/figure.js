/* A figure, drawn from its JSON.

   Plotly draws axes and all marks of moderate number. Panels with thousands of marks are painted on a canvas, as such
   numbers of SVG elements take seconds; boxes and texts are SVG of our own, so that they are fitted to the room that
   there is. What hovering tells is found here, too, and shown as text: Plotly would take names for markup. */

const TABLE_ROWS = 200;
// So many marks of a panel at most are elements of their own.
const ELEMENTS = { Points: 800, Bars: 500, Ticks: 0, Line: 60, Steps: 60, Area: 60 };

const ARRAYS = ["x", "y", "low", "high", "weights"];

const unpack = (payload) => {
  const cache = payload.arrays.map(() => null);
  const array = (index) => (cache[index] ??= decoded(payload.arrays[index]));
  const column = (packed) => ({ ...packed, values: array(packed.array) });
  const hover = (packed) =>
    packed && {
      template: packed.template,
      columns: Object.fromEntries(Object.entries(packed.columns).map(([name, c]) => [name, column(c)])),
    };
  const colors = (packed) => {
    const { values, names } = column(packed);
    return (position) => toned(names[values[position]]);
  };
  for (const panel of payload.panels)
    for (const mark of panel.marks) {
      for (const name of ARRAYS) if (name in mark) mark[name] = array(mark[name]);
      for (const name of ["width", "height"])
        if (mark.kind === "Bars" || mark.kind === "Boxes") if (name in mark) mark[name] = array(mark[name]);
      for (const name of ["colors", "fills", "outlines", "inks"]) if (name in mark) mark[name] = colors(mark[name]);
      mark.hover = hover(mark.hover);
      mark.axis = mark.side === "right" ? panel.right : panel.y;
      mark.count = mark.kind === "Steps" ? mark.y.length : mark.x.length;
      mark.key = mark.group ? `group ${mark.group}` : mark.name ? `name ${mark.name}` : "";
    }
  if (payload.stops) payload.stops = { x: array(payload.stops.x), hover: hover(payload.stops.hover) };
  payload.table = payload.table.map(column);
  return payload;
};

class Chart {
  constructor(element) {
    this.element = element;
    this.stage = element.querySelector(".stage");
    this.data = null;
    this.hidden = new Set();
    this.stop = -1;
    this.place = -1;
    this.ranges = {};
    element.chart = this;
  }

  load() {
    if (this.data) return;
    this.data = unpack(JSON.parse(this.element.querySelector(".payload").textContent));
    this.title = this.data.title;
    this.empty = this.data.panels.every((panel) => panel.marks.every((mark) => mark.count === 0));
  }

  // What the figure is made of, around the plot itself.
  build() {
    const { data, stage } = this;
    stage.textContent = "";
    const label = [data.title, data.caption].filter(Boolean).join(". ");
    this.plot = make("div", { class: "plot" });
    this.canvas = make("canvas", { class: "paint", "aria-hidden": "true" });
    this.overlay = makeSvg("svg", { class: "overlay", "aria-hidden": "true" });
    this.tip = make("div", { class: "tip", hidden: true });
    this.strip = make("div", { class: "strip", hidden: data.pictures.length === 0 });
    this.board = make("div", { class: "board", role: "img", "aria-label": label }, this.plot, this.overlay);
    this.places = this.boxesInOrder();
    if (data.stops || this.places.length) {
      const steps = data.stops ? "ArrowLeft ArrowRight" : "ArrowUp ArrowDown ArrowLeft ArrowRight";
      this.board.setAttribute("role", "group");
      this.board.setAttribute("tabindex", "0");
      this.board.setAttribute("aria-keyshortcuts", `${steps} PageUp PageDown Home End`);
      this.board.addEventListener("keydown", (event) => this.pressed(event));
    }
    if (this.places.length) this.board.addEventListener("blur", () => this.left());
    this.readout = make("p", { class: "readout", "aria-live": "polite" });
    this.tools = this.toolbar();
    this.legend = this.legendOf();
    this.port = make("div", { class: "port" }, this.strip, this.board);
    if (data.width) this.port.classList.add("wide");
    stage.append(this.port, this.tip, make("div", { class: "below" }, this.legend, this.tools));
    if (data.stops?.x.length) {
      const count = data.stops.x.length;
      this.readout.append(`Point at the figure, or step through ${counted(count)} ${count === 1 ? "place" : "places"} with ← and →.`);
      this.readout.classList.add("hint");
      stage.append(this.readout);
    } else if (this.places.length) {
      const count = this.places.length;
      this.readout.append(`Point at a box, or step through ${count} ${count === 1 ? "box" : "boxes"} with ↑ and ↓.`);
      this.readout.classList.add("hint");
      stage.append(this.readout);
    }
    this.pictures();
    if (Object.keys(data.table).length && !this.element.querySelector(".data")) this.disclosure();
    const board = this.board;
    board.addEventListener("pointermove", (event) => this.moved(event));
    board.addEventListener("pointerleave", () => this.left());
    board.addEventListener("click", (event) => this.clicked(event));
    // Touches scroll the page: Plotly never sees them. A tap comes as a mouse move, which tells what is there.
    for (const type of ["touchstart", "touchmove", "touchend"])
      board.addEventListener(type, (event) => event.stopPropagation(), { capture: true, passive: true });
  }

  draw() {
    this.load();
    if (!this.plot) {
      this.build();
      charts.add(this);
      this.stage.style.minHeight = "";
      this.stage.classList.add("drawn");
    }
    this.outer = this.stage.clientWidth;
    this.arrange();
    // What is wider than the page is scrolled in a window of its own, whose bars are in reach.
    const panned = this.width > this.outer;
    this.port.classList.toggle("panned", panned);
    if (panned) this.port.setAttribute("tabindex", "0");
    else this.port.removeAttribute("tabindex");
    this.board.style.width = this.data.width ? `${this.width}px` : "";
    const settings = {
      displayModeBar: false,
      responsive: false,
      scrollZoom: false,
      doubleClick: false,
      showTips: false,
      staticPlot: Boolean(this.data.width) || matchMedia("(pointer: coarse)").matches,
    };
    const traces = this.traces();
    let done = Plotly.react(this.plot, traces, this.layout(), settings);
    // Turned names of ticks take room below, which panels do not lose.
    const grown = this.height - this.bottom - this.plot._fullLayout._size.h;
    if (grown > 1) {
      this.bottom += grown;
      this.height += grown;
      done = Plotly.react(this.plot, traces, this.layout(), settings);
    }
    const built = !this.listening;
    if (built) {
      this.listening = true;
      const above = this.plot.querySelectorAll(".main-svg")[1];
      above.parentNode.insertBefore(this.canvas, above);
      this.plot.on("plotly_afterplot", () => this.over());
      this.plot.on("plotly_relayouting", () => this.over());
      this.plot.on("plotly_relayout", () => this.relaid());
      this.plot.on("plotly_doubleclick", () => this.reset());
    }
    this.over();
    if (built && panned) this.begin();
    return done;
  }

  /* Of a figure that is scrolled, the first box is seen first. */
  begin() {
    const first = this.data.panels[0]?.marks.find((mark) => mark.kind === "Boxes" && mark.count);
    if (first && this.scale) this.port.scrollLeft = this.scale.x(first.x[0]) - this.port.clientWidth / 2;
  }

  free() {
    if (!this.plot) return;
    Plotly.purge(this.plot);
    this.stage.style.minHeight = `${this.stage.offsetHeight}px`;
    this.stage.classList.remove("drawn");
    this.stage.textContent = "";
    this.plot = null;
    this.listening = false;
    this.data = null;
    this.ranges = {};
    charts.delete(this);
  }

  recolour() {
    if (!this.plot) return;
    this.draw();
    this.relabel();
  }

  // ------------------------------------------------------------ geometry

  arrange() {
    const { data } = this;
    const panels = data.panels;
    this.font = `12px ${FONT}`;
    this.perPoint = 1.5;
    if (data.width) {
      // The smallest of the texts, whose sizes are in points, is still read.
      const sizes = panels.flatMap((panel) => panel.marks.filter((mark) => mark.texts).map((mark) => mark.size));
      this.perPoint = clamp(12 / Math.min(...sizes, 8), 1, 2.5);
      this.width = Math.round(data.width * 72 * this.perPoint);
    } else this.width = this.outer;
    const width = this.width;
    const narrow = width < 560;
    this.narrow = narrow;
    this.heads = panels.map((panel, i) => {
      const [left, right] = [panel.y, panel.right].map((axis) => (axis && !axis.hidden ? axis.label : ""));
      const room = left && right ? width / 2 - 8 : width - 4;
      const head = {
        title: wrapped(panel.title, width - 4, `600 13px ${FONT}`, 2),
        left: wrapped(left, room, this.font, 2),
        right: wrapped(right, room, this.font, 2),
      };
      const labels = Math.max(head.left.length, head.right.length);
      const lines = head.title.length * 18 + labels * 16;
      const above = i ? 22 : 10;
      return { ...head, labels, height: lines ? lines + above : panel.y.hidden && !i ? 0 : 12 };
    });
    const limit = width * (narrow ? 0.28 : 0.3);
    // The names at an axis' ticks as they are shown.
    for (const axis of [data.x, ...panels.flatMap((panel) => [panel.y, panel.right])])
      if (axis?.ticks) {
        const names = distinguished(axis.ticks.map(([, text]) => text), limit, this.font);
        axis.shown = axis.ticks.map(([at], i) => [at, names[i]]);
      }
    const wide = (axis) =>
      axis && !axis.hidden && axis.ticks
        ? Math.max(0, ...axis.shown.map(([, text]) => measured(text, this.font))) + 12
        : 0;
    const rights = panels.some((panel) => panel.right && !panel.right.hidden);
    const bare = !rights && data.x.hidden && panels.every((panel) => panel.y.hidden);
    this.left_ = bare ? 0 : Math.ceil(Math.max(32, ...panels.map((panel) => wide(panel.y))));
    this.right_ = bare ? 0 : rights ? Math.ceil(Math.max(32, ...panels.map((panel) => wide(panel.right)))) : 16;
    const middle = (this.left_ + width - this.right_) / 2;
    const room = 2 * Math.min(middle, width - middle) - 4;
    this.label = wrapped(data.x.hidden ? "" : data.x.label, room, this.font, 3);
    this.bottom = bare ? 0 : data.x.hidden ? 8 : 28 + this.label.length * 16;

    const shares = panels.map((panel) => Math.max(panel.height, 1e-6));
    const total = shares.reduce((a, b) => a + b, 0) || 1;
    this.shares = shares.map((share) => share / total);
    if (data.width) {
      this.height = Math.round(width * data.aspect);
      return;
    }
    const fixed = this.heads.reduce((sum, head) => sum + head.height, 0) + this.bottom;
    let height = clamp(width * data.aspect, 220, 900);
    height = Math.max(height, fixed + (narrow ? 100 : 90) * panels.length);
    // Each named row of an axis needs room for its name.
    panels.forEach((panel, i) => {
      const rows = panel.y.ticks && !panel.y.hidden ? Math.min(panel.y.ticks.length, 250) : 0;
      height = Math.max(height, fixed + (rows * 16) / this.shares[i]);
    });
    this.height = Math.round(Math.min(height, 6000));
  }

  axisLayout(name, axis, most, extra) {
    const range = this.ranges[name] || exponents(axis);
    let ticks = { tickmode: "auto", nticks: most };
    const own = axis.shown || (axis.log ? logTicks(...range, most) : null);
    if (own)
      ticks = { tickmode: "array", tickvals: own.map(([at]) => at), ticktext: own.map(([, text]) => harmless(text)) };
    return {
      type: axis.log ? "log" : "linear",
      range: [...range],
      autorange: false,
      visible: !axis.hidden,
      showgrid: !axis.ticks,
      gridcolor: variable("faint"),
      gridwidth: 1,
      zeroline: false,
      showline: false,
      ticks: "",
      tickfont: { size: 12, color: variable("muted") },
      exponentformat: "power",
      minexponent: 5,
      separatethousands: true,
      ...ticks,
      ...extra,
    };
  }

  layout() {
    const { data } = this;
    const inner = Math.max(this.height - this.bottom, 10);
    const room = Math.max(inner - this.heads.reduce((sum, head) => sum + head.height, 0), 10);
    const width = this.width - this.left_ - this.right_;
    const layout = {
      width: this.width,
      height: this.height,
      margin: { l: this.left_, r: this.right_, t: 0, b: this.bottom, pad: 0 },
      autosize: false,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: FONT, size: 12, color: variable("muted") },
      separators: ".\u2009",
      showlegend: false,
      hovermode: false,
      dragmode: "zoom",
      barmode: "overlay",
      shapes: [],
      xaxis: this.axisLayout("xaxis", data.x, Math.max(3, Math.floor(width / (this.narrow ? 56 : 84))), {
        anchor: `y${data.panels.length > 1 ? data.panels.length : ""}`,
        automargin: data.x.hidden ? false : "height",
        autotickangles: [0, -35, -90],
        ticklabelstandoff: 4,
        title: this.label.length
          ? {
              text: this.label.map(harmless).join("<br>"),
              font: { size: 12, color: variable("muted") },
              standoff: 10,
            }
          : { text: "" },
      }),
    };
    let top = 0;
    data.panels.forEach((panel, i) => {
      top += this.heads[i].height;
      const height = room * this.shares[i];
      const domain = [clamp(1 - (top + height) / inner, 0, 1), clamp(1 - top / inner, 0, 1)];
      top += height;
      const most = Math.max(3, Math.floor(height / 36));
      const left = this.axisName(i, "y");
      layout[left] = this.axisLayout(left, panel.y, most, {
        domain,
        anchor: "x",
        fixedrange: data.panels.length > 1,
        automargin: panel.y.hidden ? false : "width",
        ticklabelstandoff: 6,
      });
      if (panel.right) {
        const right = this.axisName(i, "right");
        layout[right] = this.axisLayout(right, panel.right, most, {
          domain,
          anchor: "x",
          side: "right",
          overlaying: this.axisOf(i, {}),
          showgrid: false,
          fixedrange: true,
          automargin: panel.right.hidden ? false : "width",
          ticklabelstandoff: 6,
        });
      }
      for (const x of panel.verticals)
        layout.shapes.push({
          type: "line",
          xref: "x",
          yref: `${this.axisOf(i, {})} domain`,
          x0: x,
          x1: x,
          y0: 0,
          y1: 1,
          layer: "below",
          line: { color: variable("muted"), width: 1, dash: "3px,3px" },
        });
    });
    return layout;
  }

  /* After a change of what is shown, logarithmic axes have the ticks that fit. */
  relaid() {
    const update = {};
    const layout = this.layout();
    for (const [name, axis] of this.axes())
      if (axis.log && !axis.ticks) {
        const before = this.plot.layout[name];
        for (const key of ["tickmode", "tickvals", "ticktext", "nticks"])
          if (JSON.stringify(before[key]) !== JSON.stringify(layout[name][key])) update[`${name}.${key}`] = layout[name][key];
      }
    if (Object.keys(update).length) Plotly.relayout(this.plot, update);
    else this.over();
  }

  /* Every axis by Plotly's name. */
  axes() {
    const found = [["xaxis", this.data.x]];
    this.data.panels.forEach((panel, i) => {
      found.push([this.axisName(i, "y"), panel.y]);
      if (panel.right) found.push([this.axisName(i, "right"), panel.right]);
    });
    return found;
  }

  // ------------------------------------------------------------ marks

  axisOf(panel, mark) {
    const { panels } = this.data;
    const number = mark.side === "right" ? panels.length + panel + 1 : panel + 1;
    return number > 1 ? `y${number}` : "y";
  }

  axisName(panel, side) {
    return this.axisOf(panel, { side }).replace("y", "yaxis");
  }

  visible(mark) {
    return !mark.key || !this.hidden.has(mark.key);
  }

  /* Whether a panel has too many marks to be elements. All of it is painted then, so that order is kept. */
  dense(panel) {
    if (this.data.width) return false;
    if (panel.dense === undefined) {
      const counts = {};
      for (const mark of panel.marks) {
        const single = mark.kind === "Points" || mark.kind === "Bars" || mark.kind === "Ticks";
        counts[mark.kind] = (counts[mark.kind] || 0) + (single ? mark.count : 1);
      }
      panel.dense = Object.entries(ELEMENTS).some(([kind, most]) => (counts[kind] || 0) > most);
    }
    return panel.dense;
  }

  traces() {
    const traces = [];
    this.data.panels.forEach((panel, i) => {
      // An axis without a trace would not be drawn.
      traces.push({ type: "scatter", x: [], y: [], xaxis: "x", yaxis: this.axisOf(i, {}), hoverinfo: "skip" });
      if (panel.right)
        traces.push({
          type: "scatter",
          x: [],
          y: [],
          xaxis: "x",
          yaxis: this.axisOf(i, { side: "right" }),
          hoverinfo: "skip",
        });
      for (const mark of panel.marks) {
        mark.trace = -1;
        if (this.dense(panel) || mark.count === 0 || (this.data.width && mark.kind === "Line")) continue;
        const trace = this.trace(mark);
        if (!trace) continue;
        mark.trace = traces.length;
        traces.push({
          ...trace,
          xaxis: "x",
          yaxis: this.axisOf(i, mark),
          visible: this.visible(mark),
          hoverinfo: "skip",
          showlegend: false,
          // Points at the very end of an axis are not cut in half.
          cliponaxis: mark.kind !== "Points",
        });
      }
    });
    return traces;
  }

  trace(mark) {
    const color = toned(mark.color);
    switch (mark.kind) {
      case "Line":
        return {
          type: "scatter",
          mode: mark.count === 1 ? "lines+markers" : "lines",
          x: mark.x,
          y: mark.y,
          opacity: mark.opacity,
          line: { color, width: mark.width, dash: DASHES[mark.dash || "solid"] },
          marker: { color, size: Math.max(mark.width * 2, 4) },
        };
      case "Steps": {
        const [x, y] = stairs(mark);
        return {
          type: "scatter",
          mode: "lines",
          x,
          y,
          opacity: mark.opacity,
          line: { color, width: mark.width, simplify: true },
        };
      }
      case "Area":
        return {
          type: "scatter",
          mode: "lines",
          x: [...mark.x, ...Array.from(mark.x).reverse()],
          y: [...lifted(mark.low, mark.axis), ...Array.from(lifted(mark.high, mark.axis)).reverse()],
          fill: "toself",
          fillcolor: color,
          opacity: mark.opacity,
          line: { width: mark.count === 1 ? 1 : 0, color },
        };
      case "Points":
        return {
          type: "scatter",
          mode: "markers",
          x: mark.x,
          y: mark.y,
          opacity: mark.opacity,
          marker: { color, size: symbolSize(mark), symbol: SYMBOLS[mark.symbol || "circle"], line: { width: 0 } },
          error_y:
            mark.low || mark.high
              ? {
                  type: "data",
                  symmetric: false,
                  array: Array.from(mark.y, (y, i) => Math.max((mark.high || mark.y)[i] - y, 0)),
                  arrayminus: Array.from(mark.y, (y, i) => Math.max(y - (mark.low || mark.y)[i], 0)),
                  color,
                  thickness: 1.5,
                  width: 3,
                }
              : { visible: false },
        };
      case "Bars": {
        const base = this.bases(mark);
        const length = Array.from(mark.high, (high, i) => high - base[i]);
        return {
          type: "bar",
          orientation: mark.horizontal ? "h" : "v",
          x: mark.horizontal ? length : mark.x,
          y: mark.horizontal ? mark.x : length,
          base: Array.from(base),
          width: Array.from(mark.width),
          opacity: mark.opacity,
          marker: {
            color: mark.colors ? Array.from(mark.x, (_, i) => mark.colors(i)) : color,
            line: { width: 0 },
          },
        };
      }
      default:
        return null;
    }
  }

  bases(mark) {
    return lifted(mark.low, mark.horizontal ? this.data.x : mark.axis);
  }

  // ------------------------------------------------------------ from data to pixels

  scales() {
    const full = this.plot._fullLayout;
    if (!full?._size) return null;
    const size = full._size;
    const scale = (axis, start, length, flip) => {
      const [from, to] = axis.range.map(Number);
      const factor = length / (to - from);
      const log = axis.type === "log";
      const pixel = (value) => {
        const at = ((log ? Math.log10(value) : value) - from) * factor;
        return flip ? start + length - at : start + at;
      };
      pixel.back = (position) => {
        const at = from + (flip ? start + length - position : position - start) / factor;
        return log ? 10 ** at : at;
      };
      pixel.start = start;
      pixel.end = start + length;
      return pixel;
    };
    const x = scale(full.xaxis, size.l + size.w * full.xaxis.domain[0], size.w, false);
    const panels = this.data.panels.map((panel, i) => {
      const axis = (side) => {
        const found = full[this.axisName(i, side)];
        const [low, high] = found.domain;
        return scale(found, size.t + size.h * (1 - high), size.h * (high - low), true);
      };
      return { y: axis("y"), right: panel.right ? axis("right") : null };
    });
    return { x, panels };
  }

  /* Everything that is not Plotly's: painted marks, boxes, texts, labels, pictures, cursor. */
  over() {
    if (!this.plot || !this.data) return;
    const scales = this.scales();
    if (!scales) return;
    this.scale = scales;
    this.paint(scales);
    this.overlaid(scales);
    this.placePictures(scales);
    this.zoomed = false;
    this.ranges = {};
    for (const [name, axis] of this.axes()) {
      const range = this.plot._fullLayout[name].range.map(Number);
      const first = exponents(axis);
      const span = Math.abs(first[1] - first[0]);
      if (range.some((value, i) => Math.abs(value - first[i]) > 1e-9 * span)) {
        this.ranges[name] = range;
        this.zoomed = true;
      }
    }
    const focused = document.activeElement;
    for (const button of this.tools.querySelectorAll(".when-zoomed")) button.hidden = !this.zoomed;
    if (focused?.hidden && this.tools.contains(focused)) this.tools.querySelector(".zoom-in").focus();
  }

  paint(scales) {
    const ratio = Math.max(window.devicePixelRatio || 1, 2);
    const [width, height] = [this.width, this.height];
    const canvas = this.canvas;
    const used = this.data.panels.some((panel) => this.dense(panel));
    canvas.hidden = !used;
    if (!used) return;
    const full = this.plot._fullLayout;
    canvas.width = Math.round(full.width * ratio);
    canvas.height = Math.round(full.height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    this.data.panels.forEach((panel, i) => {
      if (!this.dense(panel)) return;
      const { y } = scales.panels[i];
      for (const mark of panel.marks) {
        mark.painted = 0;
        if (!this.visible(mark) || mark.count === 0 || !PAINTERS[mark.kind]) continue;
        const room = mark.kind === "Points" ? mark.size : 0;
        context.save();
        context.beginPath();
        context.rect(
          scales.x.start - room,
          y.start - room,
          scales.x.end - scales.x.start + 2 * room,
          y.end - y.start + 2 * room,
        );
        context.clip();
        context.globalAlpha = mark.opacity ?? 1;
        context.setLineDash([]);
        context.strokeStyle = context.fillStyle = toned(mark.color);
        mark.painted = PAINTERS[mark.kind](context, mark, scales.x, scales.panels[i][mark.side], this);
        context.restore();
      }
    });
  }

  overlaid(scales) {
    const { overlay, data } = this;
    overlay.textContent = "";
    overlay.setAttribute("width", this.width);
    overlay.setAttribute("height", this.plot._fullLayout.height);
    const ink = variable("ink");
    const muted = variable("muted");
    const left = scales.x.start;
    const right = this.width - 4;
    data.panels.forEach((panel, i) => {
      const scale = scales.panels[i];
      const head = this.heads[i];
      let y = scale.y.start - 9 - (head.labels ? (head.labels - 1) * 16 : -2) - head.title.length * 18;
      if (!head.labels) y += 16;
      for (const line of head.title) {
        overlay.append(makeSvg("text", { class: "panel-title", x: 0, y, fill: ink }, line));
        y += 18;
      }
      for (const [lines, x, anchor] of [
        [head.left, 0, "start"],
        [head.right, right, "end"],
      ])
        lines.forEach((line, row) => {
          const attributes = { class: "axis-label", x, y: y + row * 16, fill: muted, "text-anchor": anchor };
          overlay.append(makeSvg("text", attributes, line));
        });
      if (this.empty)
        overlay.append(
          makeSvg(
            "text",
            {
              class: "axis-label",
              x: (left + scales.x.end) / 2,
              y: (scale.y.start + scale.y.end) / 2,
              fill: muted,
              "text-anchor": "middle",
            },
            "no data",
          ),
        );
      const clip = `clip-${data.name}-${i}`;
      const group = makeSvg("g", { "clip-path": `url(#${clip})` });
      overlay.append(
        makeSvg(
          "clipPath",
          { id: clip },
          makeSvg("rect", {
            x: left - 2,
            y: scale.y.start - 2,
            width: Math.max(scales.x.end - left + 4, 0),
            height: Math.max(scale.y.end - scale.y.start + 4, 0),
          }),
        ),
        group,
      );
      for (const mark of panel.marks) {
        if (this.data.width && mark.kind === "Line") this.line(group, mark, scales.x, scale[mark.side]);
        if (mark.arrow) this.arrow(group, mark, scales.x, scale[mark.side]);
        if (mark.kind === "Boxes") this.boxes(group, mark, scales.x, scale[mark.side]);
        if (mark.kind === "Texts") this.texts(this.data.width ? group : overlay, mark, scales.x, scale[mark.side]);
      }
    });
    this.mark = makeSvg("g", { class: "highlight" });
    this.cursor = makeSvg("line", { class: "cursor", stroke: variable("accent") });
    overlay.append(this.cursor, this.mark);
    this.placeCursor();
  }

  boxes(group, mark, x, y) {
    mark.painted = 0;
    for (let i = 0; i < mark.count; i++) {
      const [a, b] = [x(mark.x[i] - mark.width[i] / 2), x(mark.x[i] + mark.width[i] / 2)];
      const [c, d] = [y(mark.y[i] + mark.height[i] / 2), y(mark.y[i] - mark.height[i] / 2)];
      if (![a, b, c, d].every(Number.isFinite)) continue;
      const [left, top] = [Math.min(a, b), Math.min(c, d)];
      const [width, height] = [Math.max(Math.abs(b - a), 0.5), Math.max(Math.abs(d - c), 0.5)];
      const fill = mark.fills(i);
      group.append(
        makeSvg("rect", {
          class: "box",
          x: left,
          y: top,
          width,
          height,
          rx: Math.min(6, width / 4, height / 4),
          fill,
          stroke: mark.outlines(i),
          "stroke-width": height > 6 ? 1.5 : 0,
          "stroke-dasharray": SEGMENTS[mark.dash || "solid"].join(" ") || "none",
        }),
      );
      mark.painted += 1;
      const size = Math.max(12, mark.size * this.perPoint);
      const font = `${size}px ${FONT}`;
      const step = size * 1.25;
      const most = this.data.width ? Infinity : Math.max(Math.floor((height + 2) / step), 0);
      const lines = mark.texts[i].split("\n").slice(0, most);
      const middle = top + height / 2 - ((lines.length - 1) * step) / 2;
      const ink = mark.inks ? mark.inks(i) : variable("ink");
      lines.forEach((line, j) => {
        const attributes = { class: "box-text", x: left + width / 2, y: middle + j * step, fill: ink, "font-size": size };
        const room = width - 6;
        // Fonts differ in width: what is a little too long is set a little narrower.
        const needed = measured(line, font);
        const squeezed = needed > room && needed < room * 1.15;
        const text = squeezed ? line : fitted(line, room, font);
        if (squeezed) Object.assign(attributes, { textLength: room, lengthAdjust: "spacingAndGlyphs" });
        if (text.length > 1 || text === line) group.append(makeSvg("text", attributes, text));
      });
    }
  }

  /* A line of a figure with a scale of its own: such are no plots, and may be very high. */
  line(group, mark, x, y) {
    mark.painted = this.visible(mark) ? mark.count : 0;
    if (!mark.painted) return;
    const points = Array.from(mark.x, (at, i) => `${x(at).toFixed(1)},${y(mark.y[i]).toFixed(1)}`);
    group.append(
      makeSvg("polyline", {
        class: "line",
        points: points.join(" "),
        fill: "none",
        stroke: toned(mark.color),
        "stroke-width": mark.width,
        "stroke-dasharray": SEGMENTS[mark.dash || "solid"].join(" ") || "none",
        opacity: mark.opacity,
      }),
    );
  }

  /* An arrowhead at the end of a line, along its last stretch that has a direction. */
  arrow(group, mark, x, y) {
    if (!this.visible(mark) || mark.count < 2) return;
    const last = mark.count - 1;
    const [ax, ay] = [x(mark.x[last]), y(mark.y[last])];
    for (let i = last - 1; i >= 0; i--) {
      const [dx, dy] = [ax - x(mark.x[i]), ay - y(mark.y[i])];
      const length = Math.hypot(dx, dy);
      if (!(length > 1e-3)) continue;
      const [ux, uy] = [dx / length, dy / length];
      const [long, half] = [5 + 2 * mark.width, 2.5 + mark.width];
      const [bx, by] = [ax - ux * long, ay - uy * long];
      const corners = [ax, ay, bx - uy * half, by + ux * half, bx + uy * half, by - ux * half];
      group.append(makeSvg("polygon", { class: "arrow", points: corners.join(" "), fill: toned(mark.color) }));
      return;
    }
  }

  texts(group, mark, x, y) {
    mark.painted = 0;
    const size = Math.max(12, mark.size * this.perPoint);
    const font = `${size}px ${FONT}`;
    const opposite = { start: "end", end: "start", middle: "middle" };
    for (let i = 0; i < mark.count; i++) {
      const [px, py] = [x(mark.x[i]), y(mark.y[i])];
      // A text may reach into the margins, but its place has to be in view.
      if (!(px >= x.start - 1 && px <= x.end + 1 && py >= y.start - 1 && py <= y.end + 1)) continue;
      mark.painted += 1;
      const lines = mark.texts[i].split("\n");
      let anchor = mark.anchor || "start";
      const rooms = { start: this.width - px - 4, end: px - 4, middle: 2 * Math.min(px, this.width - px) };
      if (!this.data.width) {
        // Where there is no room on its side, a text stands on the other, if there is more.
        const needed = Math.max(...lines.map((line) => measured(line.slice(0, 400), font)));
        if (needed > rooms[anchor] && rooms[opposite[anchor]] > rooms[anchor]) anchor = opposite[anchor];
      }
      // A line at the same place is not touched.
      const at = this.data.width ? px : px + { start: 4, middle: 0, end: -4 }[anchor];
      lines.forEach((line, j) => {
        const attributes = { x: at, y: py + (j - (lines.length - 1) / 2) * size * 1.2, "text-anchor": anchor };
        const text = this.data.width ? line : fitted(line, Math.max(rooms[anchor], 40), font);
        group.append(makeSvg("text", { class: "label", fill: toned(mark.color), "font-size": size, ...attributes }, text));
      });
    }
  }

  // ------------------------------------------------------------ pictures

  pictures() {
    this.frames = this.data.pictures.map((picture) => {
      const image = make("img", { src: picture.source, alt: picture.label || "picture", draggable: "false" });
      if (picture.width <= 96) image.classList.add("pixels");
      const caption = make("span", { class: "picture-label" });
      caption.textContent = picture.label;
      const frame = make("div", { class: "picture", title: picture.label || false }, image, caption);
      this.strip.append(frame);
      return frame;
    });
    if (this.frames.length) {
      this.leaders = makeSvg("svg", { class: "leaders", "aria-hidden": "true" });
      this.strip.append(this.leaders);
    }
  }

  placePictures(scales) {
    const { pictures } = this.data;
    if (!pictures.length) return;
    let inside = pictures
      .map((picture, i) => ({ picture, i, at: scales.x(picture.x) }))
      .filter(({ at }) => at >= scales.x.start - 1 && at <= scales.x.end + 1)
      .sort((a, b) => a.at - b.at);
    // Of more than there is room for, every second or third: the size of a stamp tells nothing.
    const room = Math.max(Math.floor(this.width / 28), 2);
    const every = Math.ceil((inside.length - 1) / (room - 1));
    if (inside.length > room) inside = inside.filter((_, j) => j % every === 0);
    for (const frame of this.frames) frame.hidden = true;
    const count = Math.max(inside.length, 1);
    const gap = 6;
    const size = clamp(Math.floor(this.width / count) - gap, 14, this.narrow ? 64 : 88);
    const placed = inside.map(({ at }) => clamp(at - size / 2, 0, this.width - size));
    for (let i = 1; i < placed.length; i++) placed[i] = Math.max(placed[i], placed[i - 1] + size + gap);
    for (let i = placed.length - 1, limit = this.width - size; i >= 0; i--, limit = placed[i + 1] - size - gap)
      placed[i] = Math.min(placed[i], limit);
    const labels = size >= 40 && inside.some(({ picture }) => picture.label);
    let tallest = 0;
    inside.forEach(({ picture, i }, j) => {
      const frame = this.frames[i];
      frame.hidden = false;
      frame.style.left = `${placed[j]}px`;
      frame.style.width = `${size}px`;
      frame.classList.toggle("bare", !labels);
      const height = clamp((size * picture.height) / picture.width, 8, size * 1.6);
      frame.firstChild.style.height = `${height}px`;
      tallest = Math.max(tallest, height);
    });
    const height = tallest + (labels ? 20 : 0);
    const lead = 16;
    this.strip.style.height = `${height + lead}px`;
    this.leaders.textContent = "";
    this.leaders.setAttribute("width", this.width);
    this.leaders.setAttribute("height", lead);
    this.leaders.style.top = `${height}px`;
    inside.forEach(({ at }, j) => {
      // Straight down wherever the picture stands above its place.
      const from = clamp(at, placed[j] + 3, placed[j] + size - 3);
      const path = makeSvg("path", {
        d: `M${from} 1C${from} ${lead / 2} ${at} ${lead / 2} ${at} ${lead}`,
        stroke: variable("muted"),
      });
      this.leaders.append(path);
    });
  }

  // ------------------------------------------------------------ legend

  legendOf() {
    const entries = new Map();
    for (const panel of this.data.panels)
      for (const mark of panel.marks)
        if (mark.name && panel.legend && !entries.has(mark.key)) entries.set(mark.key, mark);
    this.entries = entries;
    const list = make("ul", { class: "legend", hidden: entries.size === 0, "aria-label": "Legend" });
    for (const [key, mark] of entries) {
      const name = make("span", { class: "legend-name" });
      name.textContent = mark.name;
      const button = make(
        "button",
        {
          type: "button",
          class: "entry",
          "aria-pressed": "true",
          title: "Click: show or hide. Double click: only this one.",
          onclick: () => this.toggle(key),
          ondblclick: () => this.only(key),
        },
        swatch(mark),
        name,
      );
      button.dataset.key = key;
      list.append(make("li", {}, button));
    }
    return list;
  }

  relabel() {
    for (const button of this.legend.querySelectorAll(".entry")) {
      const { key } = button.dataset;
      button.setAttribute("aria-pressed", String(!this.hidden.has(key)));
      button.replaceChild(swatch(this.entries.get(key)), button.firstChild);
    }
  }

  toggle(key) {
    if (this.hidden.has(key)) this.hidden.delete(key);
    else this.hidden.add(key);
    this.show();
  }

  only(key) {
    const others = [...this.entries.keys()].filter((other) => other !== key);
    if (others.every((other) => this.hidden.has(other))) this.hidden.clear();
    else this.hidden = new Set(others);
    this.hidden.delete(key);
    this.show();
  }

  show() {
    const traces = [];
    const visible = [];
    for (const panel of this.data.panels)
      for (const mark of panel.marks)
        if (mark.trace >= 0) {
          traces.push(mark.trace);
          visible.push(this.visible(mark));
        }
    if (traces.length) Plotly.restyle(this.plot, { visible }, traces);
    else this.over();
    this.relabel();
  }

  // ------------------------------------------------------------ zooming

  toolbar() {
    const button = (text, label, action, when = "") => {
      const made = make("button", { type: "button", class: `tool ${when}`, "aria-label": label, title: label });
      made.textContent = text;
      made.addEventListener("click", action);
      return made;
    };
    const zoom = make(
      "div",
      { class: "tool-group", role: "group", "aria-label": "Zoom" },
      button("−", "Zoom out", () => this.zoom(2), "when-zoomed"),
      button("+", "Zoom in", () => this.zoom(0.5), "zoom-in"),
      button("‹", "Earlier part", () => this.pan(-0.5), "when-zoomed"),
      button("›", "Later part", () => this.pan(0.5), "when-zoomed"),
      button("Reset", "Show all", () => this.reset(), "when-zoomed"),
    );
    const tools = make("div", { class: "tools" });
    if (!this.data.width) tools.append(zoom);
    if (this.data.stops && this.data.stops.x.length) {
      const steps = make(
        "div",
        { class: "tool-group", role: "group", "aria-label": "Step" },
        button("← Previous", "Previous", () => this.step(this.stop < 0 ? 0 : this.stop - 1)),
        button("Next →", "Next", () => this.step(this.stop + 1)),
      );
      tools.prepend(steps);
    }
    return tools;
  }

  shown() {
    return this.plot._fullLayout.xaxis.range.map(Number);
  }

  zoomTo([from, to]) {
    const [first, last] = exponents(this.data.x);
    const [low, high] = [Math.min(first, last), Math.max(first, last)];
    const span = Math.min(Math.abs(to - from), high - low);
    if (span < 1e-13 * Math.max(Math.abs(from), Math.abs(to))) return;
    const start = clamp(Math.min(from, to), low, high - span);
    const range = [start, start + span];
    if (last < first) range.reverse();
    Plotly.relayout(this.plot, { "xaxis.range": range });
  }

  zoom(factor) {
    const [from, to] = this.shown();
    let centre = (from + to) / 2;
    if (this.stop >= 0) {
      const x = this.data.stops.x[this.stop];
      const at = this.data.x.log ? Math.log10(x) : x;
      if (at >= Math.min(from, to) && at <= Math.max(from, to)) centre = at;
    }
    const half = ((to - from) / 2) * factor;
    this.zoomTo([centre - half, centre + half]);
  }

  pan(share) {
    const [from, to] = this.shown();
    const shift = (to - from) * share;
    this.zoomTo([from + shift, to + shift]);
  }

  reset() {
    const update = {};
    for (const [name, axis] of this.axes()) update[`${name}.range`] = exponents(axis);
    Plotly.relayout(this.plot, update);
  }

  // ------------------------------------------------------------ stepping

  pressed(event) {
    const { stops } = this.data;
    const count = stops ? stops.x.length : this.places.length;
    if (!count || event.altKey || event.ctrlKey || event.metaKey) return;
    const at = stops ? this.stop : this.place;
    const page = stops ? Math.max(Math.round(count / 100), 1) : 10;
    const before = at < 0 ? 0 : at - 1;
    const target = {
      ArrowLeft: before,
      ArrowRight: at + 1,
      ...(stops ? {} : { ArrowUp: before, ArrowDown: at + 1 }),
      PageUp: at - page,
      PageDown: at + page,
      Home: 0,
      End: count - 1,
    }[event.key];
    if (event.key === "Escape") this.left();
    if (target === undefined) return;
    event.preventDefault();
    if (stops) this.step(target);
    else this.stepBox(target);
  }

  /* The boxes of a figure with a scale of its own that tell something, from the top and from the left. */
  boxesInOrder() {
    if (!this.data.width || this.data.stops) return [];
    const found = [];
    this.data.panels.forEach((panel, i) => {
      for (const mark of panel.marks)
        if (mark.kind === "Boxes" && mark.hover)
          for (let position = 0; position < mark.count; position++) found.push({ panel: i, mark, position });
    });
    const order = (a, b) =>
      a.panel - b.panel || b.mark.y[b.position] - a.mark.y[a.position] || a.mark.x[a.position] - b.mark.x[b.position];
    return found.sort(order);
  }

  stepBox(target) {
    this.place = clamp(target, 0, this.places.length - 1);
    const { panel, mark, position } = this.places[this.place];
    const { x, panels } = this.scale;
    const rect = rectangle(mark, position, x, panels[panel][mark.side], this);
    const [left, top, width, height] = rect;
    // What is marked is brought into view, inside of what scrolls the figure and in the window, below its bar.
    const port = this.port.getBoundingClientRect();
    const across = this.plot.getBoundingClientRect().left + left - port.left;
    if (across < 0 || across + width > port.width) this.port.scrollLeft += across + width / 2 - port.width / 2;
    const down = this.plot.getBoundingClientRect().top + top - port.top;
    if (down < 0 || down + height > port.height) this.port.scrollTop += down + height / 2 - port.height / 2;
    const shown = this.plot.getBoundingClientRect().top + top;
    if (shown < 80 || shown + height > innerHeight - 20)
      window.scrollBy({ top: shown + height / 2 - innerHeight / 2, behavior: "instant" });
    const text = told(mark.hover, position, mark.x[position], mark.y[position]);
    this.tell({ mark, position, at: [left + width / 2, top], rect }, text);
    this.say(`${counted(this.place + 1)} of ${counted(this.places.length)}: ${text.replace(/\n/g, ", ")}`);
  }

  step(target) {
    const { x, hover } = this.data.stops;
    this.stop = clamp(target, 0, x.length - 1);
    this.tip.hidden = true;
    const at = this.data.x.log ? Math.log10(x[this.stop]) : x[this.stop];
    const [from, to] = this.shown();
    if (at < Math.min(from, to) || at > Math.max(from, to)) {
      const half = (to - from) / 2;
      this.zoomTo([at - half, at + half]);
    }
    this.placeCursor();
    const text = told(hover, this.stop, x[this.stop], NaN);
    this.say(`${counted(this.stop + 1)} of ${counted(x.length)}: ${text.replace(/\n/g, ", ")}`);
  }

  placeCursor() {
    if (!this.cursor) return;
    const { x, panels } = this.scale;
    const at = this.stop >= 0 && this.data.stops ? x(this.data.stops.x[this.stop]) : NaN;
    const inside = at >= x.start - 1 && at <= x.end + 1 && panels.length > 0;
    this.cursor.style.display = inside ? "" : "none";
    if (!inside) return;
    const points = { x1: at, x2: at, y1: panels[0].y.start, y2: panels[panels.length - 1].y.end };
    for (const [name, value] of Object.entries(points)) this.cursor.setAttribute(name, value);
  }

  say(text) {
    this.readout.textContent = text;
    this.readout.classList.remove("hint");
  }

  // ------------------------------------------------------------ hovering

  moved(event) {
    if (this.waiting) return;
    const { clientX, clientY } = event;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.plot) this.hover(clientX, clientY);
    });
  }

  left() {
    this.tip.hidden = true;
    if (this.mark) this.mark.textContent = "";
  }

  /* A click goes to the nearest stop. A tap is a click alone: it also tells what is there. */
  clicked({ clientX, clientY }) {
    if (!this.scale) return;
    const { stops } = this.data;
    const { x } = this.scale;
    const at = clientX - this.plot.getBoundingClientRect().left;
    const steps = stops?.x.length > 0 && at >= x.start - 2 && at <= x.end + 2;
    if (steps) this.step(nearest(stops.x, x.back(at)));
    this.hover(clientX, clientY, !steps);
  }

  hover(clientX, clientY, aloud = true) {
    if (!this.scale) return;
    // The board may be scrolled, which moves the plot inside.
    const box = this.plot.getBoundingClientRect();
    const [px, py] = [clientX - box.left, clientY - box.top];
    const found = this.find(px, py);
    this.mark.textContent = "";
    if (!found) {
      this.tip.hidden = true;
      return;
    }
    const { mark, position } = found;
    const x = mark.kind === "Steps" ? mark.x[position] : mark.kind === "Bars" && mark.horizontal ? mark.high[position] : mark.x[position];
    const y = mark.kind === "Ticks" ? mark.row : mark.kind === "Bars" ? (mark.horizontal ? mark.x : mark.high)[position] : mark.y[position];
    const text = told(mark.hover, position, x, y);
    this.tell(found, text);
    const place = this.places.findIndex((one) => one.mark === mark && one.position === position);
    if (place >= 0) this.place = place;
    if (aloud) this.say(text.replace(/\n/g, ", "));
  }

  /* Mark what was found, and tell about it beside it. */
  tell(found, text) {
    const { at } = found;
    const box = this.plot.getBoundingClientRect();
    this.mark.textContent = "";
    this.tip.textContent = text;
    this.tip.hidden = false;
    this.highlight(found);
    const width = this.tip.offsetWidth;
    const height = this.tip.offsetHeight;
    const stage = this.stage.getBoundingClientRect();
    const [left, top] = [at[0] + box.left - stage.left, at[1] + box.top - stage.top];
    const beside = left + 14 + width <= stage.width ? left + 14 : left - 14 - width;
    this.tip.style.left = `${clamp(beside, 0, Math.max(stage.width - width, 0))}px`;
    this.tip.style.top = `${Math.max(top - height - 10, -height / 2)}px`;
  }

  highlight({ mark, position, at, rect }) {
    const attributes = { fill: "none", stroke: variable("ink"), "stroke-width": 1.5 };
    if (rect) {
      const [left, top, width, height] = rect;
      const own = mark.kind === "Boxes";
      const gap = own ? 3 : 1;
      const place = { x: left - gap, y: top - gap, width: width + 2 * gap, height: height + 2 * gap };
      // Boxes have borders themselves: what marks one stands off it.
      const looks = own ? { stroke: variable("accent"), "stroke-width": 3, rx: 8 } : { rx: 3 };
      this.mark.append(makeSvg("rect", { ...attributes, ...place, ...looks }));
    } else if (mark.kind === "Ticks" || mark.kind === "Steps") {
      const [x1, y1, x2, y2] = found(mark, position, at, this);
      this.mark.append(makeSvg("line", { ...attributes, x1, y1, x2, y2, "stroke-width": 3, "stroke-linecap": "round" }));
    } else {
      this.mark.append(makeSvg("circle", { ...attributes, cx: at[0], cy: at[1], r: 6 }));
    }
  }

  /* The mark under, or next to, a place: points first, then lines, what has an area, and the step above or below. */
  find(px, py) {
    const { x, panels } = this.scale;
    if (px < x.start - 8 || px > x.end + 8) return null;
    const i = panels.findIndex(({ y }) => py >= y.start - 6 && py <= y.end + 6);
    if (i < 0) return null;
    let best = null;
    const offer = (rank, distance, candidate) => {
      if (!best || rank < best.rank || (rank === best.rank && distance <= best.distance))
        best = { rank, distance, ...candidate };
    };
    for (const mark of this.data.panels[i].marks) {
      if (!mark.hover || !mark.count || !this.visible(mark)) continue;
      const y = panels[i][mark.side];
      FINDERS[mark.kind]?.(mark, x, y, px, py, offer, this);
    }
    if (best) best.scale = { x, y: panels[i][best.mark.side] };
    return best;
  }

  // ------------------------------------------------------------ data

  disclosure() {
    const { table, name } = this.data;
    const rows = table.length ? table[0].values.length : 0;
    if (!table.length) return;
    const details = make("details", { class: "data" }, make("summary", {}, "Data"));
    details.addEventListener("toggle", () => {
      if (!details.open || details.childElementCount > 1) return;
      const shown = Math.min(rows, TABLE_ROWS);
      const note = shown < rows ? `The first ${shown} of ${counted(rows)} rows.` : `${counted(rows)} ${rows === 1 ? "row" : "rows"}.`;
      const save = make("button", { type: "button", class: "quiet save" }, "Save CSV");
      save.addEventListener("click", () => {
        const cell = (column, i) => {
          if (column.names) return column.names[column.values[i]];
          return Number.isFinite(column.values[i]) ? String(column.values[i]) : "";
        };
        const lines = Array.from({ length: rows }, (_, i) => table.map((column) => cell(column, i)));
        download(`${name}.csv`, csv([table.map((column) => column.name), ...lines]));
      });
      const head = make("tr");
      for (const column of table) {
        const cell = make("th", { scope: "col", class: column.names ? false : "number" });
        cell.textContent = column.name;
        head.append(cell);
      }
      const body = make("tbody");
      for (let i = 0; i < shown; i++) {
        const row = make("tr");
        for (const column of table) {
          const cell = make("td", { class: column.names ? false : "number" });
          cell.textContent = entry(column, i);
          row.append(cell);
        }
        body.append(row);
      }
      details.append(
        make("p", { class: "data-note" }, `${note} `, save),
        make(
          "div",
          { class: "scroll", tabindex: "0", role: "region", "aria-label": `Data of ${this.title}` },
          make("table", { class: "table" }, make("thead", {}, head), body),
        ),
      );
    });
    this.element.append(details);
  }
}
