/* News of a run that goes on: what changed is put in place, and what is open stays open. */
(() => {
  const { byId } = raysearch;
  const PAUSE = 2000;
  let known = null;

  async function look() {
    try {
      const now = await (await fetch("version")).json();
      if (known === null) known = raysearch.data.version;
      if (now !== known && !byId("card").open) {
        await renew();
        known = now;
      }
      byId("trouble").hidden = true;
    } catch {
      raysearch.trouble("The report's server does not answer: it was stopped, or `raysearch report --live` has ended. What is shown was true before.");
    }
    setTimeout(look, PAUSE);
  }

  async function renew() {
    const [page, data] = await Promise.all([fetch("").then((got) => got.text()), fetch("data.json").then((got) => got.json())]);
    const fresh = new DOMParser().parseFromString(page, "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const now = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
      if (now) part.replaceChildren(...document.importNode(now, true).childNodes);
    }
    raysearch.renew(data);
  }

  raysearch.onStart(() => setTimeout(look, PAUSE));
})();
