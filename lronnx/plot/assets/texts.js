/* Texts that fit into the room that there is, and texts of ticks. */

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
/* The same with its middle left out: ends tell names of nodes apart. */
const shortened = (text, width, font) => {
  const line = text.replace(/\s+/g, " ");
  if (line.length < 400 && measured(line, font) <= width) return line;
  let [low, high] = [0, Math.min(line.length, 200)];
  const kept = (count) => `${line.slice(0, Math.ceil(count * 0.4))}…${line.slice(line.length - Math.floor(count * 0.6))}`;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (measured(kept(middle), font) <= width) low = middle;
    else high = middle - 1;
  }
  return kept(low);
};
/* Names of which some are too long: without what all of them begin and end with, and then shortened. */
const distinguished = (names, width, font) => {
  if (names.every((name) => measured(name.slice(0, 400), font) <= width)) return names;
  const [first, ...others] = names;
  let [head, tail] = [first.length, first.length];
  for (const other of others) {
    let i = 0;
    while (i < head && i < other.length && first[i] === other[i]) i++;
    head = i;
    i = 0;
    while (i < tail && i < other.length && first.at(-1 - i) === other.at(-1 - i)) i++;
    tail = i;
  }
  // Words stay whole.
  head = Math.max(...[".", "/", "_", ":", " "].map((mark) => first.slice(0, head).lastIndexOf(mark) + 1));
  const end = first.slice(first.length - tail);
  const starts = [".", "/", "_", ":", " "].map((mark) => end.indexOf(mark)).filter((at) => at >= 0);
  tail = starts.length ? tail - Math.min(...starts) : 0;
  return names.map((name) => {
    if (names.length < 2 || head + tail >= name.length) return shortened(name, width, font);
    const core = name.slice(head, name.length - tail);
    return shortened(`${head > 1 ? "…" : name.slice(0, head)}${core}${tail > 1 ? "…" : ""}`, width, font);
  });
};
/* The lines of a text in so much width, at most ``most``. */
const wrapped = (text, width, font, most = 3) => {
  const lines = [];
  let line = "";
  for (const word of text.slice(0, 600).split(/\s+/)) {
    const longer = line ? `${line} ${word}` : word;
    if (line && measured(longer, font) > width) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  if (line) lines.push(line);
  const kept = lines.slice(0, most);
  if (lines.length > most) kept[most - 1] = `${kept[most - 1]} ${lines[most]}`;
  return kept.map((one) => fitted(one, width, font));
};
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const power = (exponent) =>
  `10${exponent < 0 ? "⁻" : ""}${[...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join("")}`;
/* Ticks of a logarithmic axis between two exponents: powers of ten, or 1, 2 and 5 times these where there are few. */
const logTicks = (from, to, most) => {
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  const slack = 1e-9 * (high - low);
  const [first, last] = [Math.ceil(low - slack), Math.floor(high + slack)];
  const plain = low > -3.5 && high < 4.5;
  const label = (digit, exponent) => {
    if (plain) return exponent < 0 ? (digit * 10 ** exponent).toFixed(-exponent) : String(digit * 10 ** exponent);
    return digit === 1 ? power(exponent) : `${digit}×${power(exponent)}`;
  };
  const count = last - first + 1;
  const ticks = [];
  if (count >= 3 || count >= most) {
    const step = Math.max(Math.ceil(count / most), 1);
    for (let exponent = Math.ceil(first / step) * step; exponent <= last; exponent += step)
      ticks.push([10 ** exponent, label(1, exponent)]);
    return ticks;
  }
  for (const digits of [[1], [1, 3], [1, 2, 5], [1, 2, 3, 4, 5, 6, 8]]) {
    const found = [];
    for (let exponent = Math.floor(low); exponent <= last; exponent++)
      for (const digit of digits) {
        const at = exponent + Math.log10(digit);
        if (at >= low - slack && at <= high + slack) found.push([digit * 10 ** exponent, label(digit, exponent)]);
      }
    if (found.length <= most || !ticks.length) ticks.splice(0, ticks.length, ...found);
  }
  // Of less than that there are linear ticks, which Plotly finds.
  return ticks.length >= 2 ? ticks : null;
};
/* Plotly takes texts for HTML; as character references they stay texts. */
const harmless = (text) =>
  text.replace(/[&<>$%{}]/g, (character) => `&#${character.charCodeAt(0)};`) || " ";
