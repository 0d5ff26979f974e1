"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();

  function template() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--soft").trim();
    const grid = style.getPropertyValue("--grid").trim();
    const axis = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, tickfont: { size: 12 } };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
        font: { color: ink, size: 12.5, family: getComputedStyle(document.body).fontFamily },
        legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal" },
        margin: { l: 56, r: 16, t: 34, b: 44 }, hovermode: "closest",
      },
    };
  }

  function draw(id) {
    const { data, layout, height } = figures[id];
    drawn.add(id);
    Plotly.react(id, data, { ...layout, height, template: template() }, { displayModeBar: false, responsive: true });
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      seen.unobserve(entry.target);
      draw(entry.target.id);
    }
  }, { rootMargin: "600px" });
  Object.keys(figures).forEach((id) => seen.observe(document.getElementById(id)));
  dark.addEventListener("change", () => drawn.forEach(draw));
  window.addEventListener("beforeprint", () => Object.keys(figures).forEach(draw));
})();
