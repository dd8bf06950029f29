/* The map of the sky: zoom, move, and a click that opens the nearest candidate. */
(() => {
  const { byId, number } = raysearch;
  const WHOLE = [-184, -94, 368, 188];
  let view = [...WHOLE];
  let svg = null;

  /* As in skymap.py: Hammer's projection and its inverse, degrees. */
  function project(ra, dec) {
    const half = (((ra + 180) % 360 + 360) % 360 - 180) * Math.PI / 360;
    const lat = dec * Math.PI / 180;
    const scale = Math.sqrt(1 + Math.cos(lat) * Math.cos(half));
    return [-180 * Math.cos(lat) * Math.sin(half) / scale, -90 * Math.sin(lat) / scale];
  }

  function unproject(x, y) {
    const [u, v] = [-x / 180, -y / 90];
    const inside = 1 - (u * u + v * v) / 2;
    if (u * u + v * v > 1) return null;
    const z = Math.sqrt(inside);
    const lon = 2 * Math.atan2(z * u * Math.SQRT2, 2 * z * z - 1);
    return [((lon * 180 / Math.PI) % 360 + 360) % 360, Math.asin(Math.max(-1, Math.min(1, z * v * Math.SQRT2))) * 180 / Math.PI];
  }

  function apply() {
    svg.setAttribute("viewBox", view.join(" "));
    svg.style.setProperty("--px", view[2] / (svg.clientWidth || 700));
    const centre = unproject(view[0] + view[2] / 2, view[1] + view[3] / 2);
    const width = view[2] * 0.9;
    byId("sky-place").textContent = view[2] >= WHOLE[2] || !centre ? "" :
      `centre ${raysearch.sexagesimal(...centre)}, ${width >= 1 ? number(width, 2) + "°" : width * 60 >= 1 ? number(width * 60, 2) + "′" : number(width * 3600, 2) + "″"} wide`;
  }

  function zoom(by, x = view[0] + view[2] / 2, y = view[1] + view[3] / 2) {
    const width = Math.min(WHOLE[2], Math.max(0.0015, view[2] * by));
    const scale = width / view[2];
    view = [x - (x - view[0]) * scale, y - (y - view[1]) * scale, width, width * WHOLE[3] / WHOLE[2]];
    if (width >= WHOLE[2]) view = [...WHOLE];
    apply();
  }

  function fit() {
    const [x, y, w, hgt] = svg.dataset.box.split(" ").map(Number);
    const width = Math.min(WHOLE[2], Math.max(w * 1.2, hgt * 1.2 * WHOLE[2] / WHOLE[3], 0.05));
    const height = width * WHOLE[3] / WHOLE[2];
    view = width >= WHOLE[2] ? [...WHOLE] : [x + w / 2 - width / 2, y + hgt / 2 - height / 2, width, height];
    apply();
  }

  function at(event) {
    const box = svg.getBoundingClientRect();
    return [view[0] + (event.clientX - box.left) / box.width * view[2], view[1] + (event.clientY - box.top) / box.height * view[3]];
  }

  function nearest(event) {
    const [x, y] = at(event);
    const reach = 9 * view[2] / svg.clientWidth;
    let best = null;
    let least = reach * reach;
    for (let i = 0; i < raysearch.data.candidates.target.length; i += 1) {
      const where = raysearch.card.place(i);
      if (!where) continue;
      const [cx, cy] = project(...where);
      const distance = (cx - x) ** 2 + (cy - y) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  function move() {
    let from = null;
    let moved = false;
    svg.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; moved = false; svg.setPointerCapture(event.pointerId); });
    svg.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [dx, dy] = [event.clientX - from[0], event.clientY - from[1]];
      if (!moved && Math.hypot(dx, dy) < 4) return;
      moved = true;
      from = [event.clientX, event.clientY];
      const scale = view[2] / svg.clientWidth;
      view[0] -= dx * scale;
      view[1] -= dy * scale;
      apply();
    });
    svg.addEventListener("pointerup", (event) => {
      if (from && !moved) {
        const i = nearest(event);
        if (i !== null) raysearch.card.open(i, raysearch.gallery.found);
      }
      from = null;
    });
    svg.addEventListener("pointercancel", () => { from = null; });
    svg.addEventListener("dblclick", (event) => zoom(0.4, ...at(event)));
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== svg) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, ...at(event));
    }, { passive: false });
    svg.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
      if (steps[event.key]) {
        view[0] += steps[event.key][0] * view[2];
        view[1] += steps[event.key][1] * view[3];
        apply();
      } else if (event.key === "+" || event.key === "=") zoom(0.6);
      else if (event.key === "-") zoom(1 / 0.6);
      else if (event.key === "0") { view = [...WHOLE]; apply(); } else return;
      event.preventDefault();
    });
  }

  function setUp() {
    svg = byId("sky-map");
    const actions = { in: () => zoom(0.5), out: () => zoom(2), fit, all: () => { view = [...WHOLE]; apply(); } };
    for (const button of document.querySelectorAll("[data-sky]")) {
      button.addEventListener("click", actions[button.dataset.sky]);
      if (button.dataset.sky === "fit" && !svg.dataset.box) button.hidden = true;
    }
    move();
    apply();
  }

  raysearch.sky = { project, unproject, setUp };
  raysearch.onData(setUp);
  addEventListener("resize", () => svg && apply());
})();
