/* What somebody thinks of candidates: kept in this browser, over those that the page came with. */
(() => {
  const { h, byId, count } = raysearch;
  const MARKS = ["good", "bad", "unsure"];
  let marks = {};
  let store = "";
  const listeners = [];

  const nameOf = (i) => {
    const { candidates, observations } = raysearch.data;
    return `${observations.obs_id[candidates.observation[i]]}#${candidates.number[i]}`;
  };

  function load() {
    try {
      return JSON.parse(localStorage.getItem(store) || "{}");
    } catch {
      return {};
    }
  }

  function save() {
    try {
      localStorage.setItem(store, JSON.stringify(marks));
    } catch {
      raysearch.trouble("This browser keeps nothing for pages such as this one: export the marks before you close it.");
    }
  }

  function get(i) {
    const mark = marks[nameOf(i)];
    return mark && (mark.mark || mark.note) ? mark : null;
  }

  /* Take back a mark by `mark: ""`; what was taken back stays known, so that an older mark of the page does not return. */
  function set(i, change) {
    const name = nameOf(i);
    const before = marks[name] || { mark: "", note: "" };
    marks[name] = { ...before, ...change, marked: new Date().toISOString().slice(0, 19) + "Z" };
    save();
    tell();
  }

  function counts() {
    const found = { good: 0, bad: 0, unsure: 0, noted: 0 };
    for (const mark of Object.values(marks)) {
      if (mark.mark) found[mark.mark] += 1;
      else if (mark.note) found.noted += 1;
    }
    return found;
  }

  function tell() {
    const found = counts();
    const total = found.good + found.bad + found.unsure;
    byId("marked").textContent = total ? `${count(found.good)} good, ${count(found.bad)} bad, ${count(found.unsure)} unsure` : "nothing marked";
    byId("export-marks").disabled = !(total + found.noted);
    listeners.forEach((listener) => listener());
  }

  /* RFC 4180; a text that a spreadsheet would take for a formula gets an apostrophe, which is taken off when the file is read. */
  function cell(value) {
    let text = String(value === null || value === undefined ? "" : value);
    if (/^[=+\-@\t\r']/.test(text)) text = "'" + text;
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  }

  function table() {
    const { candidates, observations } = raysearch.data;
    const known = new Map(candidates.observation.map((_, i) => [nameOf(i), i]));
    const rows = [["candidate", "mark", "note", "marked", "obs_id", "target", "line", "snr"]];
    for (const [name, mark] of Object.entries(marks).sort()) {
      if (!mark.mark && !mark.note) continue;
      const i = known.get(name);
      const told = i === undefined ? ["", "", "", ""] : [
        observations.obs_id[candidates.observation[i]],
        candidates.target[i],
        candidates.values.line ? candidates.values.line[i] : "",
        candidates.significance ? candidates.values[candidates.significance][i] : "",
      ];
      rows.push([name, mark.mark, mark.note, mark.marked, ...told]);
    }
    return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  function download() {
    const address = URL.createObjectURL(new Blob(["\ufeff" + table()], { type: "text/csv;charset=utf-8" }));
    const safe = raysearch.data.name.replace(/[^A-Za-z0-9.-]+/g, "_") || "search";
    const link = h("a", { href: address, download: `${safe}-marks.csv` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  raysearch.marks = { MARKS, get, set, table, onChange: (listener) => listeners.push(listener) };
  raysearch.onStart(() => {
    byId("export-marks").addEventListener("click", download);
    addEventListener("storage", (event) => { if (event.key === store) { marks = { ...marks, ...load() }; tell(); } });
  });
  raysearch.onData((data) => {
    store = `raysearch-marks:${data.key}`;
    const own = load();
    marks = { ...data.marks };
    for (const [name, mark] of Object.entries(own)) {
      if (!marks[name] || String(mark.marked) >= String(marks[name].marked)) marks[name] = mark;
    }
    tell();
  });
})();
