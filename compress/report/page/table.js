"use strict";
// Sorting, filters, themes, copying and the box that hovers.  What moves or hides is what the page holds already.

const compress = {};
const byId = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Sorting: numbers as numbers, names as words; cells without a value stay last both ways.
for (const table of all("table.sortable")) {
  const headers = all("thead th", table);
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const isUp = header.getAttribute("aria-sort") !== "ascending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", isUp ? "ascending" : "descending");
    const isText = column === 0;
    const keyed = all("tbody tr", table).map((line) => ({ line, key: line.cells[column].dataset.key }));
    keyed.sort((one, other) => {
      if (!one.key || !other.key) return (one.key ? 0 : 1) - (other.key ? 0 : 1);
      const order = isText ? one.key.localeCompare(other.key, "en", { numeric: true }) : one.key - other.key;
      return isUp ? order : -order;
    });
    table.tBodies[0].append(...keyed.map(({ line }) => line));
  }));
}

// Filters: of a run all that is shown goes together.
const runs = all(".of-run");
compress.shows = ({ task, model, name, misses }) =>
  (!byId("filter-task").value || task === byId("filter-task").value) &&
  (!byId("filter-model").value || model === byId("filter-model").value) &&
  name.toLowerCase().includes(byId("filter-name").value.trim().toLowerCase()) &&
  !(byId("filter-kept").checked && misses);
function filter() {
  for (const run of runs) run.hidden = !compress.shows({ ...run.dataset, misses: "misses" in run.dataset });
  for (const group of all(".group")) group.hidden = !group.querySelector(".of-run:not([hidden])");
  document.dispatchEvent(new Event("filtered"));  // panels hide themselves, and then their section
  for (const section of all("main > section")) {
    const parts = all(".group, .of-run, .panel", section);
    if (parts.length) section.hidden = parts.every((part) => part.hidden);
  }
  const counted = all(".again");
  byId("count").textContent = `${counted.filter((run) => !run.hidden).length} of ${counted.length} runs`;
}
for (const change of ["input", "change"]) byId("filters").addEventListener(change, filter);
byId("filters").addEventListener("submit", (event) => event.preventDefault());

byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
});

for (const group of all(".pairs")) {
  group.addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    for (const button of all("button", group)) button.setAttribute("aria-pressed", String(button === chosen));
    for (const sample of all("dl", group.parentElement)) sample.hidden = sample.dataset.pair !== chosen.dataset.pair;
  });
}

for (const button of all(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {  // no clipboard for pages of some browsers' files: it is marked, to be copied by hand
      getSelection().selectAllChildren(code);
      button.textContent = "Marked";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// The box beside the pointer, or beside what has the focus.
compress.tip = (x, y, ...content) => {
  const tip = byId("tip");
  tip.replaceChildren(...content);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth - 8 ? x - 14 - width : x + 14;
  const top = y + 14 + height > innerHeight - 8 ? y - 14 - height : y + 14;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  tip.style.top = `${Math.max(8, top)}px`;
};
compress.untip = () => { byId("tip").hidden = true; };
for (const holder of all(".track")) {
  holder.addEventListener("pointermove", (event) => {
    const told = event.target.closest("[data-tip]");
    if (told) compress.tip(event.clientX, event.clientY, told.dataset.tip);
    else compress.untip();
  });
  holder.addEventListener("pointerleave", compress.untip);
}
addEventListener("keydown", (event) => { if (event.key === "Escape") compress.untip(); });
addEventListener("scroll", compress.untip, { passive: true });
