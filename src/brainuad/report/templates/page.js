"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") !== "descending";
    heads.forEach((h) => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[column];
      const number = parseFloat(cell.dataset.value);
      return cell.dataset.value === undefined ? cell.textContent.trim() : number;
    };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (typeof x === "string") return descending ? y.localeCompare(x) : x.localeCompare(y);
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return descending ? y - x : x - y;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}
const slider = document.getElementById("slider");
if (slider) {
  const role = (name) => slider.querySelector(`[data-role="${name}"]`);
  const { slices } = JSON.parse(role("layers").textContent);
  const show = () => {
    const slice = slices[+role("slice").value];
    role("name").textContent = slice.name;
    for (const layer of slider.querySelectorAll("[data-layer]")) {
      const content = slice[layer.dataset.layer] || "";
      const box = role(layer.dataset.layer);
      if (layer.tagName === "path") layer.setAttribute("d", box && box.checked ? content : "");
      else if (content) layer.src = content;
      else layer.hidden = true;
    }
    const over = slider.querySelector("[data-over]");
    if (over && role("opacity")) over.style.opacity = role("opacity").value / 100;
  };
  slider.addEventListener("input", show);
  slider.querySelector(".panels").addEventListener("wheel", (event) => {
    if (!event.shiftKey) return;
    event.preventDefault();
    role("slice").value = +role("slice").value - Math.sign(event.deltaY || event.deltaX);
    show();
  }, { passive: false });
  show();
}
