"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = {
    displaylogo: false,
    responsive: true,
    // Named one by one: plotly's own choice has a button that sends the figure to its cloud.
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };
  const plots = [...document.querySelectorAll("[data-figure]")];

  // Marks each plot once it has drawn, and the page once all have: data-drawn says so to a test.
  const draw = async (place) => {
    const figure = figures[place.dataset.figure];
    await Plotly.newPlot(place, figure.data, figure.layout, config);
    place.dataset.drawn = "true";
  };
  Promise.all(plots.map(draw)).then(() => {
    document.documentElement.dataset.drawn = String(plots.length);
  });

  // Paper is narrower than most windows: plots are redrawn for it, and back again. What is folded
  // is unfolded, but for the configurations in the front's table: only the pick's.
  const FOLDED = "details:not([open])";
  const PAPER_WIDTH_PX = 680;
  const closed = new Set();
  window.addEventListener("beforeprint", () => {
    for (const place of plots) Plotly.relayout(place, { width: PAPER_WIDTH_PX });
    for (const details of document.querySelectorAll(`${FOLDED}:not(td *), tr.picked ${FOLDED}`)) {
      closed.add(details);
      details.open = true;
    }
  });
  window.addEventListener("afterprint", () => {
    for (const place of plots) Plotly.relayout(place, { width: null, autosize: true });
    for (const details of closed) details.open = false;
    closed.clear();
  });

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  // Numbers before texts: a cell without a value stays at the end of an ascending column.
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    return typeof b === "number" ? 1 : a.localeCompare(b);
  };
  const sort = (header, column) => {
    const body = header.closest("table").tBodies[0];
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    const sign = ascending ? 1 : -1;
    const rows = [...body.rows];
    rows.sort((a, b) => sign * compare(keyOf(a, column), keyOf(b, column)));
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      header.firstElementChild.addEventListener("click", () => sort(header, column));
    });
  }
})();
