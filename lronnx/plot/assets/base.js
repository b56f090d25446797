/* What the other scripts share: elements, colours by theme, numbers as texts. */

const SVG = "http://www.w3.org/2000/svg";
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif";

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
const counted = (number) => `${number}`.replace(/\B(?=(\d{3})+$)/g, ",");
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/* The figures that are drawn. */
const charts = new Set();

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

// ---------------------------------------------------------------- files

const csv = (rows) => {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
};

const download = (name, text) => {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
};
