"use strict";
/* Draws the figures of a page from their JSON and makes its tables, codes and theme work. No request is made.

   Plotly draws axes and all marks of moderate number. Panels with thousands of marks are painted on a canvas, as such
   numbers of SVG elements take seconds; boxes and texts are SVG of our own, so that they are fitted to the space that
   there is. What hovering tells is found here, too, and shown as text: Plotly would take names for markup. */
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif";
  const TABLE_ROWS = 200;
  // So many marks of a panel at most are elements of their own.
  // Pixels per inch of a figure that has a width of its own.
  const INCH = [98, 115];
  const ELEMENTS = { Points: 800, Bars: 500, Ticks: 0, Line: 60, Steps: 60, Area: 60 };

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const makeSvg = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // ---------------------------------------------------------------- theme

  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("lronnx-theme");
  } catch {
    // Some browsers keep nothing for files.
  }
  let printing = false;
  const isDark = () => !printing && (chosen === "light" || chosen === "dark" ? chosen === "dark" : dark.matches);
  const toned = (color) => (color ? color[isDark() ? 1 : 0] : "currentColor");
  const variable = (name) => {
    const tone = isDark() ? "dark" : "light";
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}-${tone}`).trim();
  };

  const applyTheme = () => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    const button = document.getElementById("theme");
    button.hidden = false;
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
    for (const chart of charts) chart.recolour();
  };

  // ---------------------------------------------------------------- data

  const TYPES = { f8: Float64Array, f4: Float32Array, i4: Int32Array, i2: Int16Array, u1: Uint8Array };

  const decoded = ([type, text]) => {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new TYPES[type](bytes.buffer);
  };

  /* Six significant digits, written as Python's format "g" does. */
  const written = (value) => {
    if (!Number.isFinite(value)) return "-";
    if (value === 0) return "0";
    const [mantissa, exponent] = value.toExponential(5).split("e");
    const power = Number(exponent);
    if (power < -4 || power >= 6) {
      const digits = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
      return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
    }
    const fixed = value.toFixed(5 - power);
    return fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed;
  };

  const entry = (column, position) => {
    const value = column.values[position];
    if (column.names) return column.names[value];
    return column.whole ? String(value) : written(value);
  };

  const told = (hover, position, x, y) =>
    hover.template.replace(/\{([^{}]*)\}/g, (whole, name) => {
      if (Object.hasOwn(hover.columns, name)) return entry(hover.columns[name], position);
      if (name === "x") return written(x);
      if (name === "y") return written(y);
      return whole;
    });

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
        mark.count = mark.kind === "Steps" ? mark.y.length : mark.x.length;
        mark.key = mark.group ? `group ${mark.group}` : mark.name ? `name ${mark.name}` : "";
      }
    if (payload.stops) payload.stops = { x: array(payload.stops.x), hover: hover(payload.stops.hover) };
    payload.table = payload.table.map(column);
    return payload;
  };

  // ---------------------------------------------------------------- texts that fit

  const ruler = document.createElement("canvas").getContext("2d");
  const measured = (text, font) => {
    ruler.font = font;
    return ruler.measureText(text).width;
  };
  const fitted = (text, width, font) => {
    const line = text.replace(/\s+/g, " ");
    if (line.length < 400 && measured(line, font) <= width) return line;
    let [low, high] = [0, Math.min(line.length, 400)];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (measured(`${line.slice(0, middle)}…`, font) <= width) low = middle;
      else high = middle - 1;
    }
    return low > 0 ? `${line.slice(0, low)}…` : "";
  };
  /* Plotly takes texts for HTML; as character references they stay texts. */
  const harmless = (text) =>
    text.replace(/[&<>$%{}]/g, (character) => `&#${character.charCodeAt(0)};`) || " ";

  // ---------------------------------------------------------------- a figure

  const DASHES = { solid: "solid", dashed: "6px,4px", dotted: "2px,3px" };
  const SEGMENTS = { solid: [], dashed: [6, 4], dotted: [2, 3] };
  const SYMBOLS = { circle: "circle", diamond: "diamond", square: "square", triangle: "triangle-up" };
  const charts = new Set();

  class Chart {
    constructor(element) {
      this.element = element;
      this.stage = element.querySelector(".stage");
      this.data = null;
      this.hidden = new Set();
      this.stop = -1;
      this.window = null;
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
      if (data.inches) {
        this.board.classList.add("scrolled");
        this.board.setAttribute("tabindex", "0");
      }
      if (data.stops) {
        this.board.setAttribute("role", "group");
        this.board.setAttribute("tabindex", "0");
        this.board.setAttribute("aria-keyshortcuts", "ArrowLeft ArrowRight PageUp PageDown Home End");
        this.board.addEventListener("keydown", (event) => this.pressed(event));
      }
      this.readout = make("p", { class: "readout", "aria-live": "polite" });
      this.tools = this.toolbar();
      this.legend = this.legendOf();
      stage.append(this.strip, this.board, this.tip, this.tools, this.legend);
      if (data.stops) stage.append(this.readout);
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
      }
      this.width = this.stage.clientWidth;
      const { inches } = this.data;
      // Texts of such a figure fit at one scale only: it is scrolled where there is no room for it.
      this.inch = inches ? clamp(this.width / inches, ...INCH) : 0;
      if (inches) {
        this.board.classList.toggle("panned", inches * this.inch > this.width);
        this.width = Math.floor(inches * this.inch);
        this.board.style.maxWidth = `${this.width}px`;
      }
      this.arrange();
      const done = Plotly.react(this.plot, this.traces(), this.layout(), {
        displayModeBar: false,
        responsive: false,
        scrollZoom: false,
        doubleClick: "reset",
        showTips: false,
        staticPlot: matchMedia("(pointer: coarse)").matches,
      });
      if (!this.listening) {
        this.listening = true;
        const above = this.plot.querySelectorAll(".main-svg")[1];
        above.parentNode.insertBefore(this.canvas, above);
        this.plot.on("plotly_afterplot", () => this.over());
        this.plot.on("plotly_relayouting", () => this.over());
        this.plot.on("plotly_relayout", () => this.over());
      }
      this.over();
      return done;
    }

    free() {
      if (!this.plot) return;
      Plotly.purge(this.plot);
      this.stage.style.minHeight = `${this.stage.offsetHeight}px`;
      this.stage.textContent = "";
      this.plot = null;
      this.listening = false;
      this.data = null;
      charts.delete(this);
    }

    recolour() {
      if (!this.plot) return;
      const window = this.shown();
      this.draw();
      if (this.zoomed) this.zoomTo(window);
      this.relabel();
    }

    // ------------------------------------------------------------ geometry

    arrange() {
      const { data, width } = this;
      const panels = data.panels;
      const narrow = width < 560;
      this.narrow = narrow;
      this.font = `12px ${FONT}`;
      this.heads = panels.map((panel) => {
        const labels = panel.y.label || panel.right?.label;
        return (panel.title ? 22 : 0) + (labels ? 20 : 0) + 8;
      });
      const shares = panels.map((panel) => Math.max(panel.height, 1e-6));
      const total = shares.reduce((a, b) => a + b, 0) || 1;
      let height = clamp(width * data.aspect, narrow ? 240 : 200, 900);
      const fixed = this.heads.reduce((a, b) => a + b, 0) + 52;
      height = Math.max(height, fixed + (narrow ? 70 : 80) * panels.length);
      // Each named row of an axis needs room for its name.
      panels.forEach((panel, i) => {
        const rows = panel.y.ticks && !panel.y.hidden ? this.rows(panel.y) : 0;
        height = Math.max(height, fixed + (rows * 16 * total) / shares[i]);
      });
      this.height = Math.round(Math.min(height, 6000));
      this.shares = shares.map((share) => share / total);
      const wide = (axis) =>
        axis?.ticks && !axis.hidden
          ? Math.max(0, ...axis.ticks.map(([, text]) => Math.min(measured(text.slice(0, 60), this.font), width * 0.3)))
          : 0;
      this.labelled = width * (narrow ? 0.26 : 0.3);
      const numbers = panels.some((panel) => !panel.y.hidden && !panel.y.ticks) ? 52 : 10;
      this.left_ = Math.ceil(Math.max(numbers, ...panels.map((panel) => wide(panel.y) + 14)));
      const rights = panels.some((panel) => panel.right && !panel.right.hidden);
      this.right_ = rights ? Math.ceil(Math.max(52, ...panels.map((panel) => wide(panel.right) + 14))) : 14;
      if (this.inch) {
        this.heads = panels.map(() => 0);
        this.left_ = this.right_ = 0;
        this.height = Math.round(width * data.aspect);
      }
    }

    rows(axis) {
      // Of rows one unit apart, as many as are shown; otherwise as many as there are ticks.
      return Math.min(axis.ticks.length, 250);
    }

    axisLayout(axis, extra) {
      const log = (value) => (axis.log ? Math.log10(value) : value);
      const limit = this.labelled;
      const ticks = axis.ticks && {
        tickmode: "array",
        tickvals: axis.ticks.map(([at]) => at),
        ticktext: axis.ticks.map(([, text]) => harmless(fitted(text, limit, this.font))),
      };
      return {
        type: axis.log ? "log" : "linear",
        range: axis.range.map(log),
        autorange: false,
        visible: !axis.hidden,
        showgrid: !axis.ticks || extra.grid === true,
        gridcolor: variable("faint"),
        gridwidth: 1,
        griddash: "solid",
        zeroline: false,
        showline: false,
        ticks: "",
        ticklen: 4,
        tickfont: { size: 12, color: variable("muted") },
        exponentformat: "power",
        minexponent: 5,
        separatethousands: true,
        ...(ticks || { tickmode: "auto", nticks: extra.nticks }),
        ...extra.axis,
      };
    }

    layout() {
      const { data } = this;
      const bottom = this.inch ? 0 : data.x.hidden ? 10 : data.x.label ? 46 : 28;
      const inner = Math.max(this.height - bottom, 10);
      const room = Math.max(inner - this.heads.reduce((a, b) => a + b, 0), 10);
      const width = this.width - this.left_ - this.right_;
      const layout = {
        width: this.width,
        height: this.height,
        margin: { l: this.left_, r: this.right_, t: 0, b: bottom, pad: 0 },
        autosize: false,
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: FONT, size: 12, color: variable("muted") },
        separators: ".\u2009",
        showlegend: false,
        hovermode: false,
        dragmode: this.inch ? false : "zoom",
        barmode: "overlay",
        shapes: [],
        uirevision: "constant",
        newshape: {},
        xaxis: this.axisLayout(data.x, {
          nticks: Math.max(2, Math.floor(width / 90)),
          axis: {
            anchor: `y${data.panels.length > 1 ? data.panels.length : ""}`,
            automargin: "height",
            autotickangles: [0, -35, -90],
            title: data.x.label
              ? {
                  text: harmless(fitted(data.x.label, width + this.right_, this.font)),
                  font: { size: 12, color: variable("muted") },
                  standoff: 8,
                }
              : { text: "" },
          },
        }),
      };
      this.tops = [];
      let top = 0;
      data.panels.forEach((panel, i) => {
        top += this.heads[i];
        const height = room * this.shares[i];
        const domain = [clamp(1 - (top + height) / inner, 0, 1), clamp(1 - top / inner, 0, 1)];
        top += height;
        const name = `yaxis${i ? i + 1 : ""}`;
        layout[name] = this.axisLayout(panel.y, {
          nticks: Math.max(2, Math.floor(height / 44)),
          axis: { domain, anchor: "x", fixedrange: data.panels.length > 1 },
        });
        if (panel.right)
          layout[`yaxis${data.panels.length + i + 1}`] = this.axisLayout(panel.right, {
            nticks: Math.max(2, Math.floor(height / 44)),
            axis: {
              domain,
              anchor: "x",
              side: "right",
              overlaying: `y${i ? i + 1 : ""}`,
              showgrid: false,
              fixedrange: true,
            },
          });
        for (const x of panel.verticals)
          layout.shapes.push({
            type: "line",
            xref: "x",
            yref: `y${i ? i + 1 : ""} domain`,
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

    // ------------------------------------------------------------ marks

    axisOf(panel, mark) {
      const { panels } = this.data;
      const number = mark.side === "right" ? panels.length + panel + 1 : panel + 1;
      return number > 1 ? `y${number}` : "y";
    }

    visible(mark) {
      return !mark.key || !this.hidden.has(mark.key);
    }

    /* Whether a panel has too many marks to be elements. All of it is painted then, so that order is kept. */
    dense(panel) {
      if (this.inch) return false;
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
          if (this.inch || this.dense(panel) || mark.count === 0) continue;
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
            cliponaxis: true,
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
            y: [...mark.low, ...Array.from(mark.high).reverse()],
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
            marker: { color, size: mark.size, symbol: SYMBOLS[mark.symbol || "circle"], line: { width: 0 } },
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

    /* What bars stand on; on a logarithmic axis, which has no zero, the axis' end. */
    bases(mark) {
      const axis = mark.horizontal ? this.data.x : mark.axis;
      if (!axis?.log) return mark.low;
      const end = Math.min(...axis.range) / 1e3;
      return Float64Array.from(mark.low, (low) => (low > 0 ? low : end));
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
          const found = full[this.axisOf(i, { side }).replace("y", "yaxis")];
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
      const [low, high] = this.shown();
      const all = this.data.x.range.map((value) => (this.data.x.log ? Math.log10(value) : value));
      const span = Math.abs(all[1] - all[0]);
      const fixed = this.data.panels.every((panel, i) => {
        const full = this.plot._fullLayout[this.axisOf(i, {}).replace("y", "yaxis")];
        const first = panel.y.range.map((value) => (panel.y.log ? Math.log10(value) : value));
        return full.range.every((value, j) => Math.abs(value - first[j]) <= 1e-9 * Math.abs(first[1] - first[0]));
      });
      this.zoomed = !fixed || Math.abs(low - all[0]) > 1e-9 * span || Math.abs(high - all[1]) > 1e-9 * span;
      for (const button of this.tools.querySelectorAll(".when-zoomed")) button.disabled = !this.zoomed;
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
        context.save();
        context.beginPath();
        const { y } = scales.panels[i];
        context.rect(scales.x.start, y.start, scales.x.end - scales.x.start, y.end - y.start);
        context.clip();
        for (const mark of panel.marks) {
          mark.painted = 0;
          if (!this.visible(mark) || mark.count === 0 || !PAINTERS[mark.kind]) continue;
          context.globalAlpha = mark.opacity ?? 1;
          context.setLineDash([]);
          context.strokeStyle = context.fillStyle = toned(mark.color);
          mark.painted = PAINTERS[mark.kind](context, mark, scales.x, scales.panels[i][mark.side], this);
        }
        context.restore();
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
        let baseline = scale.y.start - this.heads[i] + 18;
        if (panel.title) {
          const title = fitted(panel.title, right, `600 13px ${FONT}`);
          overlay.append(makeSvg("text", { class: "panel-title", x: 0, y: baseline, fill: ink }, title));
          baseline += 20;
        }
        const label = panel.y.label && !panel.y.hidden ? panel.y.label : "";
        const other = panel.right?.label && !panel.right.hidden ? panel.right.label : "";
        const room = other ? right / 2 - 8 : right;
        if (label)
          overlay.append(
            makeSvg("text", { class: "axis-label", x: 0, y: baseline, fill: muted }, fitted(label, room, this.font)),
          );
        if (other)
          overlay.append(
            makeSvg(
              "text",
              { class: "axis-label", x: right, y: baseline, fill: muted, "text-anchor": "end" },
              fitted(other, room, this.font),
            ),
          );
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
          if (mark.kind === "Line" && this.inch) this.line(group, mark, scales.x, scale[mark.side]);
          if (mark.kind === "Boxes") this.boxes(group, mark, scales.x, scale[mark.side]);
          if (mark.kind === "Texts") this.texts(group, mark, scales.x, scale[mark.side]);
        }
      });
      this.mark = makeSvg("g", { class: "highlight" });
      this.cursor = makeSvg("line", { class: "cursor", stroke: variable("accent") });
      overlay.append(this.cursor, this.mark);
      this.placeCursor();
    }

    line(group, mark, x, y) {
      const points = Array.from(mark.x, (at, i) => [x(at), y(mark.y[i])]);
      const color = toned(mark.color);
      mark.painted = 1;
      group.append(
        makeSvg("polyline", {
          class: "line",
          points: points.map((point) => point.map((at) => at.toFixed(1)).join(",")).join(" "),
          fill: "none",
          stroke: color,
          "stroke-width": mark.width,
          "stroke-dasharray": SEGMENTS[mark.dash || "solid"].join(" ") || "none",
          opacity: mark.opacity,
        }),
      );
      if (!mark.arrow || points.length < 2) return;
      const [[ax, ay], [bx, by]] = points.slice(-2);
      const length = Math.hypot(bx - ax, by - ay) || 1;
      const [dx, dy] = [(bx - ax) / length, (by - ay) / length];
      const head = [
        [bx, by],
        [bx - 7 * dx + 2.8 * dy, by - 7 * dy - 2.8 * dx],
        [bx - 7 * dx - 2.8 * dy, by - 7 * dy + 2.8 * dx],
      ];
      group.append(makeSvg("polygon", { class: "arrow", points: head.map((at) => at.join(",")).join(" "), fill: color }));
    }

    boxes(group, mark, x, y) {
      mark.painted = 0;
      const size = this.inch ? (mark.size * this.inch) / 72 : 12;
      const font = `${size}px ${FONT}`;
      const step = this.inch ? size * 1.25 : 15;
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
        const lines = mark.texts[i].split("\n").slice(0, Math.max(Math.floor((height - 2) / (step - 1)), 0));
        const middle = top + height / 2 - ((lines.length - 1) * step) / 2;
        lines.forEach((line, j) => {
          const text = fitted(line, width - 8, font);
          if (text.length < 2 && text !== line) return;
          const attributes = {
            class: "box-text",
            x: left + width / 2,
            y: middle + j * step,
            fill: mark.inks ? mark.inks(i) : readable(fill),
            style: `font-size: ${size}px`,
          };
          group.append(makeSvg("text", attributes, text));
        });
      }
    }

    texts(group, mark, x, y) {
      mark.painted = 0;
      const size = this.inch ? (mark.size * this.inch) / 72 : Math.max(12, mark.size * 1.5);
      const font = `${size}px ${FONT}`;
      for (let i = 0; i < mark.count; i++) {
        const [px, py] = [x(mark.x[i]), y(mark.y[i])];
        if (!Number.isFinite(px) || !Number.isFinite(py)) continue;
        const anchor = mark.anchor || "start";
        const room = { start: x.end - px, end: px - x.start, middle: 2 * Math.min(px - x.start, x.end - px) }[anchor];
        mark.painted += 1;
        const attributes = { x: px, y: py, fill: toned(mark.color), "text-anchor": anchor, "font-size": size };
        const lines = mark.texts[i].split("\n");
        lines.forEach((line, j) => {
          const shift = (j - (lines.length - 1) / 2) * size * 1.2;
          const text = fitted(line, Math.max(room, 40), font);
          group.append(makeSvg("text", { class: "label", ...attributes, y: py + shift }, text));
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
      const inside = pictures
        .map((picture, i) => ({ picture, i, at: scales.x(picture.x) }))
        .filter(({ at }) => at >= scales.x.start - 1 && at <= scales.x.end + 1)
        .sort((a, b) => a.at - b.at);
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
        const from = placed[j] + size / 2;
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
        button("+", "Zoom in", () => this.zoom(0.5)),
        button("‹", "Earlier part", () => this.pan(-0.5), "when-zoomed"),
        button("›", "Later part", () => this.pan(0.5), "when-zoomed"),
        button("Reset", "Show all", () => this.reset(), "when-zoomed"),
      );
      const tools = make("div", { class: "tools" }, ...(this.data.inches ? [] : [zoom]));
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

    whole() {
      return this.data.x.range.map((value) => (this.data.x.log ? Math.log10(value) : value));
    }

    zoomTo([from, to]) {
      const [first, last] = this.whole();
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
      const update = { "xaxis.range": this.whole() };
      this.data.panels.forEach((panel, i) => {
        const name = this.axisOf(i, {}).replace("y", "yaxis");
        update[`${name}.range`] = panel.y.range.map((value) => (panel.y.log ? Math.log10(value) : value));
      });
      Plotly.relayout(this.plot, update);
    }

    // ------------------------------------------------------------ stepping

    pressed(event) {
      const count = this.data.stops.x.length;
      if (!count || event.altKey || event.ctrlKey || event.metaKey) return;
      const page = Math.max(Math.round(count / 100), 1);
      const target = {
        ArrowLeft: this.stop < 0 ? 0 : this.stop - 1,
        ArrowRight: this.stop + 1,
        PageUp: this.stop - page,
        PageDown: this.stop + page,
        Home: 0,
        End: count - 1,
      }[event.key];
      if (event.key === "Escape") this.left();
      if (target === undefined) return;
      event.preventDefault();
      this.step(target);
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
      this.say(`${this.stop + 1} of ${x.length}: ${text.replace(/\n/g, ", ")}`);
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

    clicked(event) {
      const { stops } = this.data;
      if (!stops || !stops.x.length || !this.scale) return;
      const box = this.board.getBoundingClientRect();
      const { x } = this.scale;
      const at = event.clientX - box.left;
      if (at < x.start - 2 || at > x.end + 2) return;
      this.step(nearest(stops.x, x.back(at)));
    }

    hover(clientX, clientY) {
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
      const { mark, position, at } = found;
      const x = mark.kind === "Steps" ? mark.x[position] : mark.kind === "Bars" && mark.horizontal ? mark.high[position] : mark.x[position];
      const y = mark.kind === "Ticks" ? mark.row : mark.kind === "Bars" ? (mark.horizontal ? mark.x : mark.high)[position] : mark.y[position];
      const text = told(mark.hover, position, x, y);
      this.tip.textContent = text;
      this.tip.hidden = false;
      this.highlight(found);
      this.say(text.replace(/\n/g, ", "));
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
        this.mark.append(makeSvg("rect", { ...attributes, x: left - 1, y: top - 1, width: width + 2, height: height + 2, rx: 3 }));
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
        const note = shown < rows ? `The first ${shown} of ${rows} rows.` : `${rows} ${rows === 1 ? "row" : "rows"}.`;
        const save = make("button", { type: "button", class: "quiet save" }, "Save CSV");
        save.addEventListener("click", () => download(`${name}.csv`, csv(table)));
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

  /* Black or white, whichever is easier to read on a colour. */
  const readable = (color) => {
    const part = (at) => {
      const value = parseInt(color.slice(at, at + 2), 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    };
    const light = 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
    return light > 0.179 ? "#14181d" : "#ffffff";
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
    for (let i = 0; i < xs.length; i++) {
      if (i) context.lineTo(x(xs[i]), y(ys[i]));
      else context.moveTo(x(xs[i]), y(ys[i]));
    }
    context.stroke();
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
      for (let i = 0; i < mark.count; i++) context.lineTo(x(mark.x[i]), y(mark.low[i]));
      for (let i = mark.count - 1; i >= 0; i--) context.lineTo(x(mark.x[i]), y(mark.high[i]));
      context.fill();
      return mark.count;
    },
    Points(context, mark, x, y) {
      const radius = mark.size / 2;
      const shape = OUTLINES[mark.symbol || "circle"];
      context.lineWidth = 1;
      for (let i = 0; i < mark.count; i++) {
        const [px, py] = [x(mark.x[i]), y(mark.y[i])];
        if (mark.low || mark.high) {
          context.beginPath();
          context.moveTo(px, y((mark.low || mark.y)[i]));
          context.lineTo(px, y((mark.high || mark.y)[i]));
          context.stroke();
        }
        context.beginPath();
        shape(context, px, py, radius);
        context.fill();
      }
      return mark.count;
    },
    Ticks(context, mark, x, y) {
      const [top, bottom] = [y(mark.row + 0.4), y(mark.row - 0.4)];
      context.lineWidth = 1;
      if (!mark.weights) {
        context.beginPath();
        for (let i = 0; i < mark.count; i++) {
          const at = x(mark.x[i]);
          context.moveTo(at, top);
          context.lineTo(at, bottom);
        }
        context.stroke();
        return mark.count;
      }
      for (let i = 0; i < mark.count; i++) {
        context.globalAlpha = mark.weights[i];
        context.fillRect(x(mark.x[i]) - 0.5, Math.min(top, bottom), 1, Math.abs(bottom - top));
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

  // ---------------------------------------------------------------- files

  const csv = (table) => {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [table.map((column) => quoted(column.name)).join(",")];
    const rows = table.length ? table[0].values.length : 0;
    const cell = (column, i) => {
      const value = column.values[i];
      if (column.names) return quoted(column.names[value]);
      return Number.isFinite(value) ? String(value) : "";
    };
    for (let i = 0; i < rows; i++) lines.push(table.map((column) => cell(column, i)).join(","));
    return `${lines.join("\n")}\n`;
  };

  const download = (name, text) => {
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    const link = make("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not every browser lets files use the clipboard.
      const area = make("textarea", { class: "offscreen", readonly: true });
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };

  // ---------------------------------------------------------------- tables

  const number = (text) => {
    const match = text.replace(/[,\u2009\u202f]/g, "").replace(/\u2212/g, "-").match(/-?\d*\.?\d+(?:e[+-]?\d+)?/i);
    return match ? Number(match[0]) : null;
  };

  const sortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      head.querySelector(".sort")?.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const next = before === "ascending" ? "descending" : before === "descending" ? null : "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        if (!next) {
          body.append(...original);
          return;
        }
        head.setAttribute("aria-sort", next);
        const numeric = head.classList.contains("number");
        const sign = next === "ascending" ? 1 : -1;
        const keyed = original.map((row, i) => {
          const text = row.cells[column].textContent.trim();
          return { row, i, key: numeric ? number(text) : text || null };
        });
        keyed.sort((a, b) => {
          // What is not known comes last in either order.
          if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.i - b.i;
          const order = numeric ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true });
          return sign * order || a.i - b.i;
        });
        body.append(...keyed.map(({ row }) => row));
      });
    });
  };

  // ---------------------------------------------------------------- the page

  const all = [...document.querySelectorAll("figure.figure")].map((element) => new Chart(element));

  const open = (element) => {
    for (let at = element.parentElement; at; at = at.parentElement)
      if (at.tagName === "DETAILS" && !at.open) return false;
    return true;
  };

  const seen = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries)
        if (isIntersecting && open(target) && !target.chart.plot) target.chart.draw();
    },
    { rootMargin: "400px 0px" },
  );
  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const { chart } = target.parentElement;
      const width = target.clientWidth;
      if (chart.plot && width > 0 && Math.abs(width - chart.width) >= 1) chart.recolour();
    }
  });

  const drawAll = () => Promise.all(all.filter(({ element, plot }) => open(element) && !plot).map((c) => c.draw()));

  const start = () => {
    for (const chart of all) {
      seen.observe(chart.element);
      sized.observe(chart.stage);
    }
    for (const details of document.querySelectorAll("details.disclosure"))
      details.addEventListener("toggle", () => {
        for (const chart of all)
          if (details.contains(chart.element)) {
            if (!open(chart.element)) chart.free();
            else if (!chart.plot) {
              seen.unobserve(chart.element);
              seen.observe(chart.element);
            }
          }
      });
    for (const table of document.querySelectorAll("main > section table.table, .disclosed table.table"))
      sortable(table);
    for (const button of document.querySelectorAll(".copy")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const done = await copied(button.parentElement.querySelector("code").textContent);
        button.textContent = done ? "Copied" : "Select it and copy";
        setTimeout(() => (button.textContent = "Copy"), 2000);
      });
    }
    document.getElementById("theme").addEventListener("click", () => {
      chosen = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("lronnx-theme", chosen);
      } catch {
        // Then it is forgotten.
      }
      applyTheme();
    });
    dark.addEventListener("change", applyTheme);
    window.addEventListener("beforeprint", () => {
      printing = true;
      applyTheme();
      drawAll();
    });
    window.addEventListener("afterprint", () => {
      printing = false;
      applyTheme();
    });
    applyTheme();
    current();
  };

  /* The section that is read is marked in the contents. */
  const current = () => {
    const links = new Map([...document.querySelectorAll(".bar nav a")].map((a) => [a.getAttribute("href").slice(1), a]));
    if (!links.size) return;
    const watch = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          for (const link of links.values()) link.removeAttribute("aria-current");
          const link = links.get(target.id);
          if (!link) continue;
          link.setAttribute("aria-current", "true");
          const list = link.closest("ul");
          list.scrollTo({ left: link.offsetLeft - 24, behavior: still() ? "auto" : "smooth" });
        }
      },
      { rootMargin: "-15% 0px -75% 0px" },
    );
    for (const section of document.querySelectorAll("main > section")) watch.observe(section);
  };

  window.lronnx = { charts: all, drawAll, written, told };
  start();
})();
