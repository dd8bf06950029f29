/* Figures of candidates: fetched when they are to be seen, unpacked, and drawn each in a shadow of its own. */
(() => {
  const { h, byId } = raysearch;
  const ready = new Map();
  const files = new Map();
  const handed = [];
  const MOST_KEPT = 300;
  const MOST_FILES = 60;

  const keyOf = (row, number) => (number < 0 ? String(row) : `${row}-${number}`);

  /* Called by a file of figures, once for each candidate. */
  function take(key, records) {
    handed.push([key, records]);
  }

  /* The figures of a candidate (name, alt, svg as text), from this page or from the script beside it. */
  function load(key, file) {
    if (!ready.has(key)) {
      if (ready.size >= MOST_KEPT) ready.delete(ready.keys().next().value);
      ready.set(key, records(key, file).then((list) => Promise.all(list.map(unpacked))));
      ready.get(key).catch(() => ready.delete(key));
    }
    return ready.get(key);
  }

  async function records(key, file) {
    const inside = byId(`figures-${key}`);
    if (inside) return JSON.parse(inside.textContent);
    if (!files.has(file)) {
      if (files.size >= MOST_FILES) files.delete(files.keys().next().value);
      files.set(file, fetched(file));
    }
    const list = (await files.get(file)).get(key);
    if (!list) throw new Error("the figures are of another page");
    return list;
  }

  /* A file hands over the figures of several candidates; its script runs, and then has loaded, before another runs. */
  function fetched(file) {
    return new Promise((resolve, reject) => {
      const script = h("script", {
        src: `figures/${file}.js`,
        onload: () => { script.remove(); resolve(new Map(handed.splice(0))); },
        onerror: () => { script.remove(); files.delete(file); reject(new Error("the figures did not come")); },
      });
      document.head.append(script);
    });
  }

  async function unpacked({ name, alt, svg }) {
    if (!svg) return { name, alt, svg: "" };
    const packed = Uint8Array.from(atob(svg), (letter) => letter.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return { name, alt, svg: await new Response(plain).text() };
  }

  const SAFE_LINK = /^(#|data:image\/(png|jpeg);)/;

  /* An SVG as nodes of this page, without anything that could act or ask elsewhere. */
  function parsed(text) {
    const svg = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    if (svg.nodeName !== "svg") return null;
    for (const node of svg.querySelectorAll("script, foreignObject, iframe, animate, set, a, metadata")) node.remove();
    for (const node of [svg, ...svg.querySelectorAll("*")]) {
      for (const { name, value } of [...node.attributes]) {
        const link = name === "href" || name === "xlink:href";
        if (name.startsWith("on") || (link && !SAFE_LINK.test(value.trim()))) node.removeAttribute(name);
      }
    }
    if (!svg.hasAttribute("viewBox")) {
      const [width, height] = [svg.getAttribute("width"), svg.getAttribute("height")].map(parseFloat);
      if (width && height) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    }
    svg.dataset.width = parseFloat(svg.getAttribute("width")) || 400;
    svg.removeAttribute("width");
    svg.removeAttribute("height");
    return document.importNode(svg, true);
  }

  /* A picture with its text alternative; its identifiers and styles stay its own. */
  function picture({ name, alt, svg }) {
    const drawn = svg ? parsed(svg) : null;
    if (!drawn) return h("p", { class: "no-picture" }, alt || `No figure ${name}.`);
    const box = h("div", { class: "picture", role: "img", "aria-label": alt });
    const root = box.attachShadow({ mode: "open" });
    const style = document.createElement("style");
    style.textContent = ":host { display: block } svg { display: block; width: 100%; height: auto; max-height: var(--picture-height, none); overflow: visible }";
    root.append(style, drawn);
    return box;
  }

  /* Which figure stands for a candidate where there is room for one. */
  const BEST = ["map", "triptych", "cutout", "planes"];
  function best(figures) {
    return BEST.map((name) => figures.find((figure) => figure.name === name)).find(Boolean) || figures[0];
  }

  /* Places of pictures that are filled when they come into view, or when there is nothing else to do: a printer sees them all. */
  const seen = "IntersectionObserver" in window ? new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { seen.unobserve(entry.target); entry.target.fill(); }
    }
  }, { rootMargin: "200px" }) : null;

  const whenIdle = window.requestIdleCallback || ((fill) => setTimeout(fill, 500));

  function thumbnail(row, number, file) {
    const box = h("div", { class: "thumb" });
    box.fill = () => load(keyOf(row, number), file).then(
      (figures) => { const one = best(figures); if (one) box.replaceChildren(picture(one)); },
      () => box.replaceChildren(h("p", { class: "no-picture" }, "no picture")),
    );
    if (seen) seen.observe(box); else box.fill();
    if (seen) whenIdle(() => { if (box.isConnected && !box.firstChild) { seen.unobserve(box); box.fill(); } });
    return box;
  }

  raysearch.figures = take;
  Object.assign(raysearch.figures, { load, keyOf, picture, thumbnail });
})();
