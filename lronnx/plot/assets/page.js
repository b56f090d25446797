/* Makes the page's tables, codes, theme and contents work, and draws its figures when they come into view. */

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

/* What can be scrolled sideways says at which sides there is more. */
const edged = (element) => {
  const update = () => {
    const left = element.scrollLeft > 1;
    const right = element.scrollLeft < element.scrollWidth - element.clientWidth - 1;
    const more = [left && "left", right && "right"].filter(Boolean).join(" ");
    if (more) element.dataset.more = more;
    else delete element.dataset.more;
  };
  element.addEventListener("scroll", update, { passive: true });
  const watch = new ResizeObserver(update);
  watch.observe(element);
  for (const child of element.children) watch.observe(child);
  update();
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
    if (chart.plot && width > 0 && Math.abs(width - chart.outer) >= 1) chart.recolour();
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
  for (const element of document.querySelectorAll(".bar ul, .scroll")) edged(element);
  for (const button of document.querySelectorAll("[data-file]")) {
    button.hidden = false;
    const table = button.previousElementSibling.querySelector("table");
    // Of several rows of headings, the last one names the columns.
    const heads = table.tHead.rows.length - 1;
    button.addEventListener("click", () => {
      const rows = [table.tHead.rows[heads], ...table.tBodies[0].rows];
      download(`${button.dataset.file}.csv`, csv(rows.map((row) => [...row.cells].map((cell) => cell.textContent))));
    });
  }
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
  // A finger does not leave as a mouse does.
  document.addEventListener("pointerdown", ({ target }) => {
    for (const chart of charts) if (!chart.board.contains(target)) chart.left();
  });
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
