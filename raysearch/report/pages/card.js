/* One candidate in full: its figures, its numbers, where its pixels came from, and what somebody thinks of it. */
(() => {
  const { h, byId, count, number, measured, sexagesimal } = raysearch;
  const NAMES = { stamp: "Line map", postponed: "More figures", planes: "Line and planes beside it", map: "Line map", curve: "Detector's curve", spectrum: "Spectrum",
    triptych: "Both bands and their difference", cutout: "Cutout", strip: "Cutouts by wavelength", spectra: "Spectrum" };
  let dialog = null;
  let walk = [];
  let current = -1;
  let opener = null;

  function open(i, among) {
    opener = dialog.open ? opener : document.activeElement;
    walk = among && among.includes(i) ? among : [i];
    show(i);
    if (!dialog.open) dialog.showModal();
    byId("card-h").focus();
  }

  /* Whatever closes the card, the address is the gallery's at once: who reloads then does not find the card open again. */
  function shut() {
    dialog.close();
    raysearch.gallery.tell();
    if (opener && opener.isConnected) opener.focus();
  }

  function openByName(name) {
    const { candidates, observations } = raysearch.data;
    const i = candidates.observation.findIndex((o, n) => `${observations.obs_id[o]}#${candidates.number[n]}` === name);
    if (i >= 0) open(i, raysearch.gallery.found);
  }

  function step(by) {
    const to = walk.indexOf(current) + by;
    if (to >= 0 && to < walk.length) {
      show(walk[to]);
      byId("card-h").focus();
    }
  }

  function show(i) {
    current = i;
    const { candidates, observations } = raysearch.data;
    const o = candidates.observation[i];
    const at = walk.indexOf(i);
    dialog.replaceChildren(
      h("header", { class: "card-top" },
        h("div", {},
          h("h2", { id: "card-h", tabindex: "-1" }, raysearch.gallery.title(i)),
          h("p", { class: "card-of" }, candidates.target[i] || "no target", h("span", {}, observations.instrument[o]))),
        h("div", { class: "card-walk" },
          h("button", { type: "button", onclick: () => step(-1), disabled: at === 0, "aria-label": "Previous candidate" }, "←"),
          h("span", {}, `${count(at + 1)} of ${count(walk.length)}`),
          h("button", { type: "button", onclick: () => step(1), disabled: at === walk.length - 1, "aria-label": "Next candidate" }, "→"),
          h("button", { type: "button", onclick: shut }, "Close"))),
      marking(i),
      figures(i),
      h("div", { class: "columns" }, h("section", {}, h("h3", {}, "Numbers"), numbers(i)), h("section", {}, links(i), provenance(i))),
      beside(i),
    );
    dialog.scrollTop = 0;
    raysearch.setPlace("card", [["candidate", `${observations.obs_id[o]}#${candidates.number[i]}`]]);
  }

  function marking(i) {
    const given = raysearch.marks.get(i) || { mark: "", note: "" };
    const choice = (mark) => h("button", { type: "button", class: `choice ${mark}`, "aria-pressed": given.mark === mark ? "true" : "false", onclick: () => toggle(mark) },
      mark, h("kbd", {}, mark[0].toUpperCase()));
    return h("div", { class: "marking", id: "marking", role: "group", "aria-label": "Mark" },
      raysearch.marks.MARKS.map(choice),
      h("label", {}, h("span", { class: "visually-hidden" }, "Note"),
        h("input", { type: "text", id: "note", value: given.note, placeholder: "a note", maxlength: 1000, onchange: (event) => raysearch.marks.set(i, { note: event.target.value }) })));
  }

  function toggle(mark) {
    const given = raysearch.marks.get(current);
    raysearch.marks.set(current, { mark: given && given.mark === mark ? "" : mark });
    for (const button of dialog.querySelectorAll(".choice")) {
      const now = raysearch.marks.get(current);
      button.setAttribute("aria-pressed", String(Boolean(now) && button.classList.contains(now.mark || "-")));
    }
  }

  function figures(i) {
    const { candidates, observations } = raysearch.data;
    const o = candidates.observation[i];
    const box = h("div", { class: "figures", id: "figures" });
    const keys = [];
    if (candidates.figures[i] >= 0) keys.push([raysearch.figures.keyOf(observations.row[o], candidates.number[i]), candidates.figures[i]]);
    if (observations.figures[o] >= 0) keys.push([raysearch.figures.keyOf(observations.row[o], -1), observations.figures[o]]);
    if (!keys.length) {
      box.append(h("p", { class: "no-picture" }, "No figures were drawn in this run; the command beneath draws them."));
      return box;
    }
    box.setAttribute("aria-busy", "true");
    Promise.all(keys.map(([key, file]) => raysearch.figures.load(key, file))).then(
      (lists) => box.replaceChildren(...lists.flat().map((figure) => h("figure", { class: `figure-${figure.name.split(" ")[0]}` },
        h("h3", {}, NAMES[figure.name] || figure.name), raysearch.figures.picture(figure),
        figure.svg ? h("figcaption", {}, figure.alt) : null))),
      () => box.replaceChildren(h("p", { class: "no-picture" }, "The figures did not come: the folder figures must lie beside index.html.")),
    ).finally(() => box.removeAttribute("aria-busy"));
    return box;
  }

  function numbers(i) {
    const { columns, values } = raysearch.data.candidates;
    const errors = new Set(columns.map(({ error }) => error).filter(Boolean));
    const row = ({ name, label, unit, about, kind, error }) => {
      const value = values[name][i];
      if (name === "dec" && values.ra) return null;
      if (name === "ra" && values.dec) return position(i);
      if ((kind === "text" && !value) || name === "line") return null;
      const told = kind === "flag" ? (value ? "yes" : "no") : kind === "text" ? value
        : ["peak_ra", "peak_dec"].includes(name) && value !== null ? value.toFixed(6) : name.startsWith("mjd") && value !== null ? value.toFixed(4) : name === "false_alarm" ? number(value, 2) : measured(value, error ? values[error][i] : 0, name.endsWith("_um") ? 5 : 4);
      return h("tr", { class: kind }, h("th", { scope: "row", title: about }, label), h("td", { class: kind === "number" ? "num" : "" }, told), h("td", { class: "unit" }, value === null ? "" : unit));
    };
    return h("table", { class: "numbers" }, h("tbody", {}, columns.filter(({ name }) => !errors.has(name)).map(row)));
  }

  function position(i) {
    const { ra, dec } = raysearch.data.candidates.values;
    if (ra[i] === null || dec[i] === null) return null;
    return h("tr", { class: "number" }, h("th", { scope: "row" }, "Position (ICRS)"),
      h("td", { class: "num" }, `${ra[i].toFixed(6)} ${dec[i] < 0 ? "−" : "+"}${Math.abs(dec[i]).toFixed(6)}`, h("br"), h("small", {}, sexagesimal(ra[i], dec[i]))), h("td", { class: "unit" }, "°"));
  }

  /* Where a candidate lies: its own position, else its target's. */
  function place(i) {
    const { values, target } = raysearch.data.candidates;
    if (values.ra && values.dec && values.ra[i] !== null && values.dec[i] !== null) return [values.ra[i], values.dec[i]];
    const n = raysearch.data.targets.name.indexOf(target[i]);
    return n >= 0 && raysearch.data.targets.ra[n] !== null ? [raysearch.data.targets.ra[n], raysearch.data.targets.dec[n]] : null;
  }

  const outward = (address, label) => (/^https?:\/\//i.test(address) ? h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, label) : null);

  function links(i) {
    const where = place(i);
    const obsId = raysearch.data.observations.obs_id[raysearch.data.candidates.observation[i]];
    const made = raysearch.data.links.map(({ label, address }) => {
      if (address.includes("{ra}") && !where) return null;
      const [ra, dec] = where || [0, 0];
      return outward(address.replaceAll("{ra}", ra.toFixed(6)).replaceAll("{dec}", dec.toFixed(6)).replaceAll("{obs_id}", encodeURIComponent(obsId)), label);
    });
    return h("div", {}, h("h3", {}, "Look elsewhere"), h("ul", { class: "links" }, made.filter(Boolean).map((link) => h("li", {}, link))));
  }

  const quoted = (text) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

  function provenance(i) {
    const { candidates, observations } = raysearch.data;
    const o = candidates.observation[i];
    const ranges = observations.ranges[o];
    const read = ranges.reduce((sum, [start, end]) => sum + end - start, 0);
    const command = `raysearch report ${quoted(raysearch.data.path)} --redraw ${quoted(observations.obs_id[o])}`;
    const others = observations.uris[o].filter((uri) => uri !== observations.uri[o]);
    return h("div", {},
      h("h3", {}, "Where the pixels came from"),
      h("dl", { class: "facts stacked" },
        h("div", {}, h("dt", {}, "Observation"), h("dd", {}, h("code", {}, observations.obs_id[o]))),
        h("div", {}, h("dt", {}, "Product"), h("dd", {}, address(observations.uri[o]), others.map((uri) => [h("br"), h("small", {}, "also ", address(uri))]))),
        h("div", {}, h("dt", {}, "Read"), h("dd", {}, `${raysearch.bytes(observations.bytes[o])} in ${count(observations.requests[o])} requests`)),
        ranges.length ? h("div", {}, h("dt", {}, "Bytes"), h("dd", {}, h("details", {}, h("summary", {}, `${count(ranges.length)} range${ranges.length === 1 ? "" : "s"}, ${raysearch.bytes(read)}`),
          h("ul", { class: "ranges" }, ranges.map(([start, end]) => h("li", {}, `${count(start)}–${count(end - 1)}`)))))) : null,
        h("div", {}, h("dt", {}, "Draw it again from the archive"), h("dd", { class: "command" }, h("code", { id: "command" }, command), copy(command)))));
  }

  const address = (uri) => outward(uri, uri) || h("code", {}, uri || "–");

  function copy(text) {
    if (!navigator.clipboard) return null;
    return h("button", { type: "button", onclick: async (event) => {
      try {
        await navigator.clipboard.writeText(text);
        event.target.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(byId("command"));
      }
    } }, "Copy");
  }

  /* The other candidates of the same target, by wavelength: the strip of a source, the lines of a jet. */
  function beside(i) {
    const { candidates } = raysearch.data;
    const waves = candidates.values.central_wavelength_um || candidates.values.central_wavelength_a_um || candidates.values.wavelength_um || [];
    const others = candidates.target.map((name, n) => n).filter((n) => candidates.target[n] === candidates.target[i] && candidates.target[i] && (!candidates.source || n === i || candidates.source[n]));
    if (others.length < 2) return null;
    others.sort((a, b) => (waves[a] || 0) - (waves[b] || 0) || a - b);
    const shown = others.slice(0, 120);
    return h("section", {}, h("h3", {}, `${count(others.length)} ${raysearch.data.noun}s of this target${waves.length ? ", by wavelength" : ""}`),
      h("div", { class: "strip", role: "list" }, shown.map((n) => h("div", { role: "listitem" },
        h("button", { type: "button", class: n === i ? "card here" : "card", "aria-current": n === i ? "true" : null, onclick: () => open(n, walk.includes(n) ? walk : others) },
          raysearch.gallery.thumbnail(n),
          h("strong", {}, raysearch.gallery.title(n)),
          h("small", {}, waves.length && !raysearch.gallery.title(n).endsWith("µm") ? `${number(waves[n], 5)} µm` : ""))))),
      shown.length < others.length ? h("p", { class: "fine" }, `And ${count(others.length - shown.length)} more: filter the gallery by target.`) : null);
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const marks = { g: "good", b: "bad", u: "unsure" };
    const key = event.key.toLowerCase();
    if (event.key === "ArrowLeft" || key === "k") step(-1);
    else if (event.key === "ArrowRight" || key === "j") step(1);
    else if (marks[key]) toggle(marks[key]);
    else if (key === "n") byId("note").focus();
    else return;
    event.preventDefault();
  }

  raysearch.card = { open, openByName, place };
  raysearch.onStart(() => {
    dialog = byId("card");
    dialog.addEventListener("keydown", keys);
    dialog.addEventListener("cancel", shut);
    dialog.addEventListener("click", (event) => { if (event.target === dialog) shut(); });
  });
})();
