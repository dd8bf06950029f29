document.addEventListener("DOMContentLoaded", () => raysearch.start());
