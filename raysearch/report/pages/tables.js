/* The targets with their lines, and the observations with how each ended. */
(() => {
  const { h, byId, count, number, bytes } = raysearch;

  /* A table of which one page is shown at a time. */
  function paged({ table, pager, told, size, what, head, row }) {
    let rows = [];
    let page = 0;
    const paint = () => {
      const pages = Math.max(1, Math.ceil(rows.length / size));
      page = Math.min(page, pages - 1);
      const shown = rows.slice(page * size, (page + 1) * size);
      table.replaceChildren(h("thead", {}, head()), h("tbody", {}, shown.map(row)));
      told.textContent = what(rows.length);
      raysearch.pager([pager], page, pages, (to) => { page = to; paint(); table.closest("section").scrollIntoView(); });
    };
    return (chosen) => { rows = chosen; page = 0; paint(); };
  }

  const num = (text, attributes) => h("td", { class: "num", ...attributes }, text);
  const candidatesOf = (asked) => `#candidates?${new URLSearchParams(asked)}`;

  function targets() {
    let data;
    let targets;
    let lines;
    const form = byId("target-filters");
    const show = paged({
      table: byId("target-table"), pager: byId("target-pager"), told: byId("target-count"), size: 50,
      what: (n) => `${count(n)} of ${count(targets.total)} targets in a footprint` + (targets.name.length < targets.total ? `; the page lists ${count(targets.name.length)}` : ""),
      head: () => h("tr", {}, h("th", { scope: "col" }, "Target"), h("th", { scope: "col", class: "num" }, "Obs."), h("th", { scope: "col", class: "num", title: "Observations searched" }, "Searched"),
        h("th", { scope: "col", class: "num" }, lines.length ? "Lines" : `${data.noun[0].toUpperCase()}${data.noun.slice(1)}s`),
        lines.map(({ name, rest_um: um }) => h("th", { scope: "col", class: "line" }, h("a", { href: candidatesOf({ line: name, order: "target", view: "pictures" }), title: `Picture grid of ${name} (${um} µm)` }, name)))),
      row: (t) => h("tr", {},
        h("th", { scope: "row" }, h("button", { type: "button", class: "link", "aria-expanded": "false", onclick: (event) => expand(event.currentTarget, t) }, targets.name[t] || "–")),
        num(targets.observations[t]), num(targets.searched[t]),
        num(lines.length ? targets.found[t] : targets.candidates[t], { class: "num" + (targets.min_lines && targets.found[t] >= targets.min_lines ? " notable" : "") }),
        lines.map((line, n) => cell(t, line, targets.cells[t][n]))),
    });

    function cell(t, line, known) {
      if (!known) return h("td", { class: "line none" }, h("span", { class: "visually-hidden" }, "not covered"));
      if (known.best !== undefined) {
        const snr = data.candidates.values.snr;
        const text = snr ? number(snr[known.best], 3) : count(known.n);
        return h("td", { class: "line found" }, h("button", { type: "button", class: "link", title: `${line.name} in ${targets.name[t]}: ${known.n} found`,
          onclick: () => raysearch.card.open(known.best, among(t)) }, text));
      }
      if (known.n) return h("td", { class: "line found" }, count(known.n));
      return h("td", { class: "line limit", title: `searched in ${known.limits}, not found` }, "<\u202f" + number(known.limit, 2));
    }

    const among = (t) => data.candidates.target.map((_, i) => i).filter((i) => (data.candidates.targets[i] || [data.candidates.target[i]]).includes(targets.name[t]));

    /* Under a target, its observations: how each ended, and the candidates in it. */
    function expand(button, t) {
      const row = button.closest("tr");
      if (button.getAttribute("aria-expanded") === "true") {
        button.setAttribute("aria-expanded", "false");
        row.nextElementSibling.remove();
        return;
      }
      button.setAttribute("aria-expanded", "true");
      const { observations, candidates } = data;
      const mine = observations.obs_id.map((_, o) => o).filter((o) => observations.target[o].includes(targets.name[t]));
      const own = among(t);
      row.after(h("tr", { class: "under" }, h("td", { colspan: 4 + lines.length },
        h("p", {}, targets.ra[t] === null ? "no position" : `${raysearch.sexagesimal(targets.ra[t], targets.dec[t])} (ICRS)`, targets.redshift[t] ? `, z = ${number(targets.redshift[t], 5)}` : "", " · ",
          h("a", { href: candidatesOf({ target: targets.name[t] }) }, `${count(targets.candidates[t])} ${data.noun}s`)),
        h("ul", {}, mine.slice(0, 200).map((o) => h("li", {}, h("span", { class: `status ${observations.status[o]}` }, observations.status[o]), " ", observations.obs_id[o], " ",
          own.filter((i) => candidates.observation[i] === o).map((i) => [h("button", { type: "button", class: "link", onclick: () => raysearch.card.open(i, own) }, raysearch.gallery.title(i)), " "]),
          observations.why[o] ? h("small", {}, observations.why[o]) : null)),
        mine.length > 200 ? h("li", {}, `and ${count(mine.length - 200)} more`) : null))));
    }

    const apply = () => {
      const text = form.text.value.toLowerCase();
      const least = Number(form.least.value || 0);
      show(targets.name.map((_, t) => t).filter((t) => targets.name[t].toLowerCase().includes(text) && (!lines.length || targets.found[t] >= least)));
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    raysearch.onData((tables) => {
      data = tables;
      ({ targets } = data);
      ({ lines } = targets);
      if (targets.min_lines) form.least.placeholder = `${targets.min_lines}: notable`;
      apply();
    });
  }

  function observations() {
    let observations;
    let words;
    let found;
    const form = byId("observation-filters");
    const show = paged({
      table: byId("observation-table"), pager: byId("observation-pager"), told: byId("observation-count"), size: 50,
      what: (n) => `${count(n)} of ${count(observations.total)} observations` + (observations.obs_id.length < observations.total ? `; the page lists ${count(observations.obs_id.length)}, the run folder all` : ""),
      head: () => h("tr", {}, ["Observation", "Targets", "Ended", "Candidates", "Read", "Requests", "Time"].map((text, n) => h("th", { scope: "col", class: n > 2 ? "num" : "" }, text))),
      row: (o) => h("tr", {}, h("th", { scope: "row" }, observations.obs_id[o], observations.instrument[o] ? h("small", {}, observations.instrument[o]) : null),
        h("td", {}, observations.target[o].slice(0, 3).join(", ") + (observations.target[o].length > 3 ? ` and ${observations.target[o].length - 3} more` : "")),
        h("td", { class: "ended" }, h("span", { class: `status ${observations.status[o]}` }, observations.status[o] === "waiting" ? "not yet" : observations.status[o]), observations.why[o] ? h("small", {}, observations.why[o]) : null),
        num(found.has(o) ? h("button", { type: "button", class: "link", onclick: () => raysearch.card.open(found.get(o)[0], found.get(o)) }, count(found.get(o).length)) : "–"),
        num(observations.bytes[o] ? bytes(observations.bytes[o]) : "–"), num(observations.requests[o] ? count(observations.requests[o]) : "–"),
        num(observations.seconds[o] ? `${number(observations.seconds[o], 2)} s` : "–")),
    });
    const apply = () => {
      const [text, status, reason] = [form.text.value.toLowerCase(), form.status.value, form.reason.value];
      show(observations.obs_id.map((_, o) => o).filter((o) => words[o].includes(text) && (!status || observations.status[o] === status) && (reason === "" || observations.reason[o] === Number(reason))));
    };
    const follow = () => {
      const { section, asked } = raysearch.place();
      if (section !== "observations" || !asked) return;
      form.reset();
      for (const [name, value] of asked) if (form.elements[name]) form.elements[name].value = value;
      apply();
      byId("observations").scrollIntoView();
    };
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", follow);
    raysearch.onData((data) => {
      ({ observations } = data);
      const before = form.reason.value;
      form.reason.replaceChildren(h("option", { value: "" }, "any"),
        ...observations.reasons.map((text, n) => h("option", { value: n }, text.length > 90 ? text.slice(0, 89) + "…" : text)));
      form.reason.value = before;
      words = observations.obs_id.map((name, o) => [name, ...observations.target[o], observations.why[o], observations.uri[o]].join(" ").toLowerCase());
      found = new Map();
      data.candidates.observation.forEach((o, i) => (found.has(o) ? found.get(o).push(i) : found.set(o, [i])));
      apply();
      follow();
    });
  }

  raysearch.onStart(() => { targets(); observations(); });
  addEventListener("hashchange", () => {
    const { section, asked } = raysearch.place();
    if (section === "targets" && asked) byId("targets").scrollIntoView();
  });
})();
