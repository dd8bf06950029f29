/* The gallery: which candidates are shown, in which order, and as what. */
(() => {
  const { h, byId, count, number, measured } = raysearch;
  const SIZES = { "": 24, pictures: 48, rows: 100 };
  let found = [];
  let page = 0;
  let words = [];
  let form = null;

  const column = (name) => raysearch.data.candidates.values[name];

  function setUp() {
    form = byId("filters");
    form.addEventListener("input", () => apply(true));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => apply(true)));
    raysearch.marks.onChange(() => (form.mark.value ? apply(false) : repaintMarks()));
    addEventListener("hashchange", follow);
  }

  let followed = false;
  function fill(data) {
    const { candidates, observations } = data;
    words = candidates.target.map((target, i) => searched(data, target, i));
    const made = distinct(candidates.observation.map((o) => observations.instrument[o]));
    options(form.line, distinct(column("line") || []));
    options(form.instrument, made.length > 1 ? made : []);
    options(form.catalogue, [...(candidates.source ? [["merged", "sources, each once"]] : []), ...distinct(column("catalogue") || [])]);
    options(form.quality, distinct(candidates.notes.flat()).map((head) => ["~" + head, `noted: ${head}`]));
    orders(candidates);
    hide(".with-snr", !column("snr"));
    hide(".of-lines", !column("line"));
    const names = distinct(candidates.targets.length && candidates.targets[0] !== null ? candidates.targets.flat() : candidates.target);
    byId("all-targets").replaceChildren(...names.slice(0, 3000).map((name) => h("option", { value: name })));
    form.view.querySelector("[value=pictures]").hidden = !candidates.figures.some((file) => file >= 0);
    if (!followed) first();
    followed = true;
    apply(false, page);
    follow(true);
  }

  /* Of a search of pairs, the sources of the difference; the catalogues of the single bands on demand. */
  function first() {
    const best = form.catalogue.querySelector("[value=merged]") || form.catalogue.querySelector("[value=difference]");
    if (best) best.defaultSelected = true;
  }

  function searched({ candidates, observations }, target, i) {
    const texts = candidates.columns.filter(({ kind }) => kind === "text").map(({ name }) => candidates.values[name][i]);
    const o = candidates.observation[i];
    const all = [target, candidates.targets[i], observations.obs_id[o], observations.instrument[o], ...texts];
    return all.flat().join(" ").toLowerCase();
  }

  const distinct = (values) => [...new Set(values.filter(Boolean))].sort(new Intl.Collator("en", { numeric: true }).compare);

  function hide(selector, hidden) {
    for (const element of document.querySelectorAll(selector)) element.hidden = hidden;
  }

  function options(select, values) {
    const before = select.value;
    for (const old of select.querySelectorAll("[data-own]")) old.remove();
    select.append(...values.map((value) => {
      const [key, label] = Array.isArray(value) ? value : [value, value];
      return h("option", { value: key, "data-own": true }, label);
    }));
    select.value = before;
    if (select.selectedIndex < 0) select.selectedIndex = 0;
    select.parentElement.hidden = !values.length;
  }

  function orders({ columns, significance }) {
    const numbers = columns.filter(({ kind, name }) => kind === "number" && name !== significance && !name.includes("_err"));
    if (form.order.options.length) return;
    form.order.append(
      h("option", { value: "" }, significance ? "most significant first" : "as in the table"),
      h("option", { value: "target" }, "by target"),
      ...numbers.flatMap(({ name, label }) => [
        h("option", { value: `+${name}` }, `${label}, lowest first`),
        h("option", { value: `-${name}` }, `${label}, highest first`),
      ]),
    );
  }

  /* What the address asks for: a filter, or a candidate to be opened. */
  let last = "";
  function follow(begin) {
    const { section, asked } = raysearch.place();
    if (begin === true && location.hash === last) return;
    last = location.hash;
    if (section === "card" && asked) {
      raysearch.card.openByName(asked.get("candidate"));
      return;
    }
    if (section !== "candidates" || !asked) return;
    form.reset();
    for (const [name, value] of asked) {
      if (form.elements[name]) form.elements[name].value = value;
    }
    apply(true);
    byId("candidates").scrollIntoView();
  }

  function apply(tellPlace, to = 0) {
    found = chosen();
    page = to;
    if (tellPlace) tell();
    paint();
  }

  /* The address says what is shown, so that it can be kept and sent. */
  function tell() {
    raysearch.setPlace("candidates", [...new FormData(form)].filter(([, value]) => value));
    last = location.hash;
  }

  function chosen() {
    const { candidates, observations } = raysearch.data;
    const text = form.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const target = form.target.value.trim().toLowerCase();
    const least = form.snr.value === "" ? null : Number(form.snr.value);
    const [line, instrument, quality, mark, catalogue] = ["line", "instrument", "quality", "mark", "catalogue"].map((name) => form[name].value);
    const lines = column("line");
    const snr = column("snr");
    const catalogues = column("catalogue");
    const result = [];
    for (let i = 0; i < candidates.target.length; i += 1) {
      if (line && lines[i] !== line) continue;
      if (catalogue === "merged" ? !candidates.source[i] : catalogue && catalogues[i] !== catalogue) continue;
      if (least !== null && !(snr[i] >= least)) continue;
      if (instrument && observations.instrument[candidates.observation[i]] !== instrument) continue;
      if (quality === "clean" && candidates.notes[i].length) continue;
      if (quality.startsWith("~") && !candidates.notes[i].includes(quality.slice(1))) continue;
      if (target && ![candidates.target[i], ...(candidates.targets[i] || [])].some((name) => name.toLowerCase().includes(target))) continue;
      if (text.length && !text.every((word) => words[i].includes(word))) continue;
      if (mark) {
        const given = raysearch.marks.get(i);
        if (mark === "none" ? given && given.mark : !given || given.mark !== mark) continue;
      }
      result.push(i);
    }
    return ordered(result);
  }

  function ordered(rows) {
    const order = form.order.value;
    if (!order) return rows;
    const collator = new Intl.Collator("en", { numeric: true });
    if (order === "target") {
      const names = raysearch.data.candidates.target;
      return rows.sort((a, b) => collator.compare(names[a], names[b]) || a - b);
    }
    const values = column(order.slice(1));
    const sign = order[0] === "-" ? -1 : 1;
    return rows.sort((a, b) => {
      if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null) || a - b;
      return sign * (values[a] - values[b]) || a - b;
    });
  }

  function paint() {
    const view = form.view.value;
    const size = SIZES[view];
    const pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.min(page, pages - 1);
    const shown = found.slice(page * size, (page + 1) * size);
    const { total, target } = raysearch.data.candidates;
    byId("count").textContent = found.length
      ? `${count(page * size + 1)}–${count(page * size + shown.length)} of ${count(found.length)} ${raysearch.data.noun}s` +
        (found.length < total ? ` (${count(total)} in all${target.length < total ? `; the page holds the ${count(target.length)} most significant` : ""})` : "")
      : total ? `None of ${count(total)} ${raysearch.data.noun}s is like this.` : `There are no ${raysearch.data.noun}s.`;
    const gallery = byId("gallery");
    gallery.className = `gallery ${view || "cards"}`;
    gallery.replaceChildren(...(view === "rows" ? [rows(shown)] : shown.map(view === "pictures" ? pictureCard : card)));
    raysearch.pager([byId("pager"), byId("pager-below")], page, pages, (to) => {
      page = to;
      paint();
      byId("candidates").scrollIntoView();
    });
  }

  /* What a candidate is called: its line, or its band, or what it is. */
  function title(i) {
    const { values, source } = raysearch.data.candidates;
    if (source && source[i]) return `${source[i]} (${values.kind[i]})`;
    if (values.line) return values.line[i] || "no line";
    if (values.kind) return `${values.kind[i]} source`.trim();
    if (values.central_wavelength_um) return `${number(values.central_wavelength_um[i], 4)} µm`;
    return values.band ? values.band[i] : "candidate";
  }

  /* The few numbers that a small card has room for: those that every kind of search has of these. */
  const BRIEF = ["flux_w_m2", "flux_ujy", "difference_ujy", "colour", "wavelength_um", "velocity_kms", "bandwidth_um", "good_fraction"];
  function brief(i) {
    const { columns, values } = raysearch.data.candidates;
    return BRIEF.map((name) => columns.find((one) => one.name === name)).filter(Boolean).slice(0, 3).map(({ name, label, unit }) =>
      h("div", {}, h("dt", {}, label), h("dd", {}, number(values[name][i], name.includes("wavelength") ? 5 : 3), unit ? h("span", { class: "unit" }, " " + unit) : null)));
  }

  function markClass(i) {
    const given = raysearch.marks.get(i);
    return given && given.mark ? ` marked ${given.mark}` : "";
  }

  function markText(i) {
    const given = raysearch.marks.get(i);
    return given ? given.mark || "note" : "";
  }

  function face(i, ...inside) {
    return h("button", { type: "button", class: "card" + markClass(i), "data-candidate": i, onclick: () => raysearch.card.open(i, found) }, ...inside,
      h("span", { class: "mark" }, markText(i)));
  }

  function thumbnail(i) {
    const { observation, number: numbers, figures } = raysearch.data.candidates;
    if (figures[i] < 0) return null;
    return raysearch.figures.thumbnail(raysearch.data.observations.row[observation[i]], numbers[i], figures[i]);
  }

  function significance(i) {
    const { significance: name, values } = raysearch.data.candidates;
    return name ? h("span", { class: "snr" }, h("small", {}, "S/N "), number(values[name][i], 3)) : null;
  }

  function card(i) {
    const { candidates, observations } = raysearch.data;
    return face(i,
      thumbnail(i),
      h("span", { class: "card-head" }, h("strong", {}, title(i)), significance(i)),
      h("span", { class: "card-target" }, candidates.target[i] || "–"),
      h("dl", {}, brief(i)),
      h("span", { class: "card-foot" }, observations.instrument[candidates.observation[i]] || observations.obs_id[candidates.observation[i]],
        candidates.notes[i].length ? h("span", { class: "noted" }, candidates.notes[i].join(", ")) : null));
  }

  function pictureCard(i) {
    return face(i, thumbnail(i) || h("span", { class: "no-picture" }, "no picture"),
      h("span", { class: "card-head" }, h("strong", {}, raysearch.data.candidates.target[i]), significance(i)),
      h("span", { class: "card-foot" }, title(i)));
  }

  function rows(shown) {
    const { candidates, observations } = raysearch.data;
    const columns = candidates.columns.filter(({ name }) => !name.includes("_err") && !["line", "notes", "note"].includes(name));
    const cell = ({ name, kind, error }, i) => {
      const value = candidates.values[name][i];
      if (kind !== "number") return h("td", {}, kind === "flag" ? (value ? "yes" : "no") : value);
      if (name === "ra" || name === "dec") return h("td", { class: "num" }, value === null ? "–" : value.toFixed(5));
      return h("td", { class: "num" }, measured(value, error ? candidates.values[error][i] : 0, name.endsWith("_um") ? 5 : 4));
    };
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Candidates as rows" }, h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, ["Candidate", "Target", "Observation", "Mark"].map((text) => h("th", { scope: "col" }, text)),
        columns.map(({ label, unit, about, kind }) => h("th", { scope: "col", class: kind === "number" ? "num" : "", title: about }, label, unit ? h("span", { class: "unit" }, " " + unit) : null)))),
      h("tbody", {}, shown.map((i) => h("tr", { "data-candidate": i },
        h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => raysearch.card.open(i, found) }, title(i))),
        h("td", {}, candidates.target[i]), h("td", {}, observations.obs_id[candidates.observation[i]]), h("td", { class: "mark" }, markText(i)),
        columns.map((one) => cell(one, i)))))));
  }

  function repaintMarks() {
    for (const element of document.querySelectorAll("#gallery [data-candidate]")) {
      const i = Number(element.dataset.candidate);
      if (element.matches("button")) element.className = "card" + markClass(i);
      element.querySelector(".mark").textContent = markText(i);
    }
  }

  raysearch.gallery = { title, thumbnail, tell, get found() { return found; } };
  raysearch.onStart(setUp);
  raysearch.onData(fill);
})();
