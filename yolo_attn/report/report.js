/* Sort tables by a column, and hide models. Without this script the page shows everything, in its first order. */
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const text = head.querySelector("span") || head;
    const button = document.createElement("button");
    button.append(...text.childNodes);
    text.append(button);
    const order = document.createElement("span");
    order.className = "order";
    const below = button.querySelector("small");
    if (below) below.before(order);
    else button.append(order);
    if (!head.hasAttribute("aria-sort")) head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(table, head, column));
  });
}

function sort(table, head, column) {
  const numbers = table.querySelector("tbody td:nth-child(" + (column + 1) + ")[data-value]");
  const next = { none: numbers ? "descending" : "ascending", ascending: "descending", descending: "ascending" };
  const order = next[head.getAttribute("aria-sort")];
  for (const th of head.parentNode.cells) th.setAttribute("aria-sort", th === head ? order : "none");
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("rule"));
    body.append(...rows.sort((a, b) => compare(a.cells[column], b.cells[column], order === "descending" ? -1 : 1)));
  }
}

function compare(a, b, sign) {
  const [x, y] = [a.dataset.value, b.dataset.value];
  if (x !== undefined && y !== undefined) return sign * (x - y);
  if (x !== y) return x === undefined ? 1 : -1;
  return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
}

const first = document.querySelector("table.sortable");
const rows = first ? [...first.querySelectorAll("tr[data-arm]")] : [];
if (rows.length > 2) {
  const choice = document.createElement("details");
  choice.className = "models";
  choice.innerHTML = "<summary>Hide models</summary>";
  for (const { dataset } of rows) {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      for (const part of document.querySelectorAll("[data-arm]")) {
        if (part.dataset.arm === dataset.arm) part.classList.toggle("off", !box.checked);
      }
    });
    const label = document.createElement("label");
    label.append(box, " " + dataset.arm);
    choice.append(label);
  }
  first.closest(".scroll").before(choice);
}
