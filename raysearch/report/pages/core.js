"use strict";
/* What every part of the page uses: the data as they come, elements, numbers, the address after the #. */
const raysearch = (() => {
  let data = null;
  const starts = [];
  const fills = [];

  /* Called by data.js with the tables of the run. */
  function take(tables) { data = tables; }

  /* An element with attributes, handlers and children; text is text, whatever it holds. */
  function h(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "class") element.className = value;
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }

  const byId = (id) => document.getElementById(id);

  const SUPER = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const power = (n) => (n < 0 ? "⁻" : "") + String(Math.abs(n)).replace(/\d/g, (digit) => SUPER[digit]);
  const minus = (text) => text.replace(/-/g, "−");

  /* A count with thin spaces between thousands. */
  const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");

  /* A number to some figures, the very large and small ones with a power of ten. */
  function number(value, figures = 4) {
    if (value === null || value === undefined) return "–";
    if (Number.isInteger(value) && Math.abs(value) < 1e12) return minus(count(value));
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e5 || size < 1e-3)) {
      const [mantissa, exponent] = value.toExponential(figures - 1).split("e");
      return `${minus(mantissa)} × 10${power(Number(exponent))}`;
    }
    return minus(String(Number(value.toPrecision(figures)).toFixed(Math.max(0, figures - 1 - Math.floor(Math.log10(size || 1))))));
  }

  /* A value with its error, both to the error's second figure: (1.200 ± 0.004) × 10⁻¹⁷. */
  function measured(value, error, figures = 4) {
    if (value === null || value === undefined) return "–";
    if (!(error > 0)) return number(value, figures);
    const size = Math.max(Math.abs(value), error);
    const exponent = size >= 1e5 || size < 1e-3 ? Math.floor(Math.log10(size)) : 0;
    const scale = 10 ** exponent;
    const digits = Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(error / scale))));
    const text = `${minus((value / scale).toFixed(digits))} ± ${(error / scale).toFixed(digits)}`;
    return exponent ? `(${text}) × 10${power(exponent)}` : text;
  }

  const two = (n) => String(n).padStart(2, "0");

  /* Right ascension and declination in hours and degrees, with the seconds' decimals. */
  function sexagesimal(ra, dec) {
    const hours = Math.round(((ra % 360) + 360) % 360 / 15 * 3600 * 100) % (24 * 360000);
    const arcs = Math.min(Math.round(Math.abs(dec) * 3600 * 10), 90 * 36000);
    const part = (units, per, base) => `${two(Math.floor(units / (3600 * base)))} ${two(Math.floor(units / (60 * base)) % 60)} ` +
      (units % (60 * base) / base).toFixed(per).padStart(per + 3, "0");
    return `${part(hours, 2, 100)} ${dec < 0 ? "−" : "+"}${part(arcs, 1, 10)}`;
  }

  function bytes(n) {
    for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
      if (n < 999.5) return `${Number(n.toPrecision(3))}\u202f${unit}`;
      n /= 1000;
    }
    return `${Number(n.toPrecision(3))}\u202fPB`;
  }

  /* What stands after the #: `#observations?status=failed` is a section and what it shall show. */
  function place() {
    const [section, asked] = location.hash.slice(1).split("?");
    return { section, asked: asked === undefined ? null : new URLSearchParams(asked) };
  }

  function setPlace(section, asked) {
    const text = new URLSearchParams(asked).toString();
    history.replaceState(null, "", "#" + section + (text ? "?" + text : ""));
  }

  /* Links of one of the page's lists: back, forth, and where we are. */
  function pager(where, page, pages, go) {
    for (const element of where) {
      element.replaceChildren();
      if (pages < 2) continue;
      const step = (label, to) => h("button", { type: "button", disabled: to < 0 || to >= pages, onclick: () => go(to) }, label);
      element.append(step("Previous", page - 1), h("span", {}, ` ${count(page + 1)} of ${count(pages)} `), step("Next", page + 1));
    }
  }

  function trouble(text) {
    const box = byId("trouble");
    box.textContent = text;
    box.hidden = false;
  }

  /* Each part of the page begins once, when the data are there, and is filled each time they come. */
  function onStart(begin) { starts.push(begin); }

  function onData(fill) { fills.push(fill); }

  function start() {
    if (data === null) {
      trouble("The page's data did not come: data.js must lie beside index.html.");
      return;
    }
    document.body.classList.add("kind-" + data.kind);
    starts.forEach((begin) => begin());
    fills.forEach((fill) => fill(data));
  }

  function renew(tables) {
    data = tables;
    fills.forEach((fill) => fill(data));
  }

  return { take, h, byId, count, number, measured, sexagesimal, bytes, place, setPlace, pager, trouble, onStart, onData, start, renew,
    get data() { return data; } };
})();
